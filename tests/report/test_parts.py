from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from geocube_ml.report import accuracy
from geocube_ml.report.coarse import Place, clear_by_step, coarse, pixel_counts, place_of
from geocube_ml.report.labels import problems as problems_of
from geocube_ml.report.maps import _outline
from geocube_ml.report.observations import clear_tables, seen_table
from geocube_ml.report.quantities import quantities
from geocube_ml.report.sources import mask_words
from geocube_ml.report.steps import step_word
from geocube_ml.spec.sensor import MaskSpec

from .conftest import add_static, make_cube

# odc-geo multiplies transforms in the way that affine 3 is giving up
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")


def test_a_coarse_reading_has_at_most_the_wanted_side_and_only_values_that_are_there():
    values = np.arange(37 * 1501).reshape(37, 1501)
    thinned = coarse(xr.DataArray(values, dims=("y", "x")), side=100)
    assert max(thinned.shape) <= 100
    assert min(thinned.shape) >= 1
    assert np.isin(thinned, values).all()


def test_a_coarse_reading_of_a_thin_map_keeps_a_row():
    assert coarse(xr.DataArray(np.ones((2, 900)), dims=("y", "x")), side=10).shape == (1, 10)


def test_north_is_up_whichever_way_y_runs():
    north_up = xr.DataArray([[1, 1], [2, 2]], dims=("y", "x"), coords={"y": [15.0, 5.0]})
    np.testing.assert_array_equal(coarse(north_up), [[1, 1], [2, 2]])
    np.testing.assert_array_equal(coarse(north_up.isel(y=[1, 0])), [[1, 1], [2, 2]])


@pytest.mark.parametrize("shape", [(9, 12), (1, 12), (9, 1), (1, 1)])
def test_a_place_reaches_to_the_outer_edges_of_the_pixels(shape):
    place = place_of(make_cube(shape, months=1))
    assert (place.left, place.right) == (399_960, 399_960 + 10 * shape[1])
    assert (place.bottom, place.top) == (5_000_040, 5_000_040 + 10 * shape[0])
    assert place.pixel_m2 == 100
    assert place.crs == "EPSG:32633"


def test_every_pixel_is_counted_whatever_the_strips():
    values = np.random.default_rng(0).integers(0, 256, (2100, 7)).astype("uint8")
    counted = pixel_counts(xr.DataArray(values, dims=("y", "x")).chunk(y=500))
    np.testing.assert_array_equal(counted, np.bincount(values.ravel(), minlength=256))


@pytest.mark.parametrize("chunks", [None, 1, 2, 3])
def test_clear_observations_are_counted_step_by_step(chunks):
    """Counted by hand: two pixels, three months."""
    clear = xr.DataArray(
        np.uint8([[[0, 4]], [[1, 2]], [[0, 0]]]),
        dims=("time", "y", "x"),
        coords={"time": pd.date_range("2024-01-01", periods=3, freq="MS")},
    )
    table = clear_by_step(clear if chunks is None else clear.chunk(time=chunks))
    assert table["mean"].tolist() == [2, 1.5, 0]
    assert table["min"].tolist() == [0, 1, 0]
    assert table["without"].tolist() == [0.5, 0, 1]


def samples_of(counts, bands, months, label):
    return xr.Dataset(
        {
            "s2": (
                ("sample", "time", "s2_band"),
                np.uint16(counts),
                {"nodata": 0, "scale_factor": 1e-4},
            ),
            "label": ("sample", np.uint8(label)),
        },
        coords={"time": pd.DatetimeIndex(months), "s2_band": list(bands)},
    )


def test_ndvi_is_that_of_the_samples_with_data():
    counts = [[[1000, 3000], [0, 0]], [[1000, 1000], [0, 500]], [[500, 1500], [100, 300]]]
    samples = samples_of(counts, ("red", "nir"), ["2024-01-01", "2024-02-01"], [0, 0, 1])
    (ndvi,) = quantities(samples, 3)
    assert ndvi.name == "NDVI"
    np.testing.assert_allclose(ndvi.spreads[0].mean, [0.25, np.nan], atol=1e-6)
    np.testing.assert_allclose(ndvi.spreads[1].mean, [0.5, 0.5], atol=1e-6)
    assert ndvi.spreads[0].count == 2
    assert 2 not in ndvi.spreads


def test_a_month_that_the_axis_skips_is_a_gap():
    samples = samples_of([[[1], [3]]], ("vv",), ["2024-01-01", "2024-03-01"], [0])
    (band,) = quantities(samples, 1)
    np.testing.assert_allclose(band.spreads[0].mean, [1e-4, np.nan, 3e-4], rtol=1e-5)
    assert len(band.axis) == 3


def test_dekads_are_not_taken_for_months():
    days = ["2024-01-01", "2024-01-11", "2024-01-21"]
    (band,) = quantities(samples_of([[[1], [2], [3]]], ("vv",), days, [0]), 1)
    assert list(band.axis) == list(pd.DatetimeIndex(days))
    np.testing.assert_allclose(band.spreads[0].mean, [1e-4, 2e-4, 3e-4], rtol=1e-5)


def test_steps_are_named_as_one_calls_them():
    def word(*days):
        return step_word(pd.DatetimeIndex(days))

    assert word("2024-01-01") == word("2024-01-01", "2024-02-01", "2024-04-01") == "month"
    assert word("2023-10-01", "2024-01-01", "2024-04-01") == "quarter"
    assert word("2024-02-01", "2024-05-01") == "month"
    assert word("2024-02-21", "2024-03-01", "2024-03-11") == "dekad"
    assert word("2024-01-01", "2024-01-17") == word("2024-01-05") == "step"


def test_static_bands_are_the_axis_of_a_source_without_time():
    """Counted by hand: two bands, two samples of one class and one of another."""
    samples = samples_of([[[1000, 3000]]] * 3, ("red", "nir"), ["2024-01-01"], [0, 0, 1])
    dem = (("sample", "dem_band"), np.int16([[10, 1], [30, -1], [50, 3]]),
           {"nodata": -1, "units": "m", "units_slope": "degree", "add_offset": 100.0})  # fmt: skip
    ndvi, height = quantities(
        samples.assign(dem=dem).assign_coords(dem_band=["elevation", "slope"]), 2
    )
    assert (ndvi.source, ndvi.name) == ("s2", "NDVI")
    assert (height.source, height.name, height.units) == ("dem", "", "m")
    assert height.axis == ("elevation", "slope")
    assert height.band_units == ("m", "degrees")
    assert height.spreads[0].mean.tolist() == [120, 101]
    assert height.spreads[1].mean.tolist() == [150, 103]
    assert height.spreads[0].count == 2


def test_clear_observations_without_a_time_axis_are_one_row():
    table = clear_by_step(xr.DataArray(np.uint8([[0, 4], [1, 3]]), dims=("y", "x")))
    assert table.to_dict("records") == [{"mean": 2, "min": 0, "without": 0.25}]


def test_what_was_seen_of_each_source_counted_by_hand():
    cube = add_static(make_cube((20, 30), months=2)).compute()
    cube["s2_clear"][0], cube["s2_clear"][1] = 3, 1
    cube["s2_clear"][1, :10] = 0
    cube["dem"][0, :5] = -32768
    table = seen_table(cube, clear_tables(cube))
    assert [(one.name, one.steps) for one in table] == [("s2", "2 months"), ("dem", "none")]
    assert (table[0].mean, table[0].fewest, table[0].without) == (1.75, 0.5, 0.25)
    assert (table[1].mean, table[1].fewest, table[1].without) == (None, None, 0.25)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ({"asset": "QA", "bits": (1, 3)}, "QA: bits 1, 3 are 0"),
        (
            {"asset": "QA", "bits": (1,), "fields": [{"first": 8, "width": 2, "clear": (0, 1)}]},
            "QA: bits 1 are 0, bits 8 to 9 one of 0, 1",
        ),
        ({"asset": "Q", "fields": [{"first": 6, "clear": (1,)}]}, "Q: bit 6 one of 1"),
        ({"asset": "score", "at_least": 0.6}, "score: clear is at least 0.6"),
        (
            {"asset": "SCL", "clear": (4,), "nodata": 0, "shrink": 1, "grow": 3},
            "SCL: clear are 4; what is not clear shrunk by 1 px, then grown by 3 px",
        ),
    ],
)
def test_masks_in_words(mask, words):
    assert mask_words(MaskSpec(**mask)) == words


def test_at_most_four_bands_are_shown():
    samples = samples_of(np.ones((1, 1, 6)), "abcdef", ["2024-01-01"], [0])
    assert [band.name for band in quantities(samples, 1)] == list("abcd")


def test_the_band_holds_four_fifths_of_the_samples():
    counts = np.arange(1, 1002).reshape(-1, 1, 1)
    (band,) = quantities(samples_of(counts, ("vv",), ["2024-01-01"], np.zeros(1001)), 1)
    assert band.spreads[0].low[0] == pytest.approx(101e-4, rel=1e-5)
    assert band.spreads[0].high[0] == pytest.approx(901e-4, rel=1e-5)


def test_a_labelled_pixel_has_four_edges_and_a_pair_of_one_class_six():
    place = Place((3, 4), left=0, bottom=0, right=40, top=30, crs="")
    label = np.full((3, 4), 255, np.uint8)
    label[1, 1] = 2
    edges = {tuple(map(tuple, np.sort(edge, axis=0))) for edge in _outline(label, 255, place)}
    assert edges == {
        ((10, 10), (20, 10)), ((10, 20), (20, 20)), ((10, 10), (10, 20)), ((20, 10), (20, 20)),
    }  # fmt: skip
    label[1, 2] = 2
    assert len(_outline(label, 255, place)) == 6


def test_the_sternest_split_is_the_hold_out(scores):
    assert accuracy.hold_out(scores) == "block"
    without = {"scores": [s for s in scores["scores"] if s["split"] != "block"]}
    assert accuracy.hold_out(without) == "polygon"
    assert accuracy.hold_out({"scores": []}) is None


def test_the_majority_class_is_never_the_best_model(scores):
    lucky = [
        s | {"macro_f1": 1.0} if s["model"] == "majority class" else s for s in scores["scores"]
    ]
    assert accuracy.best(scores | {"scores": lucky})["model"] == "tempcnn"


def test_reasons_stand_in_the_order_of_their_counts(problems):
    found = problems_of(problems)
    assert [(row.reason, row.count) for row in found.rows] == [
        ("disputed by another", 2),
        ("no pixel is 10 m inside", 2),
        ("no geometry", 1),
        ("no pixel of its own has its centre inside", 1),
        ("self-intersection", 1),
    ]
    assert problems_of(problems.iloc[:0]).rows == []


def test_a_long_list_of_problems_is_cut_but_counted():
    many = pd.DataFrame({"feature": range(700), "class": "rye", "reason": "small", "area_m2": 1.0})
    found = problems_of(many)
    assert (found.rows[0].count, len(found.listed), found.unlisted) == (700, 500, 200)
