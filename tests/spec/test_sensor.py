"""What a description of a sensor may say."""

import pytest
from pydantic import ValidationError

from geocube_ml.spec.composite import BestSpec
from geocube_ml.spec.recipe import Recipe
from geocube_ml.spec.sensor import MaskSpec, SensorSpec
from geocube_ml.spec.source import ItemsSpec, SourceSpec

ONE = {"bands": {"red": "B04"}}


def test_one_mask_or_several():
    scl = {"asset": "SCL", "clear": [4]}
    probability = {"asset": "CLD", "at_most": 40, "nodata": None}
    assert len(SensorSpec(**ONE, mask=scl).mask) == 1
    assert [mask.asset for mask in SensorSpec(**ONE, mask=[scl, probability]).mask] == [
        "SCL",
        "CLD",
    ]
    assert SensorSpec(**ONE, mask=None).mask == ()


def test_the_nodata_of_a_mask_is_0_unless_that_is_clear():
    assert MaskSpec(asset="SCL", clear=[4]).nodata == 0
    assert MaskSpec(asset="CLM", clear=[0]).nodata is None
    assert MaskSpec(asset="CLD", at_most=40).nodata is None
    assert MaskSpec(asset="SCL", clear=[4], nodata=None).nodata is None
    assert MaskSpec(asset="QA", bits=[0], nodata=1).nodata == 1


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ({}, "got 0"),
        ({"clear": [4], "at_most": 40}, "got 2"),
        ({"clear": [4], "bits": [3]}, "got 2"),
        ({"bits": [64]}, "from 0 to 63"),
        ({"clear": [1], "grow": 5}, "say which value of the mask means"),
        ({"clear": [0, 4], "nodata": 0}, "0 is `nodata`, and is among"),
    ],
)
def test_a_mask_has_one_rule(mask, said):
    with pytest.raises(ValidationError, match=said):
        MaskSpec(asset="SCL", **mask)


def test_bits_and_fields_of_one_quality_band_are_one_rule():
    mask = MaskSpec(asset="qa", bits=[0, 3], fields=[{"first": 8, "width": 2, "clear": [0, 1]}])
    assert mask.fields[0].clear == (0, 1)


def test_many_bands_of_one_asset():
    sensor = SensorSpec(band_range={"asset": "image", "last": 200}, dtype="int16", nodata=-9999)
    bands = sensor.every_band
    assert len(bands) == 200
    assert list(bands)[::199] == ["b001", "b200"]
    assert (bands["b200"].asset, bands["b200"].band) == ("image", 200)
    source = SourceSpec(sensor=sensor, items=ItemsSpec(catalog="x"), bands=("b007", "b003"))
    assert [band.band for band in source.chosen.values()] == [7, 3]
    assert source.assets == ("image",)


@pytest.mark.parametrize(
    ("sensor", "said"),
    [
        ({}, "at least one band"),
        ({"band_range": {"asset": "a", "last": 3, "name": "b"}}, "no place for the number"),
        ({"band_range": {"asset": "a", "last": 3, "name": "b{x}"}}, "a place for the number"),
        ({"band_range": {"asset": "a", "first": 4, "last": 3}}, "comes after the last"),
        ({"bands": {"b001": "x"}, "band_range": {"asset": "a", "last": 3}}, "b001 stand in"),
        ({"bands": {"slope": {"asset": "dem", "derive": "slope"}}}, "take float32"),
        (
            {"bands": {"slope": {"asset": "dem", "derive": "slope"}}, "dtype": "float32"},
            "the nodata 0 is also a value of slope",
        ),
        ({**ONE, "power": "linear"}, "power` holds fractions"),
        (
            {**ONE, "power": "decibel", "dtype": "float32", "nodata": -9999},
            "decibels cannot be averaged",
        ),
        ({**ONE, "stored_as": "decibel", "dtype": "float32"}, "does not say what it is"),
        ({**ONE, "dtype": "int8", "nodata": 200}, "int8 cannot hold the nodata 200"),
    ],
)
def test_what_cannot_be_is_refused(sensor, said):
    with pytest.raises(ValidationError, match=said):
        SensorSpec(**sensor)


RECIPE = {
    "name": "a",
    "out": "out",
    "sources": {"s2": {"sensor": ONE, "items": {"catalog": "x"}}},
    "grid": {"crs": "EPSG:32633", "resolution": 10, "bounds": [0, 0, 100, 100]},
    "period": {"start": "2022-01", "end": "2022-12"},
}
DEM = {
    "sensor": {"bands": {"elevation": "data"}, "static": True, "dtype": "float32"},
    "items": {"catalog": "y"},
}


def recipe(**changes):
    return Recipe.model_validate({**RECIPE, **changes})


def test_the_composite_is_the_sources_or_the_sensors_or_the_recipes():
    radar = {"bands": {"vv": "vv"}, "dtype": "float32", "power": "linear", "composite": "mean"}
    sources = {
        "s2": RECIPE["sources"]["s2"],
        "s1": {"sensor": radar, "items": {"catalog": "z"}},
        "s1_median": {"sensor": radar, "items": {"catalog": "z"}, "composite": "median"},
    }
    made = recipe(sources=sources, composite={"method": "best", "cloud_distance": 7})
    assert made.composite_of("s2") == BestSpec(cloud_distance=7)
    assert made.composite_of("s1").method == "mean"
    assert made.composite_of("s1_median").method == "median"
    assert recipe().composite_of("s2").method == "median"


def test_a_period_is_needed_where_there_is_a_series_and_only_there():
    with pytest.raises(ValidationError, match="the source s2 is a series"):
        recipe(period=None)
    with pytest.raises(ValidationError, match="all sources are static"):
        recipe(sources={"dem": DEM})
    assert recipe(sources={"dem": DEM}, period=None).period is None
    assert len(recipe(sources={**RECIPE["sources"], "dem": DEM}).sources) == 2


@pytest.mark.parametrize("second", ["s2_clear", "s2_band"])
def test_no_source_has_the_name_of_what_belongs_to_another(second):
    with pytest.raises(ValidationError, match=f"'{second}' is the name of what belongs"):
        recipe(sources={**RECIPE["sources"], second: DEM})


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ({"files": "x", "collections": ["a"]}, "no collections and no cloud cover"),
        ({"catalog": "x", "pattern": "{date:%Y}.tif"}, "`pattern` is of `files`"),
        ({"files": "x", "catalog": "y"}, "got catalog, files"),
    ],
)
def test_plain_files_are_a_place_of_their_own(items, said):
    with pytest.raises(ValidationError, match=said):
        ItemsSpec(**items)
