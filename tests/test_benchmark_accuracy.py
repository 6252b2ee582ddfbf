"""Readers, splits and the harness of ``python -m benchmarks.accuracy``, on made-up series."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from benchmarks.accuracy import __main__ as command
from benchmarks.accuracy import claims, report
from benchmarks.accuracy.ground import Place, make_ground
from benchmarks.accuracy.run import Said, Trial, run, said
from benchmarks.accuracy.sets import Source, read
from benchmarks.accuracy.settings import MODELS, PLANS, spec_of
from benchmarks.accuracy.splits import Split, folds
from benchmarks.accuracy.summary import document, judge
from benchmarks.accuracy.targets import judged_targets
from geocube_ml.errors import InputError, MissingError
from geocube_ml.sim.phenology import SCHEME
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.spec.models import EnsembleSpec
from geocube_ml.spec.tables import ForestSpec
from geocube_ml.train import fit_model

N, STEPS = 60, 6


def arrays(**changes):
    """Two classes, one of which brightens in time; 20 places in 10 groups; a sixth is tested."""
    rng = np.random.default_rng(0)
    y = np.arange(N) % 2
    series = rng.normal(0, 0.3, (N, STEPS, 2)) + y[:, None, None] * np.arange(STEPS)[:, None]
    place = np.arange(N) // 3
    found = {
        "X": series.astype("float32"), "y": y, "classes": np.array(["bare", "crop"]),
        "group": place // 2, "lon": 0.3 * place, "lat": np.zeros(N),
        "split": np.where(np.arange(N) < 10, "test", "train"),
    }  # fmt: skip
    return {name: value for name, value in (found | changes).items() if value is not None}


def saved(tmp_path, **changes):
    path = tmp_path / "own.npz"
    np.savez(path, **arrays(**changes))
    return Source("own", str(path))


def columns(**changes):
    """The same as a table with a column a band and step."""
    of = arrays()
    table = {f"{band}_{step}": of["X"][:, step, at] for at, band in enumerate(("red", "nir"))
             for step in range(STEPS)}  # fmt: skip
    table |= {"crop": of["classes"][of["y"]], "farm": of["group"], "part": of["split"]}
    return pd.DataFrame(table | changes)


def test_arrays_are_read_as_they_are(tmp_path):
    data = read(saved(tmp_path))
    np.testing.assert_array_equal(data.series, arrays()["X"])
    assert data.classes == ("bare", "crop")
    assert data.test.sum() == 10
    assert len(np.unique(data.locations())) == len(np.unique(data.blocks(0.25))) == 20


def test_series_without_a_value_are_left_out_and_counted(tmp_path):
    series = arrays()["X"]
    series[[3, 7]] = np.nan
    data = read(saved(tmp_path, X=series))
    assert (len(data.label), len(data.lon), data.n_unobserved) == (N - 2, N - 2, 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"X": None}, "lacks X"),
        ({"X": np.full((N, STEPS, 2), np.inf)}, "infinite"),
        ({"X": np.zeros((N, STEPS))}, r"must be \(n, time, band\)"),
        ({"y": np.zeros(N, int)}, "1 class has series"),
        ({"y": np.full(N, 5)}, "codes must be 0 to 1"),
        ({"y": np.array(["a"] * N)}, "must be codes"),
        ({"group": np.zeros(N - 1)}, "60 series, which these do not fit: group"),
        ({"split": np.array(["train"] * N)}, "must say train and test"),
    ],
)
def test_arrays_that_are_wrong_are_refused(tmp_path, changes, said):
    with pytest.raises(InputError, match=said):
        read(saved(tmp_path, **changes))


def test_files_that_are_no_arrays_are_refused(tmp_path):
    path = tmp_path / "cut.npz"
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match="cannot be read as arrays"):
        read(Source("cut", str(path)))
    with pytest.raises(MissingError, match="no file"):
        read(Source("gone", str(tmp_path / "gone.npz")))
    other = tmp_path / "series.csv"
    other.write_text("a,b\n")
    with pytest.raises(InputError, match="neither"):
        read(Source("series", str(other)))


def test_a_table_of_columns_is_read_as_series(tmp_path):
    path = tmp_path / "own.parquet"
    points = shapely.points(arrays()["lon"], arrays()["lat"])
    gpd.GeoDataFrame(columns(slope=np.arange(N)), geometry=points, crs=4326).to_parquet(path)
    data = read(Source("own", str(path), "crop", "farm", "part"))
    np.testing.assert_array_equal(data.series[:, :, :2], arrays()["X"])
    assert (data.layout.series, data.layout.static) == ((2,), (1,))
    np.testing.assert_array_equal(data.series[:, 3, 2], np.arange(N))
    np.testing.assert_allclose(data.lon, arrays()["lon"])
    np.testing.assert_array_equal(data.group, arrays()["group"])


def test_a_table_of_lists_is_read_as_series(tmp_path):
    path = tmp_path / "own.parquet"
    table = pd.DataFrame({"class": columns()["crop"], "ndvi": list(arrays()["X"][:, :, 0])})
    table.to_parquet(path)
    data = read(Source("own", str(path)))
    np.testing.assert_array_equal(data.series[:, :, 0], arrays()["X"][:, :, 0])


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (columns().drop(columns="crop"), "no column crop"),
        (columns(farmer="Ann"), "neither numbers nor lists"),
        (columns().drop(columns="nir_3"), "different time steps"),
    ],
)
def test_tables_that_are_wrong_are_refused(tmp_path, table, said):
    path = tmp_path / "own.parquet"
    table.to_parquet(path)
    with pytest.raises(InputError, match=said):
        read(Source("own", str(path), "crop", "farm", "part"))


@pytest.mark.parametrize("kind", ["random", "location", "group", "block"])
def test_each_series_is_tested_once_and_no_group_is_on_both_sides(tmp_path, kind):
    data = read(saved(tmp_path))
    code = {"location": data.locations(), "group": data.group, "block": data.blocks(0.25)}
    tested = []
    for train, test in folds(data, Split(kind), seed=0):
        assert not set(train) & set(test)
        assert len(train) + len(test) == N
        if kind in code:
            assert not set(code[kind][train]) & set(code[kind][test])
        tested += list(test)
    assert sorted(tested) == list(range(N))


def test_folds_follow_the_seed(tmp_path):
    data = read(saved(tmp_path))
    first, again, other = (folds(data, Split("group"), seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(first, other, strict=True))


def test_leave_one_out_leaves_out_each_group_and_given_is_as_given(tmp_path):
    data = read(saved(tmp_path))
    out = [set(data.group[test]) for _, test in folds(data, Split("leave-one-out"), 0)]
    assert out == [{group} for group in range(10)]
    ((_, test),) = folds(data, Split("given"), 0)
    np.testing.assert_array_equal(test, np.arange(10))


@pytest.mark.parametrize(
    ("changes", "split", "said"),
    [
        ({}, Split("group", 11), "11 folds, but 10 groups"),
        ({}, Split("random", 31), "31 folds, but no class has more than 30"),
        ({}, Split("random", 61), "61 folds, but 60 series"),
        ({"lon": None}, Split("block"), "no coordinates"),
        ({"group": None}, Split("group"), "no groups"),
        ({"split": None}, Split("given"), "no split of its own"),
    ],
)
def test_splits_that_cannot_be_made_are_refused(tmp_path, changes, split, said):
    data = read(saved(tmp_path, **changes))
    with pytest.raises(InputError, match=said):
        folds(data, split, 0)


def test_what_was_left_out_is_told_one_by_one(tmp_path):
    """A model that knows half of the groups: its figure is 1 there, and 0.5 elsewhere."""
    names = tuple(f"farm {number}" for number in range(10))
    data = replace(read(saved(tmp_path)), group_names=names).checked()
    split = Split("leave-one-out")
    right = np.eye(2)[data.label]
    prob = np.where(data.group[:, None] < 5, right, [0.6, 0.4]).astype("float32")
    fits = [[Said(test, prob[test], 1.0) for _, test in folds(data, split, 0)]]
    told = document(judge(data, "leave-one-out", fits), None, "overall", by_fold=True)
    assert told["by_fold"] == [1] * 5 + [0.5] * 5
    measured = {
        "kind": "leave-one-out", "figure": "overall", "groups": data.group_names,
        "models": {"x": told},
    }  # fmt: skip
    results = {"sets": {"own": {"published": [], "splits": {"leave-one-out": measured}}}}
    table = report._each(results, "own")
    assert "| farm 4 | 1.000 |\n| farm 5 | 0.500 |" in table


def test_a_perfect_model_is_told_as_such_and_its_lead_too(tmp_path):
    source = saved(tmp_path)
    data, split = read(source), Split("group")
    right = np.eye(2, dtype="float32")[data.label]
    one_class = np.tile(np.float32([0.6, 0.4]), (N, 1))

    def fits(prob):
        return [[Said(test, prob[test], 1.0) for _, test in folds(data, split, 0)]]

    best, poor = judge(data, "group", fits(right)), judge(data, "group", fits(one_class))
    told = document(best, poor, "overall")
    assert (told["overall"], told["macro_f1"], told["interval"]) == (1, 1, [1, 1])
    # every group has three series of each class, so that every resample says the same
    assert (told["ahead"], told["ahead_interval"]) == (0.5, [0.5, 0.5])
    assert best.unit == "groups"


def test_a_run_that_was_stopped_goes_on(tmp_path, monkeypatch):
    """Fits that are kept are not done again, whoever made them."""
    source = saved(tmp_path)
    trial = Trial(source, Split("random", 2), "forest", ForestSpec(trees=2), 0)
    kept = tmp_path / "kept"
    kept.mkdir()
    data = read(source)
    for (fit,), (_, test) in zip(trial.fits(), folds(data, trial.split, 0), strict=True):
        np.savez(kept / fit.name, rows=test, prob=np.full((len(test), 2), 0.5), seconds=1)
    monkeypatch.setattr("benchmarks.accuracy.run.do", None)
    assert list(run([trial], kept)) == [trial]
    assert sorted(np.concatenate([one.rows for one in said(trial, kept)])) == list(range(N))


def test_an_ensemble_is_the_mean_of_fits_that_others_use_too(tmp_path):
    source, split = saved(tmp_path), Split("random", 2)
    spec = EnsembleSpec(of={"forest": {"trees": 5}, "minirocket": {"features": 84}})
    both = Trial(source, split, "ensemble", spec, 3)
    alone = Trial(source, split, "forest", ForestSpec(trees=5), 3)
    kept = tmp_path / "kept"
    assert set(run([both, alone], kept, 1)) == {both, alone}
    assert len(list(kept.iterdir())) == 4
    data = read(source)
    train, test = folds(data, split, 3)[0]
    fitted = fit_model(both.seeded, data.series[train], data.label[train], 2)
    np.testing.assert_allclose(
        said(both, kept)[0].prob, fitted.predict_proba(data.series[test]), atol=1e-6
    )
    assert said(both, kept)[0].seconds > said(alone, kept)[0].seconds


def test_a_users_series_go_through_the_command(tmp_path, capsys):
    """The whole way, in this process: forest and network, figures, table and chart."""
    source, out = saved(tmp_path), tmp_path / "accuracy.json"
    assert command.main([
        "--data", source.file, "--models", "forest,tempcnn", "--folds", "2", "--workers", "1",
        "--kept", str(tmp_path / "kept"), "--out", str(out),
    ]) == 0  # fmt: skip
    results = json.loads(out.read_text())
    splits = results["sets"]["own"]["splits"]
    assert list(splits) == ["random", "group", "block", "given"]
    for measured in splits.values():
        assert list(measured["models"]) == ["forest", "tempcnn"]
        assert measured["models"]["forest"]["overall"] > 0.8
    assert out.with_suffix(".png").stat().st_size > 5000
    printed = capsys.readouterr().out
    assert "60 series of 6 steps and 2 channels" in printed
    assert max(map(len, printed.splitlines())) <= 120
    assert not list((tmp_path / "kept").iterdir())


def test_bad_input_is_refused_with_2(tmp_path, capsys):
    assert command.main(["--data", str(tmp_path / "none.npz")]) == 2
    assert command.main(["no_such_set"]) == 2
    assert "no_such_set" in capsys.readouterr().err


def test_targets_are_held_against_what_was_measured():
    """By hand: two models on two splits."""
    forest = {"overall": 0.96}
    ours = {"overall": 0.985, "ahead": 0.025, "ahead_interval": [0.01, 0.04]}
    split = {"figure": "overall", "models": {"forest": forest, "tempcnn": ours}}
    sets = {"sits_mt_mod13q1": {"published": [], "splits": {"random": split, "block": split}}}
    first, second = judged_targets(sets)
    assert (first["said"], first["met"]) == ("tempcnn 0.985", True)
    assert (second["said"], second["met"]) == ("tempcnn +0.025 (+0.010 to +0.040)", False)


def test_a_lead_over_seeds_is_paired():
    """Leads of 2, 3 and 4 points: 3 +- 4.303 x 1 / sqrt(3)."""
    forest = {"overall": 0.70, "by_seed": [0.69, 0.70, 0.71]}
    ours = {"overall": 0.73, "ahead": 0.03, "by_seed": [0.71, 0.73, 0.75]}
    split = {"figure": "overall", "models": {"forest": forest, "tempcnn": ours}}
    sets = {"tempcnn_formosat2": {"published": [], "splits": {"given": split}}}
    (one,) = judged_targets(sets)
    assert (one["said"], one["met"]) == ("+0.030 (+0.005 to +0.055)", True)


def test_every_plan_names_models_with_valid_changes():
    for plan in PLANS:
        for name, changes in (plan.models | plan.more).items():
            assert spec_of(name, changes).kind in name or name.startswith(("gru", "lstm", "fusion"))
            assert name.split("+")[0] in MODELS


def test_many_places_are_lines_and_few_are_columns():
    def measured(kind, n):
        split = {
            "kind": kind, "figure": "overall",
            "models": {"forest": {"overall": 0.5, "interval": [0.4, 0.6]}},
        }  # fmt: skip
        return {"sets": {f"set/{k}": {"published": [], "splits": {kind: split}} for k in range(n)}}

    heading, lines = report.cells_of(measured("random", 3), "set")
    assert heading == ["model", "0 random", "1 random", "2 random"]
    assert lines == [["forest", *["0.500 ±0.100"] * 3]]
    heading, lines = report.cells_of(measured("random", 5), "set")
    assert heading == ["split", "forest", "published"]
    assert lines[4] == ["4 random", "0.500 ±0.100", ""]


def test_the_page_says_what_the_file_of_results_says():
    results = json.loads(command.RESULTS.read_text())
    _, _, rest = command.PAGE.read_text().partition(report.BEGIN)
    made, _, _ = rest.partition(report.END)
    assert made.strip() == report.page(results).strip()
    for name, of_set in results["sets"].items():
        for split in of_set["splits"].values():
            best = max(said[split["figure"]] for said in split["models"].values())
            assert f"{best:.3f} ±" in made, name


def test_the_readme_says_what_the_file_of_results_says():
    results = json.loads(command.RESULTS.read_text())
    sets = results["sets"]
    lines = (command.PAGE.parents[1] / "README.md").read_text().splitlines()
    for name, split in (
        ("tempcnn_formosat2", "given"), ("sits_mt_mod13q1", "random"),
        ("sits_mt_mod13q1", "block"), ("ucr_crop_train", "random"),
    ):  # fmt: skip
        models = sets[name]["splits"][split]["models"]
        told = [f"{models[one]['overall']:.3f}" for one in ("forest", "tempcnn", "ensemble")]
        (line,) = (one for one in lines if one.startswith(f"| `{name}`") and split in one)
        assert [cell.strip() for cell in line.split("|")[2:-1]] == told
    others = " ".join(lines)
    regions = [
        of["splits"]["random"]["models"]
        for name, of in sets.items()
        if "dea_cropmask" in name and "random" in of["splits"]
    ]
    for model in ("boosting+balanced", "forest+balanced"):
        found = [region[model]["balanced"] for region in regions]
        assert f"{min(found):.3f} to {max(found):.3f}" in others
    uganda = sets["worldcereal_uga_ssd2017_monthly"]["splits"]["group"]["models"]
    forest, fusion, tempcnn = (
        uganda[f"{name}+balanced"]["macro_f1"] for name in ("forest", "fusion-feature", "tempcnn")
    )
    assert f"{forest:.3f}, fusion of sources {fusion:.3f}, TempCNN {tempcnn:.3f}" in others
    here = {
        one["model"]: f"{one['macro_f1']:.3f}"
        for one in results["claims"]["elsewhere"]
        if one["where"] == "same place"
    }
    assert f"{here['tempcnn']}, the forest {here['forest']}, U-Net {here['unet']}" in others


@pytest.fixture(scope="module")
def ground():
    return make_ground(Place(64, cloud_cover=0.5))


def test_simulated_labels_are_true_and_lie_inside_their_fields(ground):
    label, polygon = ground.cube["label"].values, ground.cube["polygon"].values
    labelled = label != UNKNOWN
    assert 0.3 < labelled.mean() < 0.9
    np.testing.assert_array_equal(label[labelled], ground.truth[labelled])
    np.testing.assert_array_equal(polygon, np.where(labelled, ground.field + 1, 0))
    rows, cols = np.nonzero(labelled[1:-1, 1:-1])
    assert (ground.field[rows, cols] == ground.field[rows + 2, cols + 2]).all()


def test_clouds_leave_gaps_and_a_late_bright_year_is_later_and_brighter(ground):
    clear = make_ground(Place(64, cloud_cover=0.0))
    assert (clear.cube["s2"].values > 0).all()
    assert (ground.cube["s2"].values == 0).any()
    np.testing.assert_array_equal(clear.truth, ground.truth)
    brighter = make_ground(Place(64, cloud_cover=0.0, gain=1.1, offset=0.005))
    counts, bright = clear.cube["s2"].values, brighter.cube["s2"].values
    dark = counts == 1  # the least that there is
    assert dark.mean() < 0.01
    np.testing.assert_allclose(bright[~dark], 1.1 * counts[~dark] + 50, atol=1.1)
    late = make_ground(Place(64, cloud_cover=0.0, days_late=30))
    maize = clear.truth == SCHEME.names.index("maize")
    nir = [one.cube["s2"].sel(s2_band="B08").values[5][maize].mean() for one in (clear, late)]
    assert nir[0] > nir[1] + 300  # June: what is a month late has grown less


def test_polygons_of_a_smaller_share_are_among_those_of_a_larger(monkeypatch):
    monkeypatch.setattr(claims, "CUT", 90)
    samples = claims._samples(Place(64, cloud_cover=0.0))
    chosen = [claims.chosen_rows(samples, share, 0) for share in (0.1, 0.5, 1.0)]
    assert [(a & ~b).any() for a, b in pairwise(chosen)] == [False, False]
    counts = [len(np.unique(samples["polygon"].values[rows])) for rows in chosen]
    assert counts[0] < counts[1] < counts[2]
    west = samples["x"].values.min() + 10 * (90 - claims.MARGIN)
    assert samples["x"].values[chosen[2]].max() <= west


def test_claims_are_measured_told_and_drawn(tmp_path, monkeypatch, capsys):
    """A forest alone, on a small map."""
    monkeypatch.setattr(claims, "CUT", 80)
    monkeypatch.setattr(claims, "MODELS", ("forest",))
    monkeypatch.setattr(claims, "SHARES", (1.0, 0.1))
    monkeypatch.setattr(claims, "_SIZES", {"quick": 64})
    monkeypatch.setattr(claims, "_ELSEWHERE", {"same place": {}, "brighter": {"gain": 1.5}})
    told = claims.run(tmp_path / "kept", workers=1)
    assert [one["cloudy"] for one in told["few"]] == [False, False, True, True]
    same, brighter = (one["macro_f1"] for one in told["elsewhere"])
    assert same > brighter
    assert [(one["share"], one["bands"]) for one in told["bands"]] == [
        (1.0, 10), (0.1, 10), (1.0, 4), (0.1, 4)
    ]  # fmt: skip
    claims.show(told)
    shown = report._claims(told)
    assert (
        f"| cloudy | 10 % | {told['few'][3]['polygons']} | {told['few'][3]['macro_f1']:.3f} ("
        in shown
    )
    claims.draw(told, tmp_path / "claims.png")
    assert "brighter" in capsys.readouterr().out
    assert (tmp_path / "claims.png").stat().st_size > 5000
    assert not list((tmp_path / "kept").iterdir())
