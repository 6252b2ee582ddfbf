"""What real items say of their offset, their day, their grid and their place."""

import json
from datetime import UTC, datetime

import pystac
import pytest
import shapely
from odc.geo.crs import CRS
from odc.geo.geom import box

from geocube_ml.errors import InputError, MissingError, NoItemsError, ReadError
from geocube_ml.items import filters
from geocube_ml.items import item as item_module
from geocube_ml.items.item import (
    Offset,
    asset_geobox,
    asset_href,
    boa_offset,
    footprint_bounds,
    solar_day,
    stated_geobox,
)
from geocube_ml.items.stored import parse_item, quiet
from geocube_ml.spec.source import ItemsSpec

APPLIED = "earthsearch:boa_offset_applied is true"
BASELINE = "s2:processing_baseline"

OFFSETS = {  # every real item: what it is, counts, evidence; no counts where it has no such offset
    # Earth Search v1, sentinel-2-l2a.  raster:bands are of the product as it was delivered: where
    # the archive took the offset off they state it all the same
    "S2A_12RWT_20240106_0_L2A": ("L2A", 0, APPLIED),  # 05.10, raster:bands -0.1
    "S2A_33TWN_20161202_0_L2A": ("L2A", 0, f"{BASELINE} 00.01 and raster:bands"),
    "S2A_33TWN_20181119_0_L2A": ("L2A", 0, f"{BASELINE} 02.10 and raster:bands"),
    "S2A_33TWN_20200202_0_L2A": ("L2A", 0, f"{BASELINE} 02.13 and raster:bands"),
    "S2A_33TWN_20210629_0_L2A": ("L2A", 0, f"{BASELINE} 03.00 and raster:bands"),
    "S2B_33TWN_20180521_1_L2A": ("L2A", 0, f"{BASELINE} 02.07 and raster:bands"),
    "S2B_33TWN_20181005_0_L2A": ("L2A", 0, f"{BASELINE} 02.08 and raster:bands"),
    "S2B_33TWN_20190503_0_L2A": ("L2A", 0, f"{BASELINE} 02.11 and raster:bands"),
    "S2B_33TWN_20220226_0_L2A": ("L2A", 1000, f"{BASELINE} 04.00 and raster:bands"),
    # Earth Search v1, sentinel-2-c1-l2a: as delivered
    "S2B_T24MUA_20250731T130245_L2A": ("L2A", 1000, f"{BASELINE} 05.11 and raster:bands"),
    "S2B_T24MVV_20250731T130245_L2A": ("L2A", 1000, f"{BASELINE} 05.11 and raster:bands"),
    "S2B_T24MXV_20250731T130245_L2A": ("L2A", 1000, f"{BASELINE} 05.11 and raster:bands"),
    # Earth Search v0
    "S2A_28QCH_20200714_0_L2A": ("L2A", 0, "sentinel:product_id 02.14"),
    "S2B_20EPT_20250731_0_L2A": ("L2A", 0, "sentinel:boa_offset_applied is true"),  # 05.11
    # the JPEG 2000 of sentinel-s2-l2a, as delivered
    "S2A_OPER_MSI_L2A_TL_2APS_20230602T025701_A041483_T01WCR": (
        "L2A", 1000, "sentinel2:processing_baseline 05.09 and raster:bands",
    ),
    # Level-1C, top of the atmosphere: no surface reflectance, but the same offset
    "S2B_24MUV_20250731_0_L1C": ("L1C", 1000, f"{BASELINE} 05.11 and raster:bands"),
    "S2B_24MVV_20250731_0_L1C": ("L1C", 1000, f"{BASELINE} 05.11 and raster:bands"),
    "S2B_24MWV_20250731_0_L1C": ("L1C", 1000, f"{BASELINE} 05.11 and raster:bands"),
    "S2B_24MXV_20250731_0_L1C": ("L1C", 1000, f"{BASELINE} 05.11 and raster:bands"),
    # Planetary Computer, which processed these itself
    "S2A_MSIL2A_20190101T000001_R116_T59VMD_20201007T214704": ("L2A", 0, f"{BASELINE} 02.12"),
    "S2A_MSIL2A_20190101T000001_R116_T59VMF_20201007T214657": ("L2A", 0, f"{BASELINE} 02.12"),
    "S2A_MSIL2A_20190101T000001_R116_T59VND_20201007T214702": ("L2A", 0, f"{BASELINE} 02.12"),
    "S2A_MSIL2A_20190101T000001_R116_T59VNF_20201007T214654": ("L2A", 0, f"{BASELINE} 02.12"),
    "S2A_MSIL2A_20190101T000001_R116_T59VPD_20201007T214657": ("L2A", 0, f"{BASELINE} 02.12"),
    "S2A_MSIL2A_20190101T000001_R116_T60VUJ_20201007T214652": ("L2A", 0, f"{BASELINE} 02.12"),
    "S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531": ("L2A", 0, f"{BASELINE} 02.12"),
    # other missions
    "LC08_L2SP_028030_20200114_20200824_02_T1_SR": ("Landsat", None, "not of Sentinel-2"),
    "ga_ls8c_ard_3-1-0_088080_2020-05-25_final": ("Landsat", None, "not of Sentinel-2"),
}  # fmt: skip


@pytest.fixture(scope="module")
def real(data):
    """Every real item by its file's name, as the catalogue reader reads it."""
    found = {}
    for file in sorted((data / "stac_items").glob("*/*.json")):
        content = json.loads(file.read_text())
        if content["type"] == "Feature":
            with quiet():
                found[file.name.split(".")[0]] = parse_item(content, str(file))
    return found


def item_of(when="2022-06-01T10:00:00+00:00", bbox=(14.0, 45.0, 15.0, 46.0), **properties):
    return pystac.Item(
        "x", None if bbox is None else shapely.geometry.mapping(shapely.box(*bbox)),
        None if bbox is None else list(bbox), datetime.fromisoformat(when), properties,
    )  # fmt: skip


def test_the_table_names_every_real_item(real):
    assert set(OFFSETS) == set(real)


@pytest.mark.parametrize("name", OFFSETS)
def test_the_offset_of_a_real_item(real, name):
    item, (kind, counts, evidence) = real[name], OFFSETS[name]
    assert kind in ("Landsat", "L1C" if "L1C" in name else "L2A")
    if counts is None:
        with pytest.raises(InputError, match=r"offset: none") as caught:
            boa_offset(item)
        assert item.id in str(caught.value)
        assert evidence in str(caught.value)
        return
    assert boa_offset(item) == Offset(counts, evidence)


def test_items_of_croatia_have_lost_their_offset_though_raster_bands_state_it(real_data):
    files = sorted(real_data("croatia_s2_scenes/items_original").glob("*.json"))
    assert len(files) == 10
    for file in files:
        item = parse_item(json.loads(file.read_text()), str(file))
        assert item.assets["red"].extra_fields["raster:bands"][0]["offset"] == -0.1
        assert boa_offset(item) == Offset(0, APPLIED)


@pytest.mark.parametrize(
    ("properties", "counts"),
    [
        ({"s2:processing_baseline": "03.99"}, 0),
        ({"s2:processing_baseline": "04.00"}, 1000),
        ({"s2:product_uri": "S2B_MSIL2A_20220226T095029_N0400_R079_T33TWN_2022.SAFE"}, 1000),
        ({"s2:product_uri": "S2B_MSIL2A_20220126T095029_N0301_R079_T33TWN_2022.SAFE"}, 0),
        ({"s2:processing_baseline": "04.00", "earthsearch:boa_offset_applied": False}, 1000),
        ({"s2:processing_baseline": "04.00", "earthsearch:boa_offset_applied": True}, 0),
        ({"earthsearch:boa_offset_applied": True}, 0),
        ({"sentinel:processing_baseline": "05.09", "sentinel:boa_offset_applied": False}, 1000),
        ({"processing:version": "05.11", "platform": "sentinel-2a"}, 1000),
    ],
)
def test_the_offset_goes_by_the_baseline_and_by_whether_it_is_done(properties, counts):
    offset = boa_offset(item_of(**properties))
    assert (offset.counts, offset.doubt) == (counts, "")


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({"raster:bands": [{"scale": 0.0001, "offset": -0.1}]}, 1000),
        ({"raster:bands": [{"scale": 0.0001, "offset": 0}]}, 0),
        ({"raster:scale": 0.0001, "raster:offset": -0.1}, 1000),  # STAC 1.1
        ({"bands": [{"name": "B04"}], "raster:scale": 0.0001, "raster:offset": -0.1}, 1000),
        ({"bands": [{"raster:scale": 0.0001, "raster:offset": -0.1}]}, 1000),
    ],
)
def test_what_the_assets_state_counts_where_no_baseline_is_known(fields, counts):
    item = item_of()
    item.add_asset("red", pystac.Asset("B04.tif", extra_fields=fields))
    item.add_asset("aot", pystac.Asset("AOT.tif", extra_fields={"raster:bands": [AEROSOL]}))
    assert boa_offset(item) == Offset(counts, "raster:bands")


AEROSOL = {"scale": 0.001, "offset": 0}


@pytest.mark.parametrize(
    ("properties", "stated", "counts", "doubt"),
    [
        # a baseline that was changed does not go with the product's name
        ({BASELINE: "02.11", "s2:product_uri": "S2B_N0511_R"}, None, 0, "s2:product_uri 05.11"),
        ({BASELINE: "05.11", "s2:product_uri": "S2B_N0211_R"}, None, 1000, "s2:product_uri 02.11"),
        ({BASELINE: "05.11"}, 0, 1000, "raster:bands state 0 counts"),
        ({BASELINE: "03.01"}, -0.1, 0, "raster:bands state 1000 counts"),
        ({BASELINE: "03.01", "earthsearch:boa_offset_applied": True}, None, 0, "03.01 adds none"),
        ({BASELINE: "99.99"}, None, 1000, "made by users"),
    ],
)
def test_metadata_that_contradict_each_other_leave_a_doubt(properties, stated, counts, doubt):
    item = item_of(**properties)
    if stated is not None:
        bands = {"raster:bands": [{"scale": 0.0001, "offset": stated}]}
        item.add_asset("red", pystac.Asset("B04.tif", extra_fields=bands))
    offset = boa_offset(item)
    assert offset.counts == counts
    assert doubt in offset.doubt


def test_bands_of_one_item_that_state_two_offsets_are_a_doubt():
    item = item_of(**{BASELINE: "05.11"})
    for key, stated in (("red", 0), ("nir", -0.1)):
        bands = {"raster:bands": [{"scale": 0.0001, "offset": stated}]}
        item.add_asset(key, pystac.Asset(f"{key}.tif", extra_fields=bands))
    offset = boa_offset(item)
    assert (offset.counts, offset.doubt) == (1000, "raster:bands state 0 and 1000 counts")


@pytest.mark.parametrize("stated", ["", "unknown", "4"])
def test_an_unreadable_baseline_is_not_guessed(stated):
    with pytest.raises(InputError, match=r"x does not say its processing baseline"):
        boa_offset(item_of(**{"s2:processing_baseline": stated}))


@pytest.mark.parametrize(
    ("when", "west", "east", "day"),
    [
        ("2019-01-01T00:00:01+00:00", 170.0, 171.0, "2019-01-01"),  # 11:22 there
        ("2018-12-31T22:00:00+00:00", 170.0, 171.0, "2019-01-01"),  # 09:22 of the next day
        ("2019-01-01T02:00:00+00:00", -155.0, -154.0, "2018-12-31"),  # 15:42 of the day before
        ("2022-06-01T23:59:59+00:00", 0.0, 1.0, "2022-06-02"),  # two minutes ahead of UTC
        ("2022-06-01T23:57:59+00:00", 0.0, 1.0, "2022-06-01"),
        ("2022-06-01T00:01:00+00:00", -1.0, 0.0, "2022-05-31"),
        ("2022-06-01T22:30:00+00:00", 179.5, -179.5, "2022-06-02"),  # across the antimeridian
        ("2022-06-01T02:00:00+02:00", 14.0, 15.0, "2022-06-01"),  # midnight in UTC
    ],
)
def test_the_day_is_the_suns(when, west, east, day):
    assert solar_day(item_of(when, (west, 10.0, east, 11.0))) == day


def test_a_scene_across_the_antimeridian_is_narrow_whatever_its_bbox(real):
    """This one's bbox has the least longitude first, as if it went around the globe."""
    item = real["S2A_OPER_MSI_L2A_TL_2APS_20230602T025701_A041483_T01WCR"]
    assert item.bbox[2] - item.bbox[0] > 357
    west, _, east, _ = footprint_bounds(item)
    assert (west, east) == pytest.approx((178.118, -179.125), abs=1e-3)
    assert solar_day(item) == "2023-06-02"
    for lon, touched in ((179.5, True), (-179.5, True), (177.0, False), (0.0, False)):
        area = box(lon - 0.1, 68.0, lon + 0.1, 68.1, "EPSG:4326")
        assert filters.touches(item, area) == touched


def test_tiles_of_one_pass_have_one_day(real):
    names = [name for name in real if name.startswith("S2A_MSIL2A_20190101T000001")]
    assert len(names) == 6
    assert {solar_day(real[name]) for name in names} == {"2019-01-01"}


def test_an_item_without_a_date_is_refused():
    item = item_of()
    item.datetime = None
    with pytest.raises(InputError, match=r"x has neither datetime nor start_datetime"):
        solar_day(item)
    item.common_metadata.start_datetime = datetime(2022, 6, 1, tzinfo=UTC)
    assert solar_day(item) == "2022-06-01"


def test_the_footprint_comes_from_either_bbox_or_geometry():
    item = item_of(bbox=(14.0, 45.0, 15.0, 46.0))
    item.bbox = [14.0, 45.0, -10.0, 15.0, 46.0, 900.0]
    assert footprint_bounds(item) == (14.0, 45.0, 15.0, 46.0)
    item.bbox = None
    assert footprint_bounds(item) == (14.0, 45.0, 15.0, 46.0)
    parts = [shapely.box(179, 10, 180, 11), shapely.box(-180, 10, -178, 11)]
    item.geometry = shapely.geometry.mapping(shapely.MultiPolygon(parts))
    assert footprint_bounds(item) == (179.0, 10.0, -178.0, 11.0)
    item.geometry = None
    with pytest.raises(InputError, match=r"x has neither bbox nor geometry"):
        footprint_bounds(item)


def test_what_goes_around_the_globe_does_not_lie_across_the_antimeridian():
    item = item_of(bbox=(-180.0, -90.0, 180.0, 90.0))
    assert footprint_bounds(item) == (-180.0, -90.0, 180.0, 90.0)
    item = item_of(bbox=(-120.0, -60.0, 130.0, 60.0))
    item.geometry = shapely.geometry.mapping(shapely.box(-120, -60, 130, 60).segmentize(10))
    assert footprint_bounds(item) == (-120.0, -60.0, 130.0, 60.0)


def test_the_grid_is_the_one_that_the_item_states(real):
    planetary = stated_geobox(real["S2A_MSIL2A_20190101T000001_R116_T60VUJ_20201007T214652"], "B02")
    assert planetary.shape == (10_980, 10_980)
    assert planetary.crs.epsg == 32660
    assert planetary.boundingbox.bbox == (300_000, 6_290_220, 409_800, 6_400_020)
    # Geoscience Australia's and Landsat's state it for the item; nine numbers are a matrix
    assert stated_geobox(real["ga_ls8c_ard_3-1-0_088080_2020-05-25_final"], "nbart_blue").shape == (
        7841,
        7781,
    )
    landsat = real["LC08_L2SP_028030_20200114_20200824_02_T1_SR"]
    assert stated_geobox(landsat, "red").resolution.x == 30
    # an asset's own statement precedes the item's
    geobox = stated_geobox(real["S2B_33TWN_20220226_0_L2A"], "swir16")
    assert geobox.resolution.x == 20


@pytest.mark.parametrize("without", ["proj:shape", "proj:transform", "proj:code"])
def test_a_grid_half_stated_is_not_stated(without):
    said = {
        "proj:shape": [10, 20],
        "proj:transform": [10, 0, 5e5, 0, -10, 5e6],
        "proj:code": "EPSG:32633",
    }
    item = item_of(**said)
    item.add_asset("B02", pystac.Asset("B02.tif"))
    assert stated_geobox(item, "B02").shape == (10, 20)
    del item.properties[without]
    assert stated_geobox(item, "B02") is None


def test_a_grid_without_an_epsg_code_is_stated_in_wkt():
    sinusoidal = CRS("+proj=sinu +R=6371007.181 +units=m")
    said = {
        "proj:shape": [10, 20],
        "proj:transform": [500, 0, 1e6, 0, -500, 5e6],
        "proj:wkt2": sinusoidal.to_wkt(),
        "proj:epsg": None,
    }
    item = item_of(**said)
    item.add_asset("B02", pystac.Asset("B02.tif"))
    assert stated_geobox(item, "B02").crs == sinusoidal


def test_a_grid_that_is_not_stated_is_read_from_the_file(tiny, tmp_path):
    item = pystac.Item.from_file(str(tiny.folder / "items" / "W0105.json"))
    stated = asset_geobox(item, "B20")
    for key in ("proj:shape", "proj:transform"):
        del item.assets["B20"].extra_fields[key]
    assert asset_geobox(item, "B20") == stated
    item.assets["B20"].href = "nowhere.tif"
    with pytest.raises(MissingError, match=r"W0105, asset B20: There is no file .*nowhere.tif"):
        asset_geobox(item, "B20")
    (tmp_path / "no.tif").write_text("<html>")
    item.assets["B20"].href = str(tmp_path / "no.tif")
    with pytest.raises(ReadError, match=r"W0105, asset B20: .*no.tif cannot be read"):
        asset_geobox(item, "B20")


def test_an_asset_that_is_not_there_is_named_with_those_that_are():
    item = item_of()
    item.add_asset("B02", pystac.Asset("B02.tif"))
    with pytest.raises(InputError, match=r"x has no asset 'B2'; it has B02"):
        asset_href(item, "B2")


def test_an_address_that_is_signed_when_it_is_read_is_kept_unsigned():
    item = item_of()
    blob = "https://a.blob.core.windows.net/c/B02.tif"
    item.add_asset("B02", pystac.Asset(f"{blob}?st=2022&se=2023&sig=a%2Fb"))
    item.add_asset("B03", pystac.Asset(blob))
    item.add_asset("B04", pystac.Asset("https://example.org/B04.tif?v=2"))
    hrefs = [asset_href(item, key) for key in ("B02", "B03", "B04")]
    assert hrefs == [blob, blob, "https://example.org/B04.tif?v=2"]


@pytest.mark.parametrize("lon", [-60, 0, 170])
def test_a_composite_is_of_the_day_that_it_starts_whatever_its_longitude(lon):
    item = pystac.Item(
        "annual", None, [lon, 0, lon + 1, 1], None,
        {"start_datetime": "2022-01-01T00:00:00Z", "end_datetime": "2022-12-31T23:59:59Z"},
    )  # fmt: skip
    assert solar_day(item) == "2022-01-01"


@pytest.mark.parametrize("passing", [True, False])
def test_an_outage_stays_one_where_the_item_is_named(tiny, monkeypatch, passing):
    item = pystac.Item.from_file(str(next(iter(sorted((tiny.folder / "items").glob("*.json"))))))
    for said in (item.properties, item.assets["B20"].extra_fields):
        said.pop("proj:shape", None)

    def fails(href, storage):
        error = ReadError("timed out")
        error.passing = passing
        raise error

    monkeypatch.setattr(item_module, "opened", fails)
    with pytest.raises(ReadError, match=rf"Item {item.id}, asset B20: timed out") as caught:
        asset_geobox(item, "B20")
    assert caught.value.passing == passing


def test_each_condition_is_asked_once_of_each_item_and_what_they_have_only_if_none_is_left():
    asked = []
    items = [pystac.Item(name, None, None, datetime(2022, 1, 5, tzinfo=UTC), {}) for name in "abc"]

    def of(*kept):
        return [
            filters.Filter(
                f"not in {names}", "items.exclude",
                lambda item, names=names: asked.append(item.id) or item.id in names,
                lambda gone: asked.append("theirs") or ", ".join(item.id for item in gone),
            )
            for names in kept
        ]  # fmt: skip

    spec = ItemsSpec(catalog="items")
    assert [i.id for i in filters.filtered(items, of("ab", "bc"), spec, "x")] == ["b"]
    assert asked == ["a", "b", "c", "a", "b"]
    told = r"1 not in ab \(theirs: c\), then 2 not in c \(theirs: a, b\)"
    with pytest.raises(NoItemsError, match=told):
        filters.filtered(items, of("ab", "c"), spec, "x")
