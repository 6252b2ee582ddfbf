"""Plain GeoTIFFs become items, as if a catalogue listed them."""

import itertools
import os
from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio
import s3fs
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.geom import box

from geocube_ml.errors import (
    InputError,
    MissingError,
    NoItemsError,
    ReadError,
    SpecError,
    UnplacedError,
)
from geocube_ml.items.catalog import find_items, items_digest, pin_items, read_items
from geocube_ml.items.geotiffs import geotiff_items
from geocube_ml.items.item import footprint_bounds, solar_day, stated_geobox
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.spec.source import ItemsSpec, SourceSpec
from geocube_ml.spec.storage import StorageSpec

YEAR = PeriodSpec(start="2022-01", end="2022-12")
GRID = GeoBox((8, 12), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633")


def write(path, grid=GRID, crs=None, count=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", height=grid.shape.y, width=grid.shape.x, count=count,
        dtype="uint16", crs=str(grid.crs) if crs is None else crs or None,
        transform=grid.transform,
    ) as dst:  # fmt: skip
        dst.write(np.ones((count, *grid.shape), "uint16"))
    return path


def source_of(folder, pattern, *assets, static=False, **sensor):
    bands = {f"b{n}": asset for n, asset in enumerate(assets or ("image",))}
    return SourceSpec(
        sensor=SensorSpec(bands=bands, static=static, **sensor),
        items=ItemsSpec(files=str(folder), pattern=pattern),
    )


def ids(found):
    return [item.id for item in found]


@pytest.fixture
def series(tmp_path):
    """Two tiles, three days, two assets."""
    for tile, day, asset in itertools.product(
        ("T33", "T34"), ("20220105", "20220210", "20230101"), ("red", "nir")
    ):
        east = 0 if tile == "T33" else 300
        grid = GeoBox((8, 12), GRID.transform * Affine.translation(east, 0), "EPSG:32633")
        write(tmp_path / tile / f"{day}_{asset}.tif", grid)
    (tmp_path / "README.txt").write_text("not an image")
    (tmp_path / "notes.tif.aux.xml").write_text("<x/>")
    return tmp_path


PATTERN = "{tile}/{date:%Y%m%d}_{asset}.tif"


def test_files_that_differ_in_the_asset_alone_are_one_item(series):
    found = find_items(source_of(series, PATTERN, "red", "nir"), YEAR)
    assert ids(found) == ["T33_2022-01-05", "T34_2022-01-05", "T33_2022-02-10", "T34_2022-02-10"]
    first = found[0]
    assert first.datetime == datetime(2022, 1, 5, 12, tzinfo=UTC)
    assert solar_day(first) == "2022-01-05"
    assert set(first.assets) == {"red", "nir"}
    assert first.assets["red"].href == str(series / "T33" / "20220105_red.tif")
    assert stated_geobox(first, "red") == GRID
    assert first.assets["red"].extra_fields["proj:code"] == "EPSG:32633"


def test_only_files_that_touch_the_grid_are_kept(series):
    west, south, east, north = GRID.extent.to_crs("EPSG:4326").boundingbox.bbox
    source = source_of(series, PATTERN, "red")
    found = find_items(source, YEAR, box(west, south, east, north, "EPSG:4326"))
    assert {item.id[:3] for item in found} == {"T33"}
    with pytest.raises(NoItemsError, match=r"None of the 6 .*: 2 outside the period .*4 outside"):
        find_items(source, YEAR, box(0, 0, 1, 1, "EPSG:4326"))


def test_a_header_is_read_of_the_wanted_assets_alone(series):
    for file in series.rglob("*_nir.tif"):
        file.write_text("<html>")
    found = find_items(source_of(series, PATTERN, "red"), YEAR)
    assert len(found) == 4
    assert stated_geobox(found[0], "nir") is None
    with pytest.raises(ReadError, match=r"Item T33_2022-01-05, asset nir: .*20220105_nir.tif"):
        find_items(source_of(series, PATTERN, "nir"), YEAR)


def test_items_of_files_are_pinned_as_any_others(series, tmp_path):
    found = find_items(source_of(series, PATTERN, "red", "nir"), YEAR)
    said = items_digest(found)
    pin_items(found, tmp_path / "pins" / "items.parquet")
    again = read_items(tmp_path / "pins" / "items.parquet")
    assert ids(again) == ids(found)
    assert items_digest(again) == said
    assert stated_geobox(again[0], "nir") == GRID
    assert again[0].datetime == found[0].datetime
    assert again[0].assets["red"].href == found[0].assets["red"].href


def test_a_layer_without_a_date_is_pinned_too(tmp_path):
    write(tmp_path / "dem_north.tif")
    write(tmp_path / "dem_south.tif")
    found = find_items(source_of(tmp_path, "dem_{part}.tif", static=True), YEAR)
    assert ids(found) == ["north", "south"]
    assert found[0].datetime is None
    pin_items(found, tmp_path / "items.parquet")
    again = read_items(tmp_path / "items.parquet")
    assert [(item.id, item.datetime) for item in again] == [("north", None), ("south", None)]
    assert items_digest(again) == items_digest(found)
    source = SourceSpec(
        sensor=SensorSpec(bands={"b": "image"}, static=True),
        items=ItemsSpec(geoparquet=str(tmp_path / "items.parquet")),
    )
    assert ids(find_items(source, None)) == ["north", "south"]


def test_a_static_layer_may_have_dates_and_takes_all_of_them(series):
    found = find_items(source_of(series, PATTERN, "red", static=True), YEAR)
    assert len(found) == 6
    assert found[-1].id == "T34_2023-01-01"


def test_the_default_pattern_is_one_file_an_item(tmp_path):
    write(tmp_path / "a.tif", count=3)
    write(tmp_path / "b.tif", count=3)
    write(tmp_path / "deeper" / "c.tif")
    found = find_items(
        SourceSpec(
            sensor=SensorSpec(
                bands={"red": {"asset": "image"}, "nir": {"asset": "image", "band": 3}},
                static=True,
            ),
            items=ItemsSpec(files=str(tmp_path)),
        ),
        None,
    )
    assert ids(found) == ["a", "b"]
    assert list(found[0].assets) == ["image"]


@pytest.mark.parametrize(
    ("path", "pattern", "item", "asset"),
    [
        ("2022-03-04.tif", "{date:%Y-%m-%d}.tif", "2022-03-04", "image"),
        ("x/S2_2022063_B04.TIF", "*S2_{date:%Y%j}_{asset}.TIF", "2022-03-04", "B04"),
        ("p1/a/b/04Mar2022.tif", "{site}/*{date:%d%b%Y}.tif", "p1_2022-03-04", "image"),
        ("p1/p1_20220304.tif", "{s}/{s}_{date:%Y%m%d}.tif", "p1_2022-03-04", "image"),
        ("B04/p.1_2022.03.04.tif", "{asset}/{id}_{date:%Y.%m.%d}.tif", "p.1_2022-03-04", "B04"),
        ("B04_v2(1).tif", "{asset}_v2(1).tif", "folder", "B04"),
    ],
)
def test_a_path_is_read_by_its_pattern(tmp_path, path, pattern, item, asset):
    root = tmp_path / "folder"
    write(root / path)
    write(root / "else.tif")
    (found,) = geotiff_items(
        source_of(root, pattern, asset, static="{date" not in pattern), StorageSpec()
    )
    assert (found.id, list(found.assets)) == (item, [asset])
    if "{date" in pattern:
        assert found.datetime == datetime(2022, 3, 4, 12, tzinfo=UTC)


@settings(max_examples=30)
@given(
    st.text("abc_.-", min_size=1, max_size=6).filter(lambda name: name.strip(".")),
    st.dates(datetime(1980, 1, 1).date()),
    st.sampled_from(["%Y%m%d", "%Y-%m-%d", "%Y%j", "%d_%m_%Y"]),
)  # fmt: skip
def test_what_a_date_is_written_as_is_read_back(tmp_path_factory, name, day, form):
    root = tmp_path_factory.mktemp("files")
    write(root / name / f"{day.strftime(form)}.tif")
    pattern = f"{{id}}/{{date:{form}}}.tif"
    (found,) = geotiff_items(source_of(root, pattern), StorageSpec())
    assert found.id == f"{name}_{day}"
    assert found.datetime.date() == day


def test_two_images_of_one_day_are_told_apart_by_their_time(tmp_path):
    for name in ("20220304T2330", "20220305T0010"):
        write(tmp_path / f"{name}.tif")
    found = find_items(source_of(tmp_path, "{date:%Y%m%dT%H%M}.tif"), YEAR)
    assert ids(found) == ["2022-03-04T233000", "2022-03-05T001000"]
    assert found[0].datetime == datetime(2022, 3, 4, 23, 30, tzinfo=UTC)
    assert {solar_day(item) for item in found} == {"2022-03-05"}  # at 15 degrees east


@pytest.mark.parametrize("east", [-90_000, 0, 310_000, 350_000, 400_000, 700_000])
@pytest.mark.parametrize("zone", [1, 30, 60])
def test_the_day_in_a_name_is_the_day_of_the_item_wherever_it_lies(tmp_path, zone, east):
    grid = GeoBox((100, 100), Affine(1000, 0, east, 0, -1000, 7_600_000), f"EPSG:{32_600 + zone}")
    write(tmp_path / "20220304.tif", grid)
    (found,) = find_items(source_of(tmp_path, "{date:%Y%m%d}.tif"), YEAR)
    assert solar_day(found) == "2022-03-04"


def test_digits_that_are_no_day_do_not_fit(tmp_path):
    write(tmp_path / "20221399.tif")
    write(tmp_path / "20221231.tif")
    found = geotiff_items(source_of(tmp_path, "{date:%Y%m%d}.tif"), StorageSpec())
    assert ids(found) == ["2022-12-31"]


def test_a_grid_without_an_epsg_code_is_kept_in_wkt(tmp_path):
    modis = GeoBox((8, 8), Affine(463, 0, 1e6, 0, -463, 5e6), "+proj=sinu +R=6371007.181 +units=m")
    write(tmp_path / "a.tif", modis)
    (found,) = find_items(source_of(tmp_path, "{id}.tif", static=True), None)
    assert "proj:code" not in found.assets["image"].extra_fields
    grid = stated_geobox(found, "image")
    assert grid.crs.to_epsg() is None
    assert grid.transform == modis.transform
    assert footprint_bounds(found)[0] == pytest.approx(12.70, abs=0.01)


def test_a_file_across_the_antimeridian_has_two_parts(tmp_path):
    grid = GeoBox((100, 100), Affine(1000, 0, 300_000, 0, -1000, 7_600_000), "EPSG:32601")
    write(tmp_path / "a.tif", grid)
    (found,) = find_items(source_of(tmp_path, "{id}.tif", static=True), None)
    assert found.geometry["type"] == "MultiPolygon"
    west, _, east, _ = footprint_bounds(found)
    assert west > 170
    assert east < -170
    for lon, touched in ((179.5, True), (-179.9, True), (0, False), (150, False)):
        area = box(lon - 0.01, 68.0, lon + 0.01, 68.1, "EPSG:4326")
        source = source_of(tmp_path, "{id}.tif", static=True)
        if touched:
            assert len(find_items(source, None, area)) == 1
        else:
            with pytest.raises(NoItemsError):
                find_items(source, None, area)


def test_a_raster_of_the_globe_touches_every_grid(tmp_path):
    write(tmp_path / "a.tif", GeoBox((18, 36), Affine(10, 0, -180, 0, -10, 90), "EPSG:4326"))
    source = source_of(tmp_path, "{id}.tif", static=True)
    for lon in (-179, -60, 0, 100, 179):
        assert len(find_items(source, None, box(lon, 1, lon + 0.5, 2, "EPSG:4326"))) == 1


# -- in a store ------------------------------------------------------------------------------


def test_files_in_a_store_are_found_as_those_on_a_disk(series, s3, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = s3.bucket()
    spec = {"endpoint_url": s3.endpoint_url, "region": "us-east-1"}
    storage = StorageSpec(s3={f"s3://{bucket}": spec}, attempts=2, deadline_s=5)
    fs = s3fs.S3FileSystem(
        key=s3.key, secret=s3.secret, client_kwargs={"endpoint_url": s3.endpoint_url}
    )
    fs.put(str(series) + "/", f"{bucket}/archive/", recursive=True)
    here = find_items(source_of(series, PATTERN, "red", "nir"), YEAR)
    there = find_items(
        source_of(f"s3://{bucket}/archive", PATTERN, "red", "nir"), YEAR, storage=storage
    )
    assert ids(there) == ids(here)
    assert items_digest(there) == items_digest(here)
    assert there[0].assets["red"].href == f"s3://{bucket}/archive/T33/20220105_red.tif"
    with pytest.raises(NoItemsError, match=r"there is none with that ending"):
        find_items(source_of(f"s3://{bucket}/nothing", PATTERN, "red"), YEAR, storage=storage)


# -- what is refused -------------------------------------------------------------------------


def test_when_nothing_fits_the_pattern_and_a_path_are_shown(series):
    source = source_of(series, "{date:%Y%m%d}_{asset}.tif", "red")
    with pytest.raises(NoItemsError) as caught:
        find_items(source, YEAR)
    said = str(caught.value)
    assert "None of the 12 files" in said
    assert "'{date:%Y%m%d}_{asset}.tif'" in said
    assert "T33/20220105_nir.tif" in said
    with pytest.raises(NoItemsError, match=r"No file in .* fits the pattern '{date:%Y%m%d}.jp2'"):
        find_items(source_of(series, "{date:%Y%m%d}.jp2"), YEAR)


def test_a_series_needs_a_date(series):
    with pytest.raises(SpecError, match=r"'{tile}/{x}_{asset}.tif' does not say where the date"):
        find_items(source_of(series, "{tile}/{x}_{asset}.tif", "red"), YEAR)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("{date}.tif", r"say how the date is written: {date:%Y%m%d}"),
        ("{date:%Q}.tif", r"of a date are known %Y, .*, got '%Q'"),
        ("{id:%Y}.tif", r"only the date has a format, write {id}"),
        ("{id.tif", r"a '{' stands alone"),
        ("id}.tif", r"a '}' stands alone"),
    ],
)
def test_a_pattern_that_cannot_be_read_is_refused(tmp_path, pattern, said):
    with pytest.raises(SpecError, match=said):
        find_items(source_of(tmp_path, pattern, static=True), None)


def test_two_files_for_one_asset_are_refused(series):
    source = source_of(series, "*{date:%Y%m%d}_{asset}.tif", "red")
    with pytest.raises(InputError, match=r"asset 'nir' of the item 2022-01-05: T33/.* and T34/"):
        find_items(source, YEAR)


def test_an_item_that_lacks_an_asset_is_named(series):
    (series / "T34" / "20220210_nir.tif").unlink()
    with pytest.raises(InputError, match=r"1 of 6 items .* no asset 'nir' \(T34_2022-02-10\)"):
        find_items(source_of(series, PATTERN, "red", "nir"), YEAR)
    # also where none has it, so that nothing says where they lie
    with pytest.raises(InputError, match=r"no asset 'Red' .*Did you mean 'red'\?"):
        find_items(source_of(series, PATTERN, "Red"), YEAR, box(0, 0, 1, 1, "EPSG:4326"))


def test_a_file_without_a_crs_is_named(tmp_path):
    write(tmp_path / "a.tif", crs="")
    with pytest.raises(InputError, match=r"Item a, asset image: .*a.tif has no CRS"):
        find_items(source_of(tmp_path, "{id}.tif", static=True), None)


def test_a_file_that_cannot_be_placed_is_listed_where_others_are_if_it_is_to_be_left_out(tmp_path):
    east = GeoBox((8, 12), GRID.transform * Affine.translation(300, 0), "EPSG:32633")
    write(tmp_path / "a.tif")
    write(tmp_path / "b.tif", crs="")
    write(tmp_path / "c.tif", east).write_bytes(b"II*\0 cut short")
    write(tmp_path / "d.tif", east)
    source = source_of(tmp_path, "{id}.tif", static=True)
    with pytest.raises(UnplacedError, match=r"Item b, asset image: .*b.tif has no CRS"):
        find_items(source, None)
    found = {item.id: item for item in find_items(source, None, leave_out=True)}
    assert sorted(found) == ["a", "b", "c", "d"]
    (west, south, _, north), (_, _, far, _) = found["a"].bbox, found["d"].bbox
    for name in ("b", "c"):
        assert stated_geobox(found[name], "image") is None
        assert found[name].bbox == pytest.approx([west, south, far, north], abs=1e-4)
    pin_items(list(found.values()), tmp_path / "pin.parquet")
    assert items_digest(read_items(tmp_path / "pin.parquet")) == items_digest(found.values())


def test_a_folder_of_which_no_file_can_be_placed_is_refused_in_any_case(tmp_path):
    write(tmp_path / "a.tif", crs="")
    with pytest.raises(UnplacedError, match="has no CRS"):
        find_items(source_of(tmp_path, "{id}.tif", static=True), None, leave_out=True)


def test_a_folder_that_is_not_there_and_a_web_site_are_refused(tmp_path):
    with pytest.raises(MissingError, match=r"There is no folder .*nowhere. Correct `items.files`"):
        find_items(source_of(tmp_path / "nowhere", PATTERN, "red"), YEAR)
    with pytest.raises(InputError, match=r"is a web site, whose files cannot be listed"):
        find_items(source_of("https://example.org/files", PATTERN, "red"), YEAR)
