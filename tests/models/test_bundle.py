from __future__ import annotations

import dataclasses
import json
import zipfile

import numpy as np
import pytest
import skops.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from geocube_ml.errors import GridMismatch, InputError, MissingError
from geocube_ml.models.bundle import Fit, ModelBundle
from tests.seasons import NAMES, scheme

BANDS = ("b0", "b1", "b2")
MONTHS = (10, 11, 12, 1, 2, 3)
FIT = Fit(source="s2", bands=BANDS, months=MONTHS, nodata=0, scale=1e-4)
N = len(NAMES)


def bundle_of(classifier, fit=FIT):
    return ModelBundle("mine", classifier, fit, scheme(), {"n_train": 192})


def make_counts(shape=(7, 11), seed=0):
    """(month, band, y, x) with missing months, and pixels without any."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(500, 4000, (6, 3, *shape)).astype("uint16")
    counts[np.broadcast_to(rng.random((6, 1, *shape)) < 0.3, counts.shape)] = 0
    counts[:, :, 2:4, 3:5] = 0
    return counts


class Wary:
    """Answers with the number of observed months, and refuses series without any."""

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
    wary = bundle_of(Wary(), FIT.model_copy(update={"nodata": nodata}))
    got = wary.predict_block(stored)
    assert got.shape == (N, 7, 11)
    assert got.dtype == "float32"
    share = (counts != 0).any(axis=1).mean(axis=0)
    np.testing.assert_array_equal(np.isnan(got), np.broadcast_to(share == 0, got.shape))
    assert np.isnan(got[:, 2:4, 3:5]).all()
    np.testing.assert_allclose(got[0][share > 0], share[share > 0], rtol=1e-6)


def test_a_block_without_any_observation():
    got = bundle_of(Wary()).predict_block(np.zeros((6, 3, 4, 5), "uint16"))
    assert got.shape == (N, 4, 5)
    assert np.isnan(got).all()
    assert bundle_of(Wary()).predict_proba(np.zeros((0, 6, 3), "uint16")).shape == (0, N)


def test_what_a_missing_month_holds_changes_nothing(bundle):
    """Nodata is a label of the count, not a value: any other nodata gives the same map."""
    counts = make_counts().astype("int32")
    other = dataclasses.replace(bundle, fit=FIT.model_copy(update={"nodata": -9999.0}))
    np.testing.assert_array_equal(
        bundle.predict_block(counts), other.predict_block(np.where(counts == 0, -9999, counts))
    )


def test_a_block_is_its_pixels_one_by_one(bundle):
    counts = make_counts((4, 6))
    got = bundle.predict_block(counts)
    for row, col in np.ndindex(4, 6):
        alone = bundle.predict_proba(counts[None, :, :, row, col])[0]
        np.testing.assert_allclose(got[:, row, col], alone, atol=1e-6)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(row=st.integers(1, 6), col=st.integers(1, 10))
def test_a_block_may_be_cut_anywhere(bundle, row, col):
    counts = make_counts()
    parts = [
        [bundle.predict_block(part) for part in np.split(half, [col], axis=3)]
        for half in np.split(counts, [row], axis=2)
    ]
    np.testing.assert_allclose(np.block(parts), bundle.predict_block(counts), atol=1e-6)


# --- what a cube must be like


def test_fit_takes_the_cube_that_it_names():
    FIT.check(BANDS, MONTHS)


@pytest.mark.parametrize(
    ("bands", "months", "said"),
    [
        (("b0", "b2", "b1"), MONTHS, r"bands b0, b1, b2, but the cube has b0, b2, b1"),
        (("b0",), MONTHS, r"bands b0, b1, b2, but the cube has b0\."),
        (BANDS, MONTHS[:5], r"months 10, 11, 12, 1, 2, 3, but the cube has 10, 11, 12, 1, 2\."),
        (BANDS, (4, 5, 6, 7, 8, 9), r"has 4, 5, 6, 7, 8, 9\."),
    ],
)
def test_fit_names_what_differs(bands, months, said):
    with pytest.raises(GridMismatch, match=said):
        FIT.check(bands, months)


# --- on disk


def test_a_bundle_comes_back_bit_by_bit(bundle, tmp_path):
    bundle.save(tmp_path / "model")
    back = ModelBundle.load(tmp_path / "model")
    counts = make_counts((20, 31))
    np.testing.assert_array_equal(back.predict_block(counts), bundle.predict_block(counts))
    assert (back.name, back.fit, back.classes) == ("mine", bundle.fit, bundle.classes)
    assert back.facts == bundle.facts
    assert back.classifier.spec == bundle.classifier.spec
    assert getattr(back.classifier, "history", None) == getattr(bundle.classifier, "history", None)

    back.save(tmp_path / "again")
    for path in (tmp_path / "model").glob("*.[js][sa]*"):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_nan_as_nodata_comes_back(network, tmp_path):
    bundle_of(network, FIT.model_copy(update={"nodata": np.nan})).save(tmp_path / "model")
    assert np.isnan(ModelBundle.load(tmp_path / "model").fit.nodata)


def test_nothing_on_disk_is_a_pickle(bundle, tmp_path):
    bundle.save(tmp_path)
    files = sorted(tmp_path.iterdir())
    assert {p.name for p in files} <= {"bundle.json", "weights.safetensors", "forest.skops"}
    assert len(files) == 2
    for path in files:
        assert not path.read_bytes().startswith(b"\x80")
    for path in tmp_path.glob("*.skops"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                assert name.endswith((".json", ".npy")), name
                if name.endswith(".npy"):
                    with archive.open(name) as file:
                        np.load(file, allow_pickle=False)


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


@pytest.mark.parametrize("key", ["name", "spec", "fit", "classes", "facts"])
@pytest.mark.parametrize("change", ["left out", "null"])
def test_a_description_without_a_part_is_refused(bundle, tmp_path, key, change):
    if change == "null" and key in ("name", "facts"):
        return
    bundle.save(tmp_path)
    said = json.loads((tmp_path / "bundle.json").read_text())
    if change == "null":
        said[key] = None
    else:
        del said[key]
    (tmp_path / "bundle.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match="--redo train"):
        ModelBundle.load(tmp_path)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("fit", "bands", ["b0"]),
        ("fit", "bands", ["b0", "b1", "b2", "b3"]),
        ("fit", "months", [10, 11, 12]),
        ("classes", "names", ["one"]),
        ("spec", "kind", "oracle"),
    ],
)
def test_weights_that_do_not_fit_their_description_are_refused(bundle, tmp_path, part, key, value):
    bundle.save(tmp_path)
    said = json.loads((tmp_path / "bundle.json").read_text())
    said[part][key] = value
    (tmp_path / "bundle.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match="damaged"):
        ModelBundle.load(tmp_path)


def test_weights_of_another_shape_are_refused(network, tmp_path):
    bundle_of(network).save(tmp_path)
    path = tmp_path / "weights.safetensors"
    tensors = load_file(path)
    tensors["head.5.bias"] = tensors["head.5.bias"][:-1].copy()
    save_file(tensors, path)
    with pytest.raises(InputError, match=r"head\.5\.bias"):
        ModelBundle.load(tmp_path)


def test_a_scaling_of_other_bands_is_refused(network, tmp_path):
    bundle_of(network).save(tmp_path)
    said = json.loads((tmp_path / "bundle.json").read_text())
    said["scaling"] = {"mean": [0.2], "std": [0.1]}
    (tmp_path / "bundle.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match="scaling's bands"):
        ModelBundle.load(tmp_path)


@pytest.mark.parametrize("other", [{"a": 1}, print])
def test_another_object_in_the_forests_place_is_refused(forest, tmp_path, other):
    bundle_of(forest).save(tmp_path)
    skops.io.dump(other, tmp_path / "forest.skops")
    with pytest.raises(InputError, match="damaged"):
        ModelBundle.load(tmp_path)
