"""What lies on disk: the same for equal specs, valid, and whole or made again."""

import json
import shutil

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
from rasterio.warp import Resampling, reproject

from geocube_ml.errors import MissingError, StaleTarget
from geocube_ml.sim import make_archive, open_archive
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.spec.simulate import SimSpec
from tests.sim.conftest import SPARSE

ASSETS = {"B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12", "SCL"}
TILES = ("32TQS", "33TTM")
FINE = {"B02", "B03", "B04", "B08"}


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def items_of(archive):
    return [pystac.Item.from_file(str(path)) for path in sorted(archive.items.glob("*.json"))]


def asset_path(item, key):
    return item.assets[key].get_absolute_href()


@pytest.fixture(scope="module")
def told():
    """What was said while `one` was made."""
    return []


@pytest.fixture(scope="module")
def one(told, tmp_path_factory):
    """The archive that `sparse` gives, made by one process; to be left as it is."""
    spec = SimSpec(folder=str(tmp_path_factory.mktemp("one") / "archive"), **SPARSE)
    return make_archive(spec, workers=1, note=lambda *stage: told.append(stage))


def test_equal_specs_give_equal_bytes_whatever_the_number_of_workers(one, sparse):
    two = make_archive(sparse, workers=2)
    assert contents(one.folder) == contents(two.folder)


def test_another_seed_gives_another_archive(one, sparse):
    two = make_archive(sparse.model_copy(update={"seed": 1}), workers=1)
    first, second = contents(one.folder), contents(two.folder)
    assert first.keys() == second.keys()
    assert first["truth.tif"] != second["truth.tif"]
    assert first["labels.gpkg"] != second["labels.gpkg"]


def test_every_item_survives_pystac_and_names_files_that_exist(archive):
    items = items_of(archive)
    assert len(items) == 2 * 24
    for item in items:
        assert set(item.assets) == ASSETS
        again = pystac.Item.from_dict(item.to_dict(include_self_link=False))
        assert again.datetime == item.datetime
        for key in ASSETS:
            with rasterio.open(asset_path(item, key)) as src:
                assert src.nodata == 0


def test_items_state_the_grids_of_their_files(archive):
    for item in items_of(archive)[:4]:
        for key, asset in item.assets.items():
            with rasterio.open(asset_path(item, key)) as src:
                assert src.crs.to_epsg() == item.ext.proj.epsg
                assert src.shape == tuple(asset.extra_fields["proj:shape"])
                assert list(src.transform)[:6] == asset.extra_fields["proj:transform"]
                assert src.res == ((10, 10) if key in FINE else (20, 20))
                assert src.dtypes == (("uint8",) if key == "SCL" else ("uint16",))


def test_ids_say_what_the_properties_say(archive):
    for path in archive.items.glob("*.json"):
        item = json.loads(path.read_text())
        platform, level, when, orbit, tile, _ = item["id"].split("_")
        properties = item["properties"]
        assert path.stem == item["id"]
        assert level == "MSIL2A"
        assert properties["platform"] == f"Sentinel-{platform[1:]}"
        assert properties["datetime"].replace("-", "").replace(":", "").startswith(when)
        assert properties["sat:relative_orbit"] == int(orbit[1:])
        assert properties["s2:mgrs_tile"] == tile[1:]
        assert properties["proj:epsg"] == {"T32TQS": 32632, "T33TTM": 32633}[tile]


def test_both_tiles_are_seen_on_the_same_days(archive):
    items = items_of(archive)
    west = [item.datetime for item in items if "_T32TQS_" in item.id]
    east = [item.datetime for item in items if "_T33TTM_" in item.id]
    assert sorted(west) == sorted(east)


def test_footprints_hold_every_pixel_with_data(archive):
    for item in items_of(archive):
        with rasterio.open(asset_path(item, "SCL")) as src:
            rows, cols = np.nonzero(src.read(1))
            x, y = (src.bounds.left + 20 * (cols + 0.5), src.bounds.top - 20 * (rows + 0.5))
            crs = src.crs
        points = gpd.GeoSeries(gpd.points_from_xy(x, y), crs=crs).to_crs("EPSG:4326")
        outline = gpd.GeoSeries.from_wkt([_wkt(item.geometry)])[0]
        assert points.within(outline).all()


def test_nodata_is_the_same_in_all_bands_and_in_the_classification(archive):
    cut = 0
    for item in items_of(archive):
        with rasterio.open(asset_path(item, "SCL")) as src:
            missing = src.read(1) == 0
        cut += missing.any()
        for key in ASSETS - {"SCL"}:
            with rasterio.open(asset_path(item, key)) as src:
                step = 2 if key in FINE else 1
                np.testing.assert_array_equal(
                    src.read(1) == 0, missing.repeat(step, 0).repeat(step, 1), strict=True
                )
        share = item.properties["s2:nodata_pixel_percentage"]
        assert share == pytest.approx(100 * missing.mean(), abs=1e-3)
    assert cut == 12  # every other pass cuts the western tile


def test_the_baseline_changes_within_the_year(archive):
    baselines = {
        item.datetime.date(): item.properties["s2:processing_baseline"]
        for item in items_of(archive)
    }
    for day, baseline in baselines.items():
        assert baseline == ("03.01" if (day.month, day.day) < (1, 25) else "04.00")
    assert set(baselines.values()) == {"03.01", "04.00"}


def test_the_overlap_shows_the_same_world_in_both_tiles(sparse):
    clear = sparse.model_copy(update={"cloud_cover": 0.0})
    items = items_of(make_archive(clear, workers=1))
    west, east = (next(i for i in items if f"_T{name}_" in i.id) for name in TILES)
    with (
        rasterio.open(asset_path(west, "B08")) as one,
        rasterio.open(asset_path(east, "B08")) as other,
    ):
        warped = np.zeros(other.shape, "float32")
        reproject(
            one.read(1).astype("float32"), warped, src_transform=one.transform, src_crs=one.crs,
            dst_transform=other.transform, dst_crs=other.crs, src_nodata=0,
            resampling=Resampling.bilinear,
        )  # fmt: skip
        there = other.read(1)
    both = (warped > 0) & (there > 0)
    assert 0.15 < both.mean() < 0.35
    assert np.corrcoef(warped[both], there[both])[0, 1] > 0.95


def test_labels_lie_in_degrees_inside_the_map_and_agree_with_the_truth(archive):
    table = gpd.read_file(archive.labels, layer="fields")
    assert table.crs.to_epsg() == 4326
    assert set(table["class"]) <= set(archive.classes.names)
    left, bottom, right, top = archive.bounds
    there = table.to_crs(archive.crs)
    x_min, y_min, x_max, y_max = there.total_bounds
    assert x_min >= left - 0.01
    assert y_min >= bottom - 0.01
    assert x_max <= right + 0.01
    assert y_max <= top + 0.01
    with rasterio.open(archive.truth) as src:
        inside = there.representative_point()
        codes = [code[0] for code in src.sample(zip(inside.x, inside.y, strict=True))]
    names = [archive.classes.names[code] for code in codes]
    assert np.mean(np.array(names) == table["class"]) > 0.98  # a narrow field may hold no pixel


def test_maps_lie_on_the_map_area_and_name_their_classes(archive):
    for path in (archive.truth, archive.best):
        with rasterio.open(path) as src:
            assert tuple(src.bounds) == archive.bounds
            assert src.crs == archive.crs
            assert src.res == (10, 10)
            assert src.nodata == UNKNOWN
            assert json.loads(src.tags()["classes"]) == list(archive.classes.names)
            assert src.colormap(1)[0] == (0xE8, 0xC5, 0x47, 255)
            assert set(np.unique(src.read(1))) <= set(archive.classes.codes)


def test_every_pixel_of_the_map_is_covered_by_a_tile(archive):
    seen = None
    for item in items_of(archive)[:2]:
        with rasterio.open(asset_path(item, "B02")) as src, rasterio.open(archive.truth) as grid:
            part = np.zeros(grid.shape, "uint16")
            reproject(
                np.ones(src.shape, "uint16"), part, src_transform=src.transform, src_crs=src.crs,
                dst_transform=grid.transform, dst_crs=grid.crs, resampling=Resampling.nearest,
            )  # fmt: skip
        seen = part if seen is None else seen | part
    assert seen.all()


def test_a_finished_archive_is_returned_at_once(archive, spec):
    stages = []
    again = make_archive(spec, note=lambda *stage: stages.append(stage))
    assert again == archive == open_archive(archive.folder)
    assert stages == []


def test_an_interrupted_archive_is_completed(one, sparse):
    shutil.copytree(one.folder, sparse.folder)
    whole, want = open_archive(sparse.folder), contents(one.folder)
    (whole.folder / "archive.json").unlink()
    whole.truth.unlink()
    (whole.folder / "labels.gpkg-journal").write_bytes(b"cut short")
    foreign = whole.items / "S2A_MSIL2A_20210104T101329_R022_T32TQS_20210104T180000.json"
    foreign.write_text("{}")  # of a spec that was given up

    with pytest.raises(MissingError, match=r"no finished simulated archive"):
        open_archive(whole.folder)
    make_archive(sparse, workers=1)
    assert contents(whole.folder) == want


def test_a_folder_of_another_spec_is_refused(archive, spec):
    other = spec.model_copy(update={"seed": 7})
    with pytest.raises(StaleTarget) as caught:
        make_archive(other)
    text = str(caught.value)
    assert spec.digest() in text
    assert other.digest() in text
    assert str(archive.folder) in text
    assert "delete" in text


def test_progress_counts_every_scene(one, told):
    scenes = [done for stage, done, total in told if stage == "scenes" and total == 12]
    assert scenes == list(range(1, 13))
    assert [stage for stage, done, total in told if done == total] == ["scenes", "labels", "maps"]


def _wkt(geometry):
    corners = ", ".join(f"{x} {y}" for x, y in geometry["coordinates"][0])
    return f"POLYGON (({corners}))"
