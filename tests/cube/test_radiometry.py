"""Whether pixels tell that an offset is in: of real, simulated and made scenes, honest or not."""

import json
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geocube_ml.cube.radiometry import (
    Evidence,
    examine,
    refuse_contradictions,
    summary,
    told,
)
from geocube_ml.errors import InputError, MissingError, ReadError
from geocube_ml.items.item import Offset, boa_offset
from geocube_ml.items.stored import parse_item
from geocube_ml.raster import write_cog
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.spec.source import ItemsSpec, SourceSpec
from geocube_ml.spec.storage import StorageSpec

STORAGE = StorageSpec()
NAMED = {"red": "B04", "blue": "B02", "green": "B03", "nir": "B08", "swir22": "B12"}
SCL = {"asset": "SCL", "clear": [4, 5, 6, 7]}


def source_of(sensor, *bands):
    return SourceSpec(sensor=sensor, items=ItemsSpec(catalog="items"), bands=bands)


def examined(item, source):
    hrefs = {key: asset.href for key, asset in item.assets.items()}
    return examine(item.id, hrefs, source, boa_offset(item), STORAGE)


def items_in(folder):
    return [parse_item(json.loads(f.read_text()), str(f)) for f in sorted(folder.glob("*.json"))]


# -- real and simulated scenes ---------------------------------------------------------------


@pytest.fixture(scope="module")
def croatia(real_data):
    return items_in(real_data("croatia_s2_scenes") / "items")


@pytest.fixture(scope="module")
def simulated(archive):
    return items_in(Path(archive.items))


def test_the_pixels_of_all_real_scenes_agree_with_their_metadata(croatia, earth_search):
    source = source_of(earth_search, "blue", "green", "red", "nir")
    evidences = [examined(item, source) for item in croatia]
    assert [(one.counts, one.seen) for one in evidences] == [(0, 0)] * 10
    assert all(one.band == "red, blue" and one.pixels > 4000 for one in evidences)
    assert all(one.share > 0.75 for one in evidences)
    refuse_contradictions(evidences)
    assert summary(evidences) == (
        "nothing taken off 10 items by earthsearch:boa_offset_applied is true "
        "(10 confirmed by pixels)"
    )


def test_a_flag_that_was_flipped_is_caught_on_real_scenes(croatia, earth_search):
    """The items of an archive that took the offset off and says that it did not."""
    evidences = []
    for item in croatia:
        doctored = item.clone()
        doctored.properties["earthsearch:boa_offset_applied"] = False
        evidences.append(examined(doctored, source_of(earth_search, "blue", "red")))
    assert [(one.counts, one.seen) for one in evidences] == [(1000, 0)] * 10
    with pytest.raises(InputError) as caught:
        refuse_contradictions(evidences)
    said = str(caught.value)
    assert "Of 10 items, 10 contradict their pixels" in said
    assert f"{croatia[0].id} (s2:processing_baseline 05.09" in said
    assert "1000 counts; its pixels: 0, as 8" in said
    assert "and 5 more" in said
    assert "earthsearch:boa_offset_applied" in said.split("Correct")[1]


def test_real_scenes_with_the_offset_put_back_are_told_from_those_without(
    croatia, earth_search, tmp_path
):
    for item in croatia[:4]:
        hrefs = {}
        for key in ("red", "blue", "scl"):
            with rasterio.open(item.assets[key].href) as src:
                values, crs, transform = src.read(1), str(src.crs), src.transform
            if key != "scl":
                values = np.where(values > 0, values + 1000, 0).astype("uint16")
            hrefs[key] = str(tmp_path / item.id / f"{key}.tif")
            write_cog(hrefs[key], values, GeoBox(values.shape, transform, crs), nodata=0)
        offset = boa_offset(item)
        assert offset.counts == 0
        found = examine(item.id, hrefs, source_of(earth_search, "red", "blue"), offset, STORAGE)
        assert found.seen == 1000
        assert found.contradicted


def test_simulated_scenes_of_both_baselines_are_never_misjudged(simulated, planetary):
    found = [examined(item, source_of(planetary)) for item in simulated]
    assert not [one for one in found if one.contradicted]
    confirmed = {counts: sum(one.seen == counts for one in found) for counts in (0, 1000)}
    assert confirmed[0] >= 3
    assert confirmed[1000] >= 30
    # what is not told has few pixels of vegetation, or is seen through cloud
    cloud = {item.id: item.properties["eo:cloud_cover"] for item in simulated}
    open_ = [one for one in found if one.seen is None]
    assert all(one.pixels < 300 or cloud[one.item] > 40 for one in open_)
    refuse_contradictions(found)


@pytest.mark.parametrize(("stated", "wrong"), [("04.00", "03.01"), ("03.01", "04.00")])
def test_a_baseline_that_was_changed_is_caught_in_both_directions(
    simulated, planetary, stated, wrong
):
    source = source_of(planetary, "red", "blue")
    honest = [i for i in simulated if i.properties["s2:processing_baseline"] == stated]
    evidences = []
    for item in honest[:16]:
        doctored = item.clone()
        doctored.properties["s2:processing_baseline"] = wrong
        evidences.append(examined(doctored, source))
    caught = [one for one in evidences if one.contradicted]
    assert len(caught) >= 3
    assert {one.seen for one in caught} == {1000 if stated == "04.00" else 0}
    with pytest.raises(InputError, match=rf"{caught[0].item} \(s2:processing_baseline {wrong}"):
        refuse_contradictions(evidences)


def test_without_a_classification_simulated_scenes_are_not_misjudged_either(simulated, planetary):
    bare = planetary.model_copy(update={"mask": ()})
    found = [examined(item, source_of(bare, "blue", "red")) for item in simulated]
    assert not [one for one in found if one.contradicted]
    assert {one.seen for one in found} == {0, 1000, None}


# -- made scenes -----------------------------------------------------------------------------

COVERS = {  # (SCL class, red, blue): reflectance in percent, and its spread
    "forest": (4, (3, 1), (2, 0.7)),
    "crops": (4, (6, 2), (5, 1.5)),
    "dry grass": (4, (12, 2), (9, 1.5)),
    "lake": (6, (2, 1), (3, 1)),
    "muddy river": (6, (13, 2), (10, 2)),
    "clear sea": (6, (0, 0.4), (-1, 0.4)),  # corrected too far
    "desert": (5, (35, 6), (13, 3)),
    "snow": (11, (85, 6), (85, 6)),
    "cloud": (9, (60, 15), (62, 15)),
}
TELLING = ("forest", "crops", "lake", "clear sea")


def made(folder, cover, offset, n=120, seed=0):
    """Rasters of a scene of one cover, and of a strip without data."""
    rng = np.random.default_rng(seed)
    klass, *spread = COVERS[cover]
    hrefs = {}
    for name, (mean, deviation) in zip(("red", "blue"), spread, strict=True):
        counts = rng.normal(100 * mean, 100 * deviation, (n, n)) + offset
        counts = counts.clip(1, 20_000).astype("uint16")  # before 04.00 negative values were lost
        counts[:, : n // 10] = 0
        hrefs[NAMED[name]] = str(folder / f"{name}.tif")
        grid = GeoBox(counts.shape, Affine(20, 0, 5e5, 0, -20, 5e6), "EPSG:32633")
        write_cog(hrefs[NAMED[name]], counts, grid, nodata=0)
    classes = np.full((n // 2, n // 2), klass, "uint8")
    grid = GeoBox(classes.shape, Affine(40, 0, 5e5, 0, -40, 5e6), "EPSG:32633")
    hrefs["SCL"] = str(folder / "SCL.tif")
    write_cog(hrefs["SCL"], classes, grid, nodata=0)
    return hrefs


@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize("cover", COVERS)
def test_dark_covers_tell_and_bright_ones_do_not(tmp_path, cover, offset):
    source = source_of(SensorSpec(bands={n: NAMED[n] for n in ("red", "blue")}, mask=SCL))
    hrefs = made(tmp_path, cover, offset)
    found = examine("x", hrefs, source, Offset(offset, "test"), STORAGE)
    assert found.seen == (offset if cover in TELLING else None)
    assert not found.contradicted


@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize("cover", COVERS)
def test_without_a_classification_no_cover_is_misjudged(tmp_path, cover, offset):
    source = source_of(SensorSpec(bands={n: NAMED[n] for n in ("red", "blue")}))
    found = examine("x", made(tmp_path, cover, offset), source, Offset(offset, "test"), STORAGE)
    assert found.seen == (offset if cover in TELLING else None)


def test_a_band_that_is_not_dark_is_not_looked_at_on_land(tmp_path):
    """Near infrared tells of water alone."""
    hrefs = made(tmp_path, "forest", 0)
    hrefs[NAMED["nir"]] = hrefs[NAMED["red"]]
    sensor = SensorSpec(bands={"nir": NAMED["nir"]}, mask=SCL)
    found = examine("x", hrefs, source_of(sensor), Offset(0, "test"), STORAGE)
    assert (found.seen, found.band, found.pixels) == (None, "nir", 0)
    other = SensorSpec(bands={"ndvi": NAMED["nir"]}, mask=SCL)
    found = examine("x", hrefs, source_of(other), Offset(0, "test"), STORAGE)
    assert (found.seen, found.band) == (None, "")
    with_water = made(tmp_path, "lake", 1000) | {NAMED["nir"]: str(tmp_path / "red.tif")}
    assert examine("x", with_water, source_of(sensor), Offset(0, "test"), STORAGE).seen == 1000


def test_the_classification_lies_under_the_pixels_though_its_look_is_another(tmp_path):
    """A wood in a desert; the two rasters are looked at with different numbers of pixels."""
    n = 1300
    rng = np.random.default_rng(0)
    red = rng.integers(2000, 4000, (n, n)).astype("uint16")
    scl = np.full((n // 2, n // 2), 5, "uint8")
    red[300:700, 800:1000] = rng.integers(1100, 1500, (400, 200))
    scl[150:350, 400:500] = 4
    hrefs = {}
    for key, values, size in (("B04", red, 10), ("SCL", scl, 20)):
        hrefs[key] = str(tmp_path / f"{key}.tif")
        grid = GeoBox(values.shape, Affine(size, 0, 5e5, 0, -size, 5e6), "EPSG:32633")
        write_cog(hrefs[key], values, grid, nodata=0)
    sensor = SensorSpec(bands={"red": "B04"}, mask=SCL)
    found = examine("x", hrefs, source_of(sensor), Offset(1000, "test"), STORAGE)
    assert found.seen == 1000
    share = found.pixels / (400 * 200 / n**2)
    assert 300**2 < share < 400**2  # of a look at all of it


def test_nodata_is_what_the_raster_says(tmp_path):
    hrefs = made(tmp_path, "lake", 1000)
    for key in ("B04", "B02"):
        with rasterio.open(hrefs[key]) as src:
            values, transform = src.read(1), src.transform
        values[values == 0] = 7
        hrefs[key] = str(tmp_path / f"{key}_7.tif")
        grid = GeoBox(values.shape, transform, "EPSG:32633")
        write_cog(hrefs[key], values, grid, nodata=7)
    source = source_of(SensorSpec(bands={n: NAMED[n] for n in ("red", "blue")}, mask=SCL))
    found = examine("x", hrefs, source, Offset(1000, "test"), STORAGE)
    assert (found.seen, found.share) == (1000, 0.0)


def test_the_right_band_of_a_raster_of_several_is_looked_at(tmp_path):
    rng = np.random.default_rng(0)
    stack = np.stack([rng.integers(3000, 4000, (60, 60)), rng.integers(1100, 1500, (60, 60))])
    path = tmp_path / "stack.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=60, width=60, count=2, dtype="uint16",
        crs="EPSG:32633", transform=Affine(10, 0, 5e5, 0, -10, 5e6),
    ) as dst:  # fmt: skip
        dst.write(stack.astype("uint16"))
    bands = {"red": {"asset": "all", "band": 2}, "blue": {"asset": "all", "band": 2}}
    source = source_of(SensorSpec(bands=bands))
    found = examine("x", {"all": str(path)}, source, Offset(1000, "test"), STORAGE)
    assert found.seen == 1000


def test_a_raster_that_cannot_be_read_is_named_with_its_item(tmp_path):
    source = source_of(SensorSpec(bands={"red": "B04"}))
    with pytest.raises(MissingError, match=r"Item x, asset B04: There is no file"):
        examine("x", {"B04": str(tmp_path / "no.tif")}, source, Offset(0, "test"), STORAGE)
    (tmp_path / "bad.tif").write_text("<html>")
    with pytest.raises(ReadError, match=r"Item x, asset B04: .*bad.tif cannot be read"):
        examine("x", {"B04": str(tmp_path / "bad.tif")}, source, Offset(0, "test"), STORAGE)


# -- verdicts --------------------------------------------------------------------------------


@given(st.floats(0, 0.078), st.floats(0, 0.03), st.integers(0, 1000))
def test_reflectance_that_dark_ground_can_have_is_never_misjudged(mean, spread, seed):
    rng = np.random.default_rng(seed)
    for offset in (0, 1000):
        bands = [
            (10_000 * rng.normal(mean, spread, 2000).clip(-0.01, 1) + offset).astype(int)
            for _ in range(2)
        ]
        assert told(bands, classified=True) in (offset, None)
        assert told(bands, classified=False) in (offset, None)


def test_what_two_bands_do_not_agree_on_is_not_told():
    dark, bright = np.full(1000, 300), np.full(1000, 1300)
    assert told([dark, dark], classified=True) == 0
    assert told([bright, bright], classified=True) == 1000
    assert told([dark, bright], classified=True) is None
    assert told([dark, dark[:299]], classified=True) is None  # too few
    assert told([], classified=True) is None
    # one band without a classification: bright ground looks as dark ground with the offset
    assert told([bright], classified=False) is None
    assert told([bright, bright], classified=False) == 1000


# -- evidence --------------------------------------------------------------------------------

ONE = Evidence("a", 1000, "s2:processing_baseline 04.00", "", 1000, "red, blue", 5000, 0.001)


def test_evidence_is_small_and_of_plain_values():
    assert pickle.loads(pickle.dumps(ONE)) == ONE
    assert Evidence(**json.loads(json.dumps(asdict(ONE)))) == ONE
    assert len(pickle.dumps(ONE)) < 400


def test_the_summary_counts_each_kind():
    evidences = [
        ONE, replace(ONE, item="b", seen=None), replace(ONE, item="c"),
        replace(ONE, item="d", counts=0, said="earthsearch:boa_offset_applied is true", seen=0),
        replace(ONE, item="e", said="its name 05.09", doubt="raster:bands state 0 counts"),
    ]  # fmt: skip
    assert summary(evidences) == (
        "nothing taken off 1 item by earthsearch:boa_offset_applied is true "
        "(1 confirmed by pixels); "
        "1000 counts taken off 1 item by its name 05.09, but raster:bands state 0 counts "
        "(1 confirmed by pixels); "
        "1000 counts taken off 3 items by s2:processing_baseline 04.00 "
        "(2 confirmed by pixels, 1 not told)"
    )
    assert summary([]) == ""


def test_metadata_that_contradict_each_other_need_pixels_that_decide():
    doubtful = replace(ONE, doubt="raster:bands state 0 counts")
    unseen = replace(doubtful, item="b", seen=None)
    refuse_contradictions([])
    refuse_contradictions([ONE, replace(ONE, item="b", seen=None)])  # nothing speaks against it
    refuse_contradictions([doubtful])
    refuse_contradictions([doubtful, unseen])  # another of its kind was confirmed
    with pytest.raises(InputError, match=r"Of 2 items, 1 say two things .*: b \(s2:processing_"):
        refuse_contradictions([ONE, unseen])
    with pytest.raises(InputError, match=r"a \(s2:processing_baseline 04.00: 1000 counts; its"):
        refuse_contradictions([replace(doubtful, seen=0), unseen])
