from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from geocube_ml.evaluate.areas import estimate_areas
from geocube_ml.report import judged
from geocube_ml.report.accuracy import remarks
from geocube_ml.report.page import write_report

from .conftest import NAMES, make_scores
from .test_page import read


def richer(score, seed):
    """A score as an evaluation leaves it, with all that is drawn and compared."""
    rng = np.random.default_rng(seed)
    one = dict(score)
    n = len(one["f1"])
    for key in ("iou", "users", "producers"):
        one[key] = rng.uniform(0.3, 0.9, n).round(3).tolist()
    one |= {"balanced": 0.7, "log_loss": 0.9, "log_loss_softened": 0.7, "ece": 0.12}
    one |= {"ece_softened": 0.03, "temperature": 1.8, "n_unseen": 0}
    counts = np.array([np.r_[np.zeros(7), np.full(8, 30.0)]] * 2)
    sure = np.linspace(0.05, 0.95, 15) * counts
    one["reliability"] = np.stack([counts, sure, 0.8 * sure], axis=1).tolist()
    one["resampled"] = {"unit": "polygons", "n": 1040, "resamples": 1000, "level": 0.9}
    single = ("overall", "balanced", "macro_f1", "kappa", "log_loss", "log_loss_softened", "ece",
              "ece_softened")  # fmt: skip
    one["interval"] = {key: [one[key] - 0.04, one[key] + 0.03] for key in single if one[key]}
    each = [[0.31, 0.87] if value is not None else None for value in one["f1"]]
    one["interval"] |= dict.fromkeys(("f1", "iou", "users", "producers"), each)
    one["difference"] = None
    return one


def apart(value, low, high):
    return {"value": value, "interval": [low, high]}


@pytest.fixture(scope="module")
def scores():
    made = make_scores()
    rich = [richer(score, seed) for seed, score in enumerate(made["scores"])]
    keys = ("overall", "balanced", "kappa", "log_loss", "log_loss_softened", "ece", "ece_softened")
    same = {key: apart(0.0, -0.01, 0.01) for key in keys}
    for score in rich:
        if score["model"] == "tempcnn":
            score["difference"] = {"to": "forest", **same, "macro_f1": apart(0.05, 0.02, 0.08)}
            score["difference"]["log_loss_softened"] = apart(0.2, 0.1, 0.3)
    held = rich[0]
    less = {"to": "tempcnn with everything", **same, "macro_f1": apart(-0.2, -0.3, -0.1)}
    early = [held | {"steps": n, "until": f"2024-0{n}-01", "difference": less} for n in (2, 4)]
    without = [held | {"without": "s1", "how": "fitted anew", "difference": less}]
    return made | {"scores": rich, "early": early, "without": without, "baseline": "forest"}


@pytest.fixture(scope="module")
def page(scores, tmp_path_factory):
    areas = estimate_areas(np.full((5, 5), 4) + 40 * np.eye(5, dtype=int),
                           dict(zip(NAMES, (10, 20, 30, 40, 50), strict=True)))  # fmt: skip
    path = tmp_path_factory.mktemp("page") / "report.html"
    scores = json.loads(json.dumps(scores, allow_nan=False))
    return read(write_report(path, title="t", scores=scores, areas=areas))


def below(page, *titles):
    """Rows by their first cells, of the table whose head holds these."""
    found = next(
        rows for rows in page.tables if set(titles) <= {t for row in rows[:2] for t in row}
    )
    return {row[0]: row[1:] for row in found if row}


def test_intervals_stand_below_their_figures(page, scores):
    held = scores["scores"][0]
    low, high = held["interval"]["macro_f1"]
    first = page.table("Model")["tempcnn"][0]
    assert first == f"{held['macro_f1']:.3f}{low:.2f} – {high:.2f}"
    assert page.table("Model")["Intervals by"] == ["1,040 polygons"] * 3 + [""]
    assert "90% intervals, from 1,000 resamples of 1,040 whole polygons" in page.text


def test_leads_are_told_with_what_they_are_above(page):
    rows = below(page, "balanced", "log loss")
    assert list(rows) == ["Model", "tempcnn"]
    assert rows["tempcnn"][0] == "+0.050+0.020 to +0.080"
    assert rows["tempcnn"][2] == "0.000−0.010 to +0.010"
    assert "Against forest" in page.text


def test_a_lead_is_sure_where_its_interval_does_not_hold_zero(scores):
    (row,) = judged.leads(scores["scores"][:3])["rows"]
    assert [cell["sure"] for cell in row["cells"]] == ["better", None, None, None, "worse"]


def test_classes_calibration_early_and_sources_have_tables(page, scores):
    best = scores["scores"][0]
    detail = below(page, "IoU", "user’s")
    assert set(detail) == {"Class", *NAMES}
    assert detail["water"][1] == f"{best['iou'][4]:.3f}0.31 – 0.87"
    sure = below(page, "Calibration error")
    assert [value[:5] for value in sure["tempcnn"]] == ["0.120", "0.030", "0.900", "0.700", "1.800"]
    assert "majority class" not in sure
    early = below(page, "Steps")
    assert list(early) == ["Steps", "2", "4", "all"]
    assert early["all"][1].startswith(f"{best['macro_f1']:.3f}")
    without = below(page, "without", "how")
    assert without["tempcnn"][:2] == ["s1", "fitted anew"]
    assert without["tempcnn"][3] == "−0.200−0.300 to −0.100"
    assert len(page.images) == 3  # two of how sure models are, one of how early


def test_what_is_hidden_is_beside_the_whole_though_the_hold_out_is_no_split(scores, tmp_path):
    held = [one for one in scores["scores"] if one["split"] == "block"]
    others = [one for one in scores["scores"] if one["split"] != "block"]
    apart = scores | {"scores": others, "whole": held}
    page = read(write_report(tmp_path / "r.html", title="t", scores=apart))
    assert below(page, "Steps")["all"][1].startswith(f"{held[0]['macro_f1']:.3f}")
    assert "Macro-F1 on the spatial hold-out with series that end" in page.text


def test_notes_of_what_is_hidden_are_shown(scores):
    noted = {
        key: [one | {"notes": ["7 test samples have no observation"]} for one in scores[key]]
        for key in ("early", "without")
    }
    said = remarks(scores | noted)
    for where in ("2 steps known", "4 steps known", "without s1 (fitted anew)"):
        assert f"tempcnn, spatial hold-out, {where}: 7 test samples have no observation" in said


def test_each_group_that_was_left_out_has_a_row(scores, tmp_path):
    left = [{"group": name, "n_test": 1200, "macro_f1": 0.5} for name in ("2018", "2019")]
    held = [score | {"split": "group", "left_out": left} for score in scores["scores"][:3]]
    page = read(write_report(tmp_path / "r.html", title="t", scores=scores | {"scores": held}))
    rows = below(page, "Group")
    assert rows["Group"] == ["test pixels", "tempcnn", "forest"]
    assert rows["2019"] == ["1,200", "0.500", "0.500"]


def test_areas_by_points_have_a_table(page):
    rows = below(page, "mapped", "estimated")  # of no unit, as none was told
    assert set(rows) == {"Class", *NAMES}
    assert rows["water"][:2] == ["60", "50.00"]
    assert "From 300 points of the map" in page.text
    assert sum(float(rows[name][2]) for name in NAMES) == pytest.approx(150, abs=0.05)


def test_strata_that_are_no_classes_and_a_unit_are_shown(scores, tmp_path):
    table = {"stratum": ["edge"] * 4 + ["core"] * 4, "mapped": list("aabbaaaa"),
             "reference": list("ababaaab")}  # fmt: skip
    areas = estimate_areas(pd.DataFrame(table), {"edge": 1, "core": 3}, classes=["a", "b"])
    told = write_report(tmp_path / "r.html", title="t", scores=scores, areas=areas | {"unit": "ha"})
    rows = below(read(told), "mapped ha", "estimated ha")
    assert rows["a"][:3] == ["6", "–", "2.75"]


def test_scores_without_intervals_make_no_further_tables(tmp_path):
    """As older runs left them."""
    page = read(write_report(tmp_path / "r.html", title="t", scores=make_scores()))
    for title in ("Against forest", "How sure", "How early", "Without a source", "corrected for"):
        assert title not in page.text
    assert page.images == []


def test_many_splits_have_fewer_figures_each(scores, tmp_path):
    more = [score | {"split": split} for score in scores["scores"][:3]
            for split in ("block", "blocks", "group", "polygon", "random")]  # fmt: skip
    page = read(write_report(tmp_path / "r.html", title="t", scores=scores | {"scores": more}))
    heads = page.table("Model")
    assert "kappa" not in heads["macro-F1"]
    assert len(heads["tempcnn"]) == 2 * 5 + 2
