"""The page of a run whose models estimate a number."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from geocube_ml.report.page import write_report

from .conftest import COLORS, make_cube, make_samples
from .test_page import read

pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

NAMES = ("plot",)
UNITS = "Mg/ha <dry>"


def score_of(model, split, n, spread, seed):
    rng = np.random.default_rng(seed)
    label = rng.uniform(0, 300, n)
    pairs = np.stack([label, label + rng.normal(-4, spread, n)], axis=1)[:2000]
    figures = {"rmse": spread * 1.01, "mae": 0.8 * spread, "bias": -4.2, "r2": 1 - spread / 100}
    return {
        "model": model, "split": split, "n_train": 4000, "train_polygons": 160, "n_test": n,
        "test_polygons": 40, "n_unseen": 0, **figures, "pairs": pairs.tolist(),
        "resampled": {"unit": "polygons", "n": 40, "resamples": 100, "level": 0.95},
        "interval": {key: [value - 1, value + 1] for key, value in figures.items()},
        "difference": None, "notes": [],
    }  # fmt: skip


@pytest.fixture(scope="module")
def scores():
    found = [
        score_of("tempcnn", "block", 5000, 30.0, 0),
        score_of("forest", "block", 250, 24.0, 1),
        score_of("training mean", "block", 250, 90.0, 2),
        score_of("forest", "random", 250, 9.6, 3),
        score_of("training mean", "random", 250, 91.0, 4),
    ]
    told = {"value": 6.06, "interval": [2.0, 9.0]}
    found[0]["difference"] = {"to": "forest", "rmse": told, "mae": told,
                              "r2": {"value": -0.06, "interval": [-0.2, 0.1]}}  # fmt: skip
    group = {"group": "2022 <b>", "n_test": 90, "rmse": 31.5, "mae": 20.0, "bias": -7.0, "r2": None}
    found[1]["left_out"] = found[2]["left_out"] = [group]
    return {
        "classes": {"names": list(NAMES), "colors": list(COLORS[:1])},
        "quantity": {"column": "agb_2023", "units": UNITS},
        "scores": found,
        "early": [found[1] | {"steps": 6, "until": "2023-06-01", "rmse": 55.5}],
        "without": [
            found[1] | {"without": "s1", "how": "fitted anew", "rmse": 44.4,
                        "difference": found[0]["difference"]},
        ],
        "reference": [],
        "notes": [],
    }  # fmt: skip


@pytest.fixture(scope="module")
def cube():
    made = make_cube((60, 80), months=3, names=NAMES)
    estimate = np.linspace(0, 250, 60 * 80, dtype="float32").reshape(60, 80)
    estimate[:9] = np.nan
    attrs = {"long_name": "agb_2023", "units": UNITS, "nodata": np.nan}
    made["estimate"] = (("y", "x"), estimate, attrs)
    return made.drop_vars(["class", "prob"])


@pytest.fixture(scope="module")
def page(scores, cube, tmp_path_factory):
    path = tmp_path_factory.mktemp("numbers") / "report.html"
    return read(write_report(path, title="Biomass", cube=cube, samples=make_samples(cube, 60),
                             scores=scores))  # fmt: skip


def test_the_first_line_tells_the_best_model(page):
    assert "forest estimates agb_2023 with an RMSE of 24.24 Mg/ha <dry>" in " ".join(
        page.text.split()
    )


def test_the_table_tells_each_model_on_each_split(page):
    rows = page.table("Model")
    assert rows["forest"] == ["9.708.70 to 10.70", "7.686.68 to 8.68", "−4.20−5.20 to −3.20",
                              "0.904−0.096 to 1.904"]  # fmt: skip
    (table,) = (rows for rows in page.tables if rows[0][1:2] == ["RMSE"] and len(rows) > 5)
    firsts = [row[0] for row in table]
    assert firsts[1].startswith("Spatial hold-outtest pixels: 250 to 5,000, test polygons: 40")
    assert firsts[2:5] == ["tempcnn", "forest", "training mean"]
    assert firsts[5].startswith("Random pixels")
    assert table[2][1].startswith("30.30")


def test_a_group_that_was_left_out_is_told_of_the_models(page):
    assert page.table("Group") == {"Group": ["test pixels", "forest"],
                                   "2022 <b>": ["90", "31.50−7.00"]}  # fmt: skip


def test_what_was_hidden_and_the_lead_are_told(page):
    assert page.table("Steps")["6"] == ["2023-06-01", "55.5023.24 to 25.24"]
    (without,) = (rows for rows in page.tables if rows[0][1:2] == ["without"])
    assert without[1] == [
        "forest",
        "s1",
        "fitted anew",
        "44.4023.24 to 25.24",
        "+6.06+2.00 to +9.00",
    ]


def test_no_word_of_classes_figures(page):
    for word in ("macro-F1", "confused", "kappa", "Probability of the mapped"):
        assert word not in page.text
    assert "There is no map yet" not in page.text
    assert "No model is judged" not in page.text


def test_the_map_has_its_unit_and_its_ends(page):
    assert "agb_2023 (Mg/ha <dry>)" in page.text
    assert "Mean 144, from 38 to 250 Mg/ha <dry>; the colours" in page.text
    assert "2,000 of 5,000 test pixels" in page.text
    for uri in page.images:
        assert base64.b64decode(uri.partition(",")[2])[:4] in (b"\x89PNG", b"<?xm")


@pytest.mark.parametrize("value", [np.nan, 12.5, 0.0])
def test_a_map_without_a_spread_is_drawn(scores, cube, value, tmp_path):
    flat = cube.assign(estimate=cube["estimate"] * 0 + value)
    flat["estimate"].attrs = cube["estimate"].attrs | {"units": ""}
    same = [[7.0, 7.0]] * 3
    even = [one | {"pairs": same, "rmse": 0.0, "r2": None, "interval": None, "difference": None}
            for one in scores["scores"][1:3]]  # fmt: skip
    told = scores | {"scores": even, "early": [], "without": []}
    page = read(write_report(tmp_path / "page.html", title="Flat", cube=flat, scores=told))
    assert ("No pixel is mapped." in page.text) == bool(np.isnan(value))
    assert page.table("Model")["forest"][3] == "–"
