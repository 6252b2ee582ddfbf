"""The shipped descriptions of sources are right about real items, and complete."""

import json
from pathlib import Path

import pytest
import yaml

from geocube_ml.errors import InputError
from geocube_ml.items.catalog import find_items
from geocube_ml.items.item import boa_offset, stated_geobox
from geocube_ml.items.stored import parse_item, quiet
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.recipe import read_recipe
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.spec.source import ItemsSpec, SourceSpec

CATALOGS = Path(__file__).parents[2] / "catalogs"
SOURCES = CATALOGS / "sources"
YEARS = PeriodSpec(start="2013-01", end="2025-12")

REAL = {  # description to real items: the folder, the collection, how many
    "planetary-computer-sentinel-2-l2a": ("planetary_computer", "sentinel-2-l2a", 7),
    "earth-search-sentinel-2-l2a": ("earth_search", "sentinel-2-l2a", 9),
    "earth-search-sentinel-2-c1-l2a": ("earth_search", "sentinel-2-c1-l2a", 3),
    # that of USGS, from whose items those of the two archives are made
    "planetary-computer-landsat-c2-l2": ("other", "landsat-c2l2-sr", 1),
    "earth-search-landsat-c2-l2": ("other", "landsat-c2l2-sr", 1),
}
NO_REAL_ITEM = {  # what is known of them is from the archives' own descriptions alone
    "earth-search-cop-dem-glo-30", "earth-search-cop-dem-glo-90",
    "earth-search-landsat-c2-l2-temperature", "planetary-computer-cop-dem-glo-30",
    "planetary-computer-cop-dem-glo-90", "planetary-computer-landsat-c2-l2-temperature",
    "planetary-computer-sentinel-1-rtc",
}  # fmt: skip
EXAMPLES = {"hyperspectral-geotiff", "monthly-geotiffs"}  # of plain files, to be copied

TERMS = {  # the field's usual names, and how STAC calls them where it is by another one
    "coastal": {"coastal"}, "blue": {"blue"}, "green": {"green"}, "red": {"red"}, "nir": {"nir"},
    "rededge1": {"rededge"}, "rededge2": {"rededge"}, "rededge3": {"rededge"},
    "nir08": {"nir08", "rededge"},  # Planetary Computer's
    "swir16": {"swir16"}, "swir22": {"swir22"}, "lwir11": {"lwir11"},
}  # fmt: skip


def described(name):
    return SensorSpec.read(yaml.safe_load((SOURCES / f"{name}.yaml").read_text()), where=name)


def source_of(name, folder, collection, *bands):
    return SourceSpec(
        sensor=described(name),
        items=ItemsSpec(catalog=str(folder), collections=[collection]),
        bands=bands,
    )


def test_every_description_is_known_here():
    there = {path.stem for path in SOURCES.glob("*.yaml")}
    assert there == set(REAL) | NO_REAL_ITEM | EXAMPLES


@pytest.mark.parametrize("name", sorted(set(REAL) | NO_REAL_ITEM | EXAMPLES))
def test_a_description_has_a_title_and_usual_names(name):
    sensor = described(name)
    assert sensor.title
    lines = (SOURCES / f"{name}.yaml").read_text().splitlines()
    assert all(line.isascii() and len(line) <= 100 for line in lines)
    terrain = {"elevation", "slope", "aspect", "northness", "eastness"}
    known = set(TERMS) | {"vv", "vh"} | terrain
    assert set(sensor.bands) <= known
    assert sensor.static == (bool(terrain & set(sensor.bands)) or sensor.band_range is not None)


@pytest.mark.parametrize("name", REAL)
def test_real_items_have_the_assets_and_state_the_same_of_them(name, data):
    folder, collection, n = REAL[name]
    source = source_of(name, data / "stac_items" / folder, collection)
    items = find_items(source, YEARS)  # refuses items that lack an asset
    assert len(items) == n
    sensor = source.sensor
    for item in items:
        for band, spec in source.chosen.items():
            fields = item.assets[spec.asset].extra_fields
            (eo,) = fields["eo:bands"]
            assert eo["common_name"] in TERMS[band]
            assert stated_geobox(item, spec.asset) is not None
            for stated in fields.get("raster:bands", []):
                assert stated["nodata"] == sensor.nodata
                assert stated["data_type"] == sensor.dtype
                assert stated["scale"] == pytest.approx(sensor.scale)
                removed = boa_offset(item).counts * sensor.scale
                applied = item.properties.get("earthsearch:boa_offset_applied") is True
                assert stated["offset"] == pytest.approx(-0.1 if applied else -removed)
        (mask,) = sensor.mask
        for stated in item.assets[mask.asset].extra_fields.get("raster:bands", []):
            assert (stated["nodata"], stated["data_type"]) == (mask.nodata, "uint8")


def test_the_collection_of_planetary_computer_states_the_same(data):
    file = data / "stac_items" / "planetary_computer" / "sentinel-2-l2a.collection.json"
    assets = json.loads(file.read_text())["item_assets"]
    sensor = described("planetary-computer-sentinel-2-l2a")
    for spec in sensor.bands.values():
        (stated,) = assets[spec.asset]["raster:bands"]
        assert stated == {"nodata": sensor.nodata, "data_type": sensor.dtype}
    assert assets[sensor.mask[0].asset]["raster:bands"][0]["nodata"] == sensor.mask[0].nodata


def test_items_of_earth_search_v0_are_read_with_the_keys_of_planetary_computer(data):
    source = source_of(
        "planetary-computer-sentinel-2-l2a", data / "stac_items" / "earth_search",
        "sentinel-s2-l2a-cogs",
    )  # fmt: skip
    items = find_items(source, YEARS)
    assert [item.id for item in items] == ["S2A_28QCH_20200714_0_L2A", "S2B_20EPT_20250731_0_L2A"]
    assert [boa_offset(item).counts for item in items] == [0, 0]
    assert stated_geobox(items[0], "B04").resolution.x == 10


def test_the_cloud_probability_in_the_comment_is_an_asset(data):
    """The other mask of Collection 1 can be used as the comment says."""
    name = "earth-search-sentinel-2-c1-l2a"
    text = (SOURCES / f"{name}.yaml").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("# mask: ")]
    mask = yaml.safe_load(line[2:])["mask"]
    sensor = SensorSpec(**(yaml.safe_load(text) | {"mask": mask}))
    assert sensor.mask[0].nodata is None
    items = ItemsSpec(
        catalog=str(data / "stac_items" / "earth_search"), collections=["sentinel-2-c1-l2a"]
    )
    found = find_items(SourceSpec(sensor=sensor, items=items), YEARS)
    assert len(found) == 3
    stated = found[0].assets["cloud"].extra_fields["raster:bands"][0]
    assert stated["data_type"] == "uint8"


def test_the_real_item_of_landsat_has_no_temperature_and_says_so(data):
    source = source_of(
        "planetary-computer-landsat-c2-l2-temperature", data / "stac_items" / "other",
        "landsat-c2l2-sr",
    )  # fmt: skip
    with pytest.raises(InputError, match=r"have no asset 'lwir11' \(LC08_L2SP_028030_20200114"):
        find_items(source, YEARS)


def test_the_coastal_band_of_landsat_is_there_for_who_wants_it(data):
    """It is in the real item of Landsat 8, and a comment in the description."""
    for archive in ("planetary-computer", "earth-search"):
        text = (SOURCES / f"{archive}-landsat-c2-l2.yaml").read_text()
        assert "# coastal: coastal" in text
        sensor = SensorSpec(**yaml.safe_load(text.replace("# coastal:", "coastal:")))
        items = ItemsSpec(
            catalog=str(data / "stac_items" / "other"), collections=["landsat-c2l2-sr"]
        )
        (found,) = find_items(SourceSpec(sensor=sensor, items=items), YEARS)
        assert found.assets["coastal"].extra_fields["eo:bands"][0]["name"] == "B1"


def test_descriptions_of_one_collection_differ_in_nothing_that_decides_the_result():
    for name in ("cop-dem-glo-30", "cop-dem-glo-90", "landsat-c2-l2", "landsat-c2-l2-temperature"):
        pair = [described(f"{at}-{name}").result() for at in ("planetary-computer", "earth-search")]
        assert pair[0] | {"title": ""} == pair[1] | {"title": ""}


def test_physical_values_are_those_of_the_product_guides():
    landsat = described("planetary-computer-landsat-c2-l2")
    assert 7273 * landsat.scale + landsat.add_offset == pytest.approx(0, abs=1e-4)
    assert 43_636 * landsat.scale + landsat.add_offset == pytest.approx(1, abs=1e-4)
    thermal = described("planetary-computer-landsat-c2-l2-temperature")
    assert 293 * thermal.scale + thermal.add_offset == pytest.approx(150, abs=0.01)
    assert 61_440 * thermal.scale + thermal.add_offset == pytest.approx(359.0, abs=0.1)
    assert thermal.units == "K"
    radar = described("planetary-computer-sentinel-1-rtc")
    assert (radar.power, radar.stored_as, radar.composite.method) == ("linear", None, "mean")


# -- items as the archives describe them ------------------------------------------------------


def as_described(folder, collection, id, assets, when="2023-05-01T06:00:00Z", **properties):
    """An item of which the collection says that it has these assets."""
    item = {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": id,
        "collection": collection, "links": [], "bbox": [1.2, 43.3, 1.5, 43.6],
        "geometry": {"type": "Polygon", "coordinates": [
            [[1.2, 43.3], [1.5, 43.3], [1.5, 43.6], [1.2, 43.6], [1.2, 43.3]]]},
        "properties": {"datetime": when, **properties},
        "assets": {key: {"href": f"https://example.org/{id}/{key}.tif"} for key in assets},
    }  # fmt: skip
    (folder / f"{id}.json").write_text(json.dumps(item))


def test_a_recipe_of_several_sources_finds_each(tmp_path):
    recipe = read_recipe(CATALOGS / "s2-s1-dem.yaml")
    assert list(recipe.sources) == ["s2", "s1", "dem"]
    assert [source.sensor.static for source in recipe.sources.values()] == [False, False, True]
    assert [recipe.composite_of(name).method for name in ("s2", "s1")] == ["median", "mean"]
    optical = [f"B{n:02}" for n in range(1, 13)] + ["B8A", "SCL"]
    as_described(tmp_path, "sentinel-2-l2a", "S2A", optical, **{"s2:processing_baseline": "05.09"})
    as_described(tmp_path, "sentinel-1-rtc", "S1A_IW_GRDH_1SDV_2023_rtc", ["vv", "vh"])
    as_described(tmp_path, "cop-dem-glo-30", "N43E001", ["data"], when="2021-04-22T00:00:00Z")
    found = {}
    for name, source in recipe.sources.items():
        items = ItemsSpec(catalog=str(tmp_path), collections=source.items.collections)
        here = source.model_copy(update={"items": items})
        found[name] = [item.id for item in find_items(here, recipe.period)]
    assert found == {"s2": ["S2A"], "s1": ["S1A_IW_GRDH_1SDV_2023_rtc"], "dem": ["N43E001"]}


def test_radar_of_one_polarisation_is_refused_by_its_name(tmp_path):
    as_described(tmp_path, "sentinel-1-rtc", "S1A_IW_GRDH_1SDV_2023_rtc", ["vv", "vh"])
    as_described(tmp_path, "sentinel-1-rtc", "S1A_IW_GRDH_1SSV_2023_rtc", ["vv"])
    name = "planetary-computer-sentinel-1-rtc"
    with pytest.raises(InputError, match=r"have no asset 'vh' \(S1A_IW_GRDH_1SSV_2023_rtc\)"):
        find_items(source_of(name, tmp_path, "sentinel-1-rtc"), YEARS)
    assert len(find_items(source_of(name, tmp_path, "sentinel-1-rtc", "vv"), YEARS)) == 2


def test_a_recipe_without_a_time_axis_finds_its_files(real_data, monkeypatch):
    monkeypatch.setenv("GEOCUBE_ML_DATA", str(real_data("slovenia_s2_ndvi").parent))
    recipe = read_recipe(CATALOGS / "slovenia-still.yaml")
    assert recipe.period is None
    found = {name: find_items(source, None) for name, source in recipe.sources.items()}
    assert {name: [i.id for i in items] for name, items in found.items()} == {
        "s2": ["S2_L1C_NDVI"], "dem": ["dem"],
    }  # fmt: skip
    assert Path(found["s2"][0].assets["ndvi"].href).parent.name == "S2_L1C_NDVI_20170804T100608"
    assert stated_geobox(found["dem"][0], "image") == stated_geobox(found["s2"][0], "ndvi")


def test_the_series_of_a_folder_of_plain_files_is_that_of_its_items(real_data):
    """The same rasters, found by their names and by a catalogue."""
    folder = real_data("slovenia_s2_ndvi")
    sensor = SensorSpec(
        bands={"ndvi": "ndvi"}, dtype="int16", nodata=-32768, mask={"asset": "clm", "clear": [0]}
    )
    pattern = "{id}_{date:%Y%m%dT%H%M%S}/{asset}.tif"
    period = PeriodSpec(start="2015-07", end="2017-12")
    plain = find_items(
        SourceSpec(sensor=sensor, items=ItemsSpec(files=str(folder / "cogs"), pattern=pattern)),
        period,
    )
    listed = find_items(
        SourceSpec(sensor=sensor, items=ItemsSpec(catalog=str(folder / "items"))), period
    )
    assert len(plain) == len(listed) == 68
    assert [i.datetime for i in plain] == [i.datetime for i in listed]
    assert [i.assets["clm"].href for i in plain] == [i.assets["clm"].href for i in listed]
    for one, other in zip(plain, listed, strict=True):
        assert stated_geobox(one, "ndvi") == stated_geobox(other, "ndvi")


def test_the_examples_of_plain_files_read_what_their_comments_say(tmp_path):
    for name, kept in (("monthly-geotiffs", 6), ("hyperspectral-geotiff", 224)):
        text = (SOURCES / f"{name}.yaml").read_text()
        comment = "\n".join(line[2:] for line in text.splitlines() if line.startswith("# "))
        block = comment[comment.index("  items:") :].split("\nFiles")[0]
        items = yaml.safe_load(block)["items"]
        source = SourceSpec(sensor=described(name), items=ItemsSpec(**items))
        assert len(source.chosen) == kept
        assert source.assets == ("image",)


def test_every_item_of_the_real_data_is_read(data):
    n = 0
    for file in sorted((data / "stac_items").glob("*/*.json")):
        content = json.loads(file.read_text())
        if content["type"] == "Feature":
            with quiet():
                assert parse_item(content, str(file)).id == content["id"]
            n += 1
    assert n == 28
