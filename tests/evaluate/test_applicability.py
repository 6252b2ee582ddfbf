from __future__ import annotations

import numpy as np
import pytest

from geocube_ml.data.samples import gather_samples
from geocube_ml.errors import GridMismatch, InputError, MissingError
from geocube_ml.evaluate.applicability import (
    Applicability,
    applicability_map,
    learn_applicability,
)
from geocube_ml.spec.samples import SamplesSpec
from tests.seasons import add_radar, add_terrain, make_cube


@pytest.fixture(scope="module")
def cube():
    return add_terrain(add_radar(make_cube()))


@pytest.fixture(scope="module")
def samples(cube):
    return gather_samples(cube, SamplesSpec(block_m=100))


@pytest.fixture(scope="module")
def learnt(samples):
    return learn_applicability(samples)


@pytest.fixture(scope="module")
def found(cube, learnt):
    return applicability_map(cube, learnt).compute()


def test_pixels_that_were_trained_on_are_applicable_and_foreign_land_is_not(cube, learnt, found):
    known = cube["label"].values != 255
    assert (found["applicable"].values[known] == 1).mean() > 0.85
    foreign = cube.copy(deep=True)
    foreign["s2"].values[...] = np.where(cube["s2"] > 0, 9000, 0)
    strange = applicability_map(foreign, learnt)
    assert (strange["applicable"].values == 0).all()
    assert float(strange["dissimilarity"].min()) > learnt.known.threshold


def test_a_cloud_makes_no_pixel_special(cube, learnt, found):
    """One more step is missing: hardly a pixel leaves the area."""
    cloudy = cube.copy(deep=True)
    cloudy["s2"].values[2] = 0
    after = applicability_map(cloudy, learnt)
    inside = found["applicable"].values == 1
    assert (after["applicable"].values[inside] == 1).mean() > 0.8


def test_where_nothing_was_observed_there_is_no_index(cube, learnt):
    dark = cube.copy(deep=True)
    dark["s2"].values[..., :5], dark["s1"].values[..., :5] = 0, np.nan
    seen = applicability_map(dark, learnt)
    assert np.isnan(seen["dissimilarity"].values[:, :5]).all()
    assert (seen["applicable"].values[:, :5] == 255).all()
    assert np.isfinite(seen["dissimilarity"].values[:, 5:]).all()
    assert set(np.unique(seen["applicable"].values[:, 5:])) <= {0, 1}


@pytest.mark.parametrize("chunk", [11, 40])
def test_lazy_blocks_are_as_the_whole_and_nothing_is_read_at_first(cube, learnt, found, chunk):
    lazy = applicability_map(cube.chunk(y=chunk, x=chunk, time=2), learnt)
    assert lazy["dissimilarity"].chunks is not None
    assert (lazy["dissimilarity"].dtype, lazy["applicable"].dtype) == ("float32", "uint8")
    computed = lazy.compute(scheduler="synchronous")
    np.testing.assert_allclose(computed["dissimilarity"], found["dissimilarity"], atol=2e-3)


def test_the_training_part_alone_is_what_is_known(samples, learnt):
    held = samples["fold_block"].values == 0
    assert len(learnt.known.rows) == (~held).sum()
    some = learn_applicability(samples, rows=samples["polygon"].values % 2 == 0, most=50)
    assert len(some.known.rows) == 50


def test_what_is_written_is_what_is_read(learnt, tmp_path):
    path = tmp_path / "known.safetensors"
    learnt.save(path)
    read = Applicability.load(path)
    assert read.fit.digest() == learnt.fit.digest()
    np.testing.assert_array_equal(read.known.rows, learnt.known.rows)
    assert read.known.threshold == learnt.known.threshold
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="is damaged"):
        Applicability.load(path)
    path.unlink()
    with pytest.raises(MissingError):
        Applicability.load(path)


def test_rows_without_weight_are_not_known(samples):
    half = samples["polygon"].values % 2 == 0
    light = samples.assign(weight=("sample", half.astype("float32")))
    told = learn_applicability(light).known.rows
    used = half & (samples["fold_block"].values != 0)
    assert len(told) == used.sum()


def test_another_cube_or_one_fold_is_refused(cube, samples, learnt):
    with pytest.raises(InputError, match="'s1'"):
        applicability_map(cube.drop_dims("s1_band"), learnt)
    with pytest.raises(GridMismatch):
        applicability_map(cube.isel(s2_band=slice(2)), learnt)
    one = samples.sel(sample=samples["fold_block"].values == 2)
    with pytest.raises(InputError, match="two folds at least"):
        learn_applicability(one)
