from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from geocube_ml.errors import GridMismatch, InputError, MissingError
from geocube_ml.kernels.scaling import to_physical
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.models.fit import Fit, FitSource
from geocube_ml.models.layout import Layout
from geocube_ml.models.target import Target
from geocube_ml.spec.base import digest
from geocube_ml.spec.models import FusionSpec, TempCNNSpec
from geocube_ml.train import fit_model
from tests.seasons import NAMES, scheme

from .conftest import QUICK, TREES

BANDS = ("b0", "b1", "b2")
STEPS = ("10-01", "11-01", "12-01", "01-01", "02-01", "03-01")
S2 = FitSource(name="s2", bands=BANDS, nodata=0, scale=1e-4)
FIT = Fit(sources=(S2,), steps=STEPS)
S1 = FitSource(name="s1", bands=("vv", "vh"), nodata=np.nan)
DEM = FitSource(
    name="dem", bands=("elevation",), nodata=-9999, scale=0.1, add_offset=500, static=True
)
EVERY = Fit(sources=(S1, S2, DEM), steps=STEPS)
STILL = Fit(sources=(DEM, S2.model_copy(update={"static": True})))
N = len(NAMES)


def fit_with(nodata):
    return Fit(sources=(S2.model_copy(update={"nodata": nodata}),), steps=STEPS)


def bundle_of(classifier, fit=FIT):
    return ModelBundle("mine", classifier, fit, scheme(), {"n_train": 192})


def make_counts(shape=(7, 11), seed=0):
    """(month, band, y, x) with missing months, and pixels without any."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(500, 4000, (6, 3, *shape)).astype("uint16")
    counts[np.broadcast_to(rng.random((6, 1, *shape)) < 0.3, counts.shape)] = 0
    counts[:, :, 2:4, 3:5] = 0
    return counts


def make_every(shape=(7, 11), seed=0):
    """Blocks of a cube of three sources; nothing is seen of pixel (3, 4)."""
    rng = np.random.default_rng(seed)
    s1 = rng.random((6, 2, *shape)).astype("float32")
    s1[np.broadcast_to(rng.random((6, 1, *shape)) < 0.5, s1.shape)] = np.nan
    s1[:, :, 3, 4] = np.nan
    dem = rng.integers(0, 900, (1, *shape)).astype("int16")
    dem[:, rng.random(shape) < 0.2] = -9999
    return {"s1": s1, "s2": make_counts(shape, seed), "dem": dem}


class Wary:
    """Answers with the number of observed months, and refuses series without any."""

    spec, halo, target = TempCNNSpec(), 0, Target(N)

    def predict_proba(self, series):
        seen = ~np.isnan(series)
        assert series.ndim == 3
        assert series.dtype == "float32"
        assert seen.any(axis=(1, 2)).all(), "a series without observations reached the model"
        assert np.nanmax(series) < 1, "counts reached the model"
        share = seen.any(axis=2).mean(axis=1)
        return np.stack([share, 1 - share, 0 * share, 0 * share], axis=1).astype("float32")


@pytest.fixture
def bundle(classifier):
    return bundle_of(classifier)


# --- both classifiers


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_rows_sum_to_one_in_whatever_order_they_come(classifier, series, data):
    x = series[0][: data.draw(st.integers(1, 60))]
    order = np.array(data.draw(st.permutations(range(len(x)))))
    prob = classifier.predict_proba(x)
    assert prob.shape == (len(x), N)
    assert prob.dtype == "float32"
    assert ((prob >= 0) & (prob <= 1)).all()
    np.testing.assert_allclose(prob.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(classifier.predict_proba(x[order]), prob[order], atol=1e-6)


# --- a block of the cube


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint16", 0), ("int16", -32768), ("float32", np.nan), ("float32", -1)]
)
def test_nodata_never_reaches_the_model(dtype, nodata):
    counts = make_counts()
    stored = np.where(counts == 0, nodata, counts.astype(float)).astype(dtype)
    wary = bundle_of(Wary(), fit_with(nodata))
    got = wary.predict_block({"s2": stored})
    assert got.shape == (N, 7, 11)
    assert got.dtype == "float32"
    share = (counts != 0).any(axis=1).mean(axis=0)
    np.testing.assert_array_equal(np.isnan(got), np.broadcast_to(share == 0, got.shape))
    assert np.isnan(got[:, 2:4, 3:5]).all()
    np.testing.assert_allclose(got[0][share > 0], share[share > 0], rtol=1e-6)


def test_a_block_without_any_observation():
    got = bundle_of(Wary()).predict_block({"s2": np.zeros((6, 3, 4, 5), "uint16")})
    assert got.shape == (N, 4, 5)
    assert np.isnan(got).all()
    none = {"s2": np.zeros((0, 6, 3), "uint16")}
    assert bundle_of(Wary()).predict_proba(none).shape == (0, N)


def test_what_a_missing_month_holds_changes_nothing(bundle):
    """Nodata is a label of the count, not a value: any other nodata gives the same map."""
    counts = make_counts().astype("int32")
    other = dataclasses.replace(bundle, fit=fit_with(-9999.0))
    np.testing.assert_array_equal(
        bundle.predict_block({"s2": counts}),
        other.predict_block({"s2": np.where(counts == 0, -9999, counts)}),
    )


def test_a_block_is_its_pixels_one_by_one(bundle):
    counts = make_counts((4, 6))
    got = bundle.predict_block({"s2": counts})
    for row, col in np.ndindex(4, 6):
        alone = bundle.predict_proba({"s2": counts[None, :, :, row, col]})[0]
        np.testing.assert_allclose(got[:, row, col], alone, atol=1e-6)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(row=st.integers(1, 6), col=st.integers(1, 10))
def test_a_block_may_be_cut_anywhere(bundle, row, col):
    counts = make_counts()
    parts = [
        [bundle.predict_block({"s2": part}) for part in np.split(half, [col], axis=3)]
        for half in np.split(counts, [row], axis=2)
    ]
    np.testing.assert_allclose(np.block(parts), bundle.predict_block({"s2": counts}), atol=1e-6)


# --- several sources


class Told:
    """Keeps what it is asked."""

    spec, halo, target = TempCNNSpec(), 0, Target(N)

    def __init__(self):
        self.asked = []

    def predict_proba(self, series):
        self.asked.append(series)
        return np.full((len(series), N), 1 / N, "float32")


def test_a_model_sees_series_by_name_then_static_sources_at_every_step():
    blocks, told = make_every(), Told()
    got = bundle_of(told, EVERY).predict_block(blocks)
    (series,) = told.asked
    seen = ~np.isnan(blocks["s1"]).all(axis=(0, 1)) | (blocks["s2"] != 0).any(axis=(0, 1))
    assert not seen[3, 4]
    np.testing.assert_array_equal(np.isnan(got[0]), ~seen)
    assert series.shape == (seen.sum(), 6, 2 + 3 + 1)
    for pixel, (row, col) in zip(series, np.argwhere(seen), strict=True):
        np.testing.assert_array_equal(pixel[:, :2], blocks["s1"][:, :, row, col])
        optical = to_physical(blocks["s2"][:, :, row, col], 0, 1e-4)
        np.testing.assert_array_equal(pixel[:, 2:5], optical)
        height = blocks["dem"][0, row, col]
        want = np.nan if height == -9999 else 500 + 0.1 * height
        np.testing.assert_allclose(pixel[:, 5], want, rtol=1e-6)


def test_static_sources_alone_are_one_step():
    dem = np.int16([[[0, -9999, -9999]]])
    image = np.uint16([[[5000, 0, 0]], [[0, 0, 0]], [[0, 2500, 0]]])
    told = Told()
    got = bundle_of(told, STILL).predict_block({"dem": dem, "s2": image})
    assert np.isnan(got[0]).tolist() == [[False, False, True]]
    want = [[[500, 0.5, np.nan, np.nan]], [[np.nan, np.nan, np.nan, 0.25]]]
    np.testing.assert_allclose(told.asked[0], want, rtol=1e-6)


@pytest.mark.parametrize("spec", [QUICK, TREES], ids=["network", "forest"])
@pytest.mark.parametrize("fit", [EVERY, STILL], ids=["three", "still"])
def test_bundles_of_several_sources_come_back_and_answer_alike(spec, fit, tmp_path):
    rng = np.random.default_rng(0)
    counts = {
        s.name: rng.integers(1, 900, (60, len(s.bands)) if s.static else (60, 6, len(s.bands)))
        for s in fit.sources
    }
    x, label = fit.stacked(counts), np.arange(60) % N
    classifier = fit_model(spec, x, label, N, layout=fit.layout).model
    bundle = bundle_of(classifier, fit)
    prob = bundle.predict_proba(counts)
    np.testing.assert_allclose(prob.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(bundle.predict_proba({**counts, "more": None}), prob)
    bundle.save(tmp_path / "model")
    back = ModelBundle.load(tmp_path / "model")
    np.testing.assert_array_equal(back.predict_proba(counts), prob)
    assert back.digest() == bundle.digest()
    assert back.fit.names == fit.names


def test_memory_does_not_grow_with_the_block(monkeypatch):
    """However many bands: so many values are floats at a time, and the answers are the same."""
    bands = tuple(f"b{n:03d}" for n in range(200))
    fit = Fit(sources=(FitSource(name="enmap", bands=bands, nodata=0, static=True),))
    rng = np.random.default_rng(0)
    image = rng.integers(0, 2, (200, 60, 100)).astype("uint16")
    image[:, :5, :7] = 0

    def asked(floats):
        told = Told()
        monkeypatch.setattr("geocube_ml.models.bundle._FLOATS", floats)
        prob = bundle_of(told, fit).predict_block({"enmap": image})
        assert np.isnan(prob[0]).sum() == 35
        return [len(series) for series in told.asked], np.concatenate(told.asked)

    whole, once = asked(2**24)
    assert whole == [5965]
    parts, cut = asked(2 * 2048 * 200)
    assert parts == [4096, 1869]
    np.testing.assert_array_equal(once, cut)
    many = FitSource(name="s2", bands=bands, nodata=0)
    steps = tuple(f"{month:02d}-01" for month in range(1, 13))
    monkeypatch.undo()
    assert bundle_of(Told(), Fit(sources=(many,), steps=steps))._at_once == 6144
    assert bundle_of(Told(), FIT)._at_once == 65_536


def test_a_model_of_one_series_has_the_layout_of_one():
    assert FIT.layout == Layout((3,), names=("s2",))
    assert EVERY.layout == Layout((2, 3), (1,), ("s1", "s2", "dem"))
    assert (STILL.layout, STILL.n_step) == (Layout((), (1, 3), ("dem", "s2")), 1)
    assert EVERY.layout.n_feature(6) == 5 * 6 + 1


# --- what a cube must be like


@pytest.mark.parametrize(
    ("sources", "steps", "said"),
    [((S2,), (), "0 steps and 1 series"), ((DEM,), STEPS, "6 steps and 0 series"),
     ((DEM, S2), STEPS, "got dem, s2"), ((), (), "at least 1")],
)  # fmt: skip
def test_a_fit_that_contradicts_itself_is_refused(sources, steps, said):
    with pytest.raises(ValueError, match=said):
        Fit(sources=sources, steps=steps)


@pytest.mark.parametrize("fit", [FIT, EVERY, STILL])
def test_fit_takes_the_cube_that_it_names(fit):
    fit.check(fit)


def test_fit_takes_a_cube_with_more_sources_and_a_leap_years_steps():
    FIT.check(EVERY)
    days = Fit(sources=(S2,), steps=("02-18", "03-06", "12-31"))
    days.check(Fit(sources=(S2,), steps=("02-18", "03-05", "01-01")))


def of(source=S2, steps=STEPS, **changes):
    return Fit(sources=(source.model_copy(update=changes),), steps=steps)


@pytest.mark.parametrize(
    ("cube", "said"),
    [
        (of(bands=("b0", "b2", "b1")), r"bands b0, b1, b2 of 's2', but the cube has b0, b2, b1\."),
        (of(bands=("b0",)), r"bands b0, b1, b2 of 's2', but the cube has b0\."),
        (of(nodata=-1), r"'s2' with nodata 0, but the cube has -1\."),
        (of(scale=1), r"'s2' with scale 0\.0001, but the cube has 1\."),
        (of(add_offset=-0.2), r"'s2' with add_offset 0, but the cube has -0\.2\."),
        (of(static=True, steps=()), r"'s2' as a series, but in the cube it is a static layer"),
        (of(steps=STEPS[:5]), r"on 10-01, .*, 03-01, but the cube's start on 10-01, .*, 02-01\."),
        (of(steps=("04-01", *STEPS[1:])), r"but the cube's start on 04-01, 11-01"),
        (of(steps=("10-03", *STEPS[1:])), r"but the cube's start on 10-03, 11-01"),
    ],
)
def test_fit_names_what_differs(cube, said):
    with pytest.raises(GridMismatch, match=said):
        FIT.check(cube)


def test_fit_names_a_missing_source():
    with pytest.raises(InputError, match=r"'dem' \(elevation\), the cube has s1, s2\. Add it"):
        EVERY.check(EVERY.model_copy(update={"sources": (S1, S2)}))


def test_fit_of_many_bands_names_the_first_that_differs():
    bands = tuple(f"b{n:03d}" for n in range(1, 201))
    other = (*bands[:56], "gone", *bands[57:])
    with pytest.raises(GridMismatch, match=r"b200 \(200 of them\).*number 57 was b057 and is gone"):
        of(bands=bands).check(of(bands=other))


# --- on disk


def test_a_bundle_comes_back_bit_by_bit(bundle, tmp_path):
    bundle.save(tmp_path / "model")
    back = ModelBundle.load(tmp_path / "model")
    counts = {"s2": make_counts((20, 31))}
    np.testing.assert_array_equal(back.predict_block(counts), bundle.predict_block(counts))
    assert (back.name, back.fit, back.classes) == ("mine", bundle.fit, bundle.classes)
    assert back.facts == bundle.facts
    assert back.model.spec == bundle.model.spec
    assert back.model.said() == bundle.model.said()
    assert back.digest() == bundle.digest()
    assert back.temperature == bundle.temperature

    back.save(tmp_path / "again")
    for path in (tmp_path / "model").glob("*.[js][sa]*"):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_nan_as_nodata_comes_back(network, tmp_path):
    bundle_of(network, fit_with(np.nan)).save(tmp_path / "model")
    back = ModelBundle.load(tmp_path / "model").fit
    assert np.isnan(back.sources[0].nodata)
    back.check(fit_with(np.nan))


def test_nothing_on_disk_is_a_pickle(bundle, tmp_path):
    bundle.save(tmp_path)
    files = sorted(tmp_path.iterdir())
    assert [p.name for p in files] == ["bundle.json", "weights.safetensors"]
    for path in files:
        assert not path.read_bytes().startswith(b"\x80")


def test_saving_replaces_an_older_bundle(network, forest, tmp_path):
    bundle_of(forest).save(tmp_path / "model")
    bundle_of(network).save(tmp_path / "model")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [
        "bundle.json",
        "weights.safetensors",
    ]


def test_a_save_that_fails_keeps_the_older_bundle(forest, tmp_path):
    bundle_of(forest).save(tmp_path / "model")
    broken = dataclasses.replace(bundle_of(forest), facts={"n": object()})
    with pytest.raises(TypeError):
        broken.save(tmp_path / "model")
    assert ModelBundle.load(tmp_path / "model").facts == {"n_train": 192}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_no_bundle_names_the_next_step(tmp_path):
    with pytest.raises(MissingError, match="Run the step `train`"):
        ModelBundle.load(tmp_path / "none")


@pytest.mark.parametrize("left", [0, 1, 40, 0.3, 0.9, 0.99, "zeros", "gone"])
@pytest.mark.parametrize("which", ["description", "weights"])
def test_damage_is_named_with_the_next_step(bundle, tmp_path, which, left):
    bundle.save(tmp_path)
    path = tmp_path / "bundle.json"
    if which == "weights":
        path = next(p for p in tmp_path.iterdir() if p != path)
    whole = path.read_bytes()
    if left == "gone":
        path.unlink()
    elif left == "zeros":
        path.write_bytes(bytes(len(whole)))
    else:
        path.write_bytes(whole[: left if isinstance(left, int) else int(left * len(whole))])
    known = (MissingError, InputError) if which == "description" else InputError
    with pytest.raises(known, match=r"--redo train|Run the step `train`"):
        ModelBundle.load(tmp_path)


def rewrite(folder, change):
    """Change a description as one who knows how its digest is made."""
    said = json.loads((folder / "bundle.json").read_text())
    del said["digest"]
    change(said)
    weights = (folder / "weights.safetensors").read_bytes()
    said["weights"] = hashlib.sha256(weights).hexdigest()
    (folder / "bundle.json").write_text(json.dumps({**said, "digest": digest(said)}))


@pytest.mark.parametrize("key", ["name", "spec", "fit", "classes", "facts", "target", "learnt"])
def test_a_description_without_a_part_is_refused(bundle, tmp_path, key):
    bundle.save(tmp_path)
    rewrite(tmp_path, lambda said: said.pop(key))
    with pytest.raises(InputError, match="--redo train"):
        ModelBundle.load(tmp_path)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("fit", "sources", [{"name": "s2", "bands": ["b0"], "nodata": 0}]),
        ("fit", "sources", [{"name": "s2", "bands": ["b0", "b1", "b2", "b3"], "nodata": 0}]),
        ("fit", "sources", [S2.model_dump(mode="json") | {"static": True}]),
        ("fit", "sources", []),
        ("fit", "steps", ["10-01", "11-01", "12-01"]),
        ("classes", "names", ["one"]),
        ("target", "n_class", 3),
        ("spec", "kind", "oracle"),
        ("spec", "kind", "unet"),
    ],
)
def test_weights_that_do_not_fit_their_description_are_refused(bundle, tmp_path, part, key, value):
    bundle.save(tmp_path)
    rewrite(tmp_path, lambda said: said[part].update({key: value}))
    with pytest.raises(InputError, match="damaged"):
        ModelBundle.load(tmp_path)


def test_an_edited_description_is_refused(bundle, tmp_path):
    """A band of another name would be taken for the one that was trained on."""
    bundle.save(tmp_path)
    path = tmp_path / "bundle.json"
    path.write_text(path.read_text().replace('"b0"', '"b9"'))
    with pytest.raises(InputError, match=r"damaged.*the digest: \w{16} in the file, \w{16} by"):
        ModelBundle.load(tmp_path)


def test_weights_of_another_model_are_refused(network, forest, tmp_path):
    bundle_of(network).save(tmp_path / "one")
    bundle_of(forest).save(tmp_path / "other")
    (tmp_path / "other/weights.safetensors").replace(tmp_path / "one/weights.safetensors")
    with pytest.raises(InputError, match="the weights: "):
        ModelBundle.load(tmp_path / "one")


@pytest.mark.parametrize("temperature", [0, -1, "warm"])
def test_a_temperature_that_is_none_is_refused(forest, tmp_path, temperature):
    bundle_of(forest).save(tmp_path)
    rewrite(tmp_path, lambda said: said.update(temperature=temperature))
    with pytest.raises(InputError, match="damaged"):
        ModelBundle.load(tmp_path)


@pytest.mark.parametrize("found", [1, 2, 4])
def test_a_bundle_of_another_version_is_refused(bundle, tmp_path, found):
    bundle.save(tmp_path)
    said = json.loads((tmp_path / "bundle.json").read_text())
    if found == 1:  # as the first version wrote it
        del said["format"]
        said["fit"] = {"source": "s2", "bands": ["b0"], "months": [1], "nodata": 0, "scale": 1}
    else:
        said["format"] = found
    (tmp_path / "bundle.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match=rf"its format is {found}, this one reads 3.*--redo train"):
        ModelBundle.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "says"), [("0.head.bias", r"head\.bias"), ("mean", "scaling's bands")]
)
def test_weights_of_another_shape_are_refused(network, tmp_path, name, says):
    bundle_of(network).save(tmp_path)
    path = tmp_path / "weights.safetensors"
    tensors = load_file(path)
    tensors[name] = tensors[name][:-1].copy()
    save_file(tensors, path)
    rewrite(tmp_path, lambda _said: None)
    with pytest.raises(InputError, match=says):
        ModelBundle.load(tmp_path)


# --- how sure it is


def test_probabilities_are_softened_by_the_temperature(bundle):
    counts = {"s2": np.moveaxis(make_counts().reshape(6, 3, -1), 2, 0)}
    warm = dataclasses.replace(bundle, temperature=3.0)
    raw, soft = warm.predict_proba(counts, calibrated=False), warm.predict_proba(counts)
    np.testing.assert_array_equal(raw, bundle.predict_proba(counts))
    known = ~np.isnan(raw[:, 0])
    most = raw[known].argmax(axis=1)[:, None]
    right, left = (np.take_along_axis(prob[known], most, axis=1) for prob in (raw, soft))
    assert (left <= right + 1e-6).all()
    assert left.mean() < right.mean() - 0.02
    assert (left[:, 0] >= soft[known].max(axis=1) - 1e-6).all()
    assert warm.digest() != bundle.digest()


# --- cubes without a source


@pytest.fixture(scope="module")
def fused(series):
    """A network of two series that was trained with some taken away."""
    x, label = series
    both = np.concatenate([x[:, :, :2], x], axis=2)
    spec = FusionSpec(encoder={"kind": "tempcnn", "width": 4}, epochs=1, batch=32)
    fit = Fit(sources=(S1, S2), steps=STEPS)
    model = fit_model(spec, both, label, N, layout=fit.layout).model
    return ModelBundle("mine", model, fit, scheme())


def test_a_source_that_is_not_there_is_missing(fused):
    every = make_every()
    del every["dem"]
    gone = {**every, "s1": np.full_like(every["s1"], np.nan)}
    alone = fused.predict_block({"s2": every["s2"]})
    np.testing.assert_array_equal(alone, fused.predict_block(gone))
    assert not np.array_equal(alone, fused.predict_block(every))


def test_a_tolerant_model_accepts_a_cube_without_a_source(fused):
    assert fused.tolerant
    fused.fit.check(FIT, tolerant=True)
    with pytest.raises(InputError, match="needs the source 's1'"):
        fused.fit.check(FIT)
    still = Fit(sources=(DEM,))
    with pytest.raises(InputError, match="needs the source 's1'"):
        fused.fit.check(still, tolerant=True)


def test_other_models_are_not(bundle):
    assert not bundle.tolerant
