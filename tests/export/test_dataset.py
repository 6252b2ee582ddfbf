from __future__ import annotations

import json
import re
from itertools import combinations

import dask
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import rasterio
import xarray as xr
from scipy.spatial import KDTree

from geocube_ml.data.table import read_samples
from geocube_ml.errors import InputError
from geocube_ml.export.dataset import export_dataset
from geocube_ml.export.dataset.splits import split_samples, without_gap
from geocube_ml.export.dataset.stac import MARK
from geocube_ml.export.dataset.write import check_replaceable
from geocube_ml.files import below, place, read_json
from geocube_ml.spec.dataset import DatasetSpec
from geocube_ml.spec.labels import UNKNOWN, LabelsSpec
from geocube_ml.spec.samples import SamplesSpec
from geocube_ml.store.cube import open_cube
from tests.export.datasets import DRAW, EDGE, SOURCES, labelled_cube, square

# odc-geo multiplies transforms in the way that affine 3 is giving up
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

INTERVAL = ("2024-01-01T00:00:00Z", "2024-01-31T23:59:59Z")
SPEC = DatasetSpec(chip=EDGE, licence="CC-BY-4.0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("dataset")


@pytest.fixture(scope="module")
def data(folder):
    return labelled_cube(folder)


@pytest.fixture(scope="module")
def facts(data, folder):
    cube, samples = data
    return export_dataset(
        cube, samples, folder / "cog", SPEC, draw=DRAW, chunk=EDGE, workers=2, name="fields"
    )


@pytest.fixture(scope="module")
def made(facts, folder):
    return folder / "cog"


@pytest.fixture(scope="module")
def table(made):
    return pd.read_csv(made / "splits.csv", dtype={"id": str})


@pytest.fixture(scope="module")
def chips(table):
    return table[table.kind == "chip"].set_index("id")


@pytest.fixture(scope="module")
def masks(made, chips):
    found = {}
    for name in chips.index:
        with rasterio.open(made / f"chips/masks/{name}.tif") as src:
            found[name] = src.read(1)
    return found


# --- chips


def test_an_image_holds_all_steps_and_bands_of_the_cube_as_counts(made, chips, data):
    cube, _ = data
    assert len(chips) == 12  # 37 x 53 pixels in squares of 16: those at the edges are filled up
    for name in chips.index:
        for source in SOURCES:
            with rasterio.open(made / f"chips/images/{source}_{name}.tif") as src:
                np.testing.assert_array_equal(src.read(), square(cube[source], name))


def test_an_image_says_where_and_what_it_is(made, data):
    cube, _ = data
    a, _, c, _, e, f = tuple(cube["label"].odc.geobox.transform)[:6]
    with rasterio.open(made / "chips/images/s2_0001_0002.tif") as src:
        assert src.crs.to_epsg() == 32633
        assert tuple(src.transform)[:6] == (a, 0, c + 2 * EDGE * a, 0, e, f + EDGE * e)
        assert src.descriptions[:4] == ("2023-10 s2 b0", "2023-10 s2 b1", "2023-10 s2 b2",
                                        "2023-11 s2 b0")  # fmt: skip
        assert (src.nodata, set(src.scales), set(src.offsets)) == (0, {1e-4}, {0.0})
        assert src.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    with rasterio.open(made / "chips/images/dem_0001_0002.tif") as src:
        assert src.descriptions == ("dem elevation", "dem slope")
        assert (src.nodata, src.scales, src.offsets) == (-9999, (0.1, 0.1), (500.0, 500.0))
    with rasterio.open(made / "chips/images/s1_0001_0002.tif") as src:
        assert np.isnan(src.nodata)


def test_a_mask_says_its_classes_and_colours(made):
    with rasterio.open(made / "chips/masks/0000_0000.tif") as src:
        assert src.nodata == UNKNOWN
        assert src.colormap(1)[0] == (0xE8, 0xC5, 0x47, 255)
        names = json.loads(src.tags()["class_names"])
    assert names == ["winter wheat", "maize", "grassland", "forest"]


def test_masks_hold_the_labels_of_their_own_split_alone(masks, chips, data):
    """By a plain loop over the polygons, and over the blocks of what lies between them."""
    cube, samples = data
    splits = split_samples(samples, DRAW)
    of_polygon = dict(zip(splits.polygons, splits.of_polygon, strict=True))
    names = ("train", "validation", "test")
    for name, mask in masks.items():
        polygon, label = (square(cube[key], name)[0] for key in ("polygon", "label"))
        known = mask != UNKNOWN
        np.testing.assert_array_equal(mask[known], label[known])
        there = {names[of_polygon[one]] for one in np.unique(polygon[known & (polygon > 0)])}
        assert there <= {chips.split[name]}
        assert known.sum() == chips.labelled[name]


def test_every_labelled_pixel_is_in_a_mask_or_counted(masks, chips, facts, data):
    cube, _ = data
    assert facts["labelled"] == int((cube["label"] != UNKNOWN).sum())
    in_masks = sum(int((mask != UNKNOWN).sum()) for mask in masks.values())
    lost = {key: facts[key] for key in ("other split", "gap", "no split", "too few")}
    assert in_masks + sum(lost.values()) == facts["labelled"]
    assert lost["other split"] == chips.other_split.sum() > 0
    assert lost["gap"] > 0
    assert (lost["no split"], lost["too few"]) == (0, 0)


def test_pixels_of_two_splits_are_no_nearer_than_the_gap(masks, chips, data):
    at = {}
    for split in ("train", "validation", "test"):
        places = [
            np.argwhere(masks[name] != UNKNOWN) + np.array([int(p) * EDGE for p in name.split("_")])
            for name in chips.index[chips.split == split]
        ]
        at[split] = 10 * np.concatenate(places)
    for one, other in combinations(at.values(), 2):
        assert KDTree(one).query(other)[0].min() >= DRAW.gap_m


def test_each_chunk_of_the_cube_is_read_once(data, folder, tmp_path):
    """With chips of half a chunk, by a source that counts."""
    reads = []

    def note(block, block_info=None):
        reads.append(tuple(block_info[0]["chunk-location"]))
        return block

    cube = open_cube(folder / "cube.zarr")[["s2", "label", "polygon"]]
    values = cube["s2"].data
    noted = values.map_blocks(note, dtype=values.dtype, meta=values._meta)
    cube = cube.assign(s2=cube["s2"].copy(data=noted))
    spec = DatasetSpec(chip=EDGE // 2, chips="zarr", min_labelled=0.3)  # not all
    with dask.config.set(scheduler="synchronous"):
        export_dataset(cube, data[1], tmp_path / "set", spec, draw=DRAW, chunk=EDGE)
    assert len(reads) == len(set(reads)) == values.npartitions


def test_chips_as_zarr_hold_the_same(made, chips, masks, data, tmp_path):
    cube, samples = data
    spec = SPEC.model_copy(update={"chips": "zarr"})
    # in other windows: what is in a mask does not depend on them
    export_dataset(cube, samples, tmp_path / "set", spec, draw=DRAW, chunk=64, workers=2)
    there = xr.open_zarr(tmp_path / "set/chips.zarr", mask_and_scale=False, consolidated=False)
    assert there["chip"].values.tolist() == chips.index.tolist()
    assert there["split"].values.tolist() == chips.split.tolist()
    assert there["s2"].dims == ("chip", "time", "s2_band", "y", "x")
    assert there["dem"].dims == ("chip", "dem_band", "y", "x")
    np.testing.assert_array_equal(there["time"], cube["time"])
    for at, name in enumerate(chips.index):
        np.testing.assert_array_equal(there["mask"][at], masks[name])
        for source in SOURCES:
            assert there[source].dtype == cube[source].dtype
            values = there[source][at].values.reshape(-1, EDGE, EDGE)
            np.testing.assert_array_equal(values, square(cube[source], name))
    box = cube["label"].odc.geobox.boundingbox
    assert (float(there["left"][1]), float(there["top"][1])) == (box.left + 10 * EDGE, box.top)
    scaled = xr.open_zarr(tmp_path / "set/chips.zarr", consolidated=False)
    assert np.isnan(scaled["s2"].values[there["s2"].values == 0]).all()
    assert scaled["mask"].dtype == np.uint8  # codes stay codes


def test_a_chip_with_too_few_labels_is_left_out_and_counted(data, chips, facts, tmp_path):
    cube, samples = data
    least = 60 / EDGE**2
    spec = DatasetSpec(chip=EDGE, chips="zarr", min_labelled=least)
    out = export_dataset(cube, samples, tmp_path / "set", spec, draw=DRAW, chunk=EDGE)
    few = chips[chips.labelled < 60]
    assert 0 < len(few) < len(chips)
    assert sum(out["chips"].values()) == len(chips) - len(few)
    assert out["too few"] == few.labelled.sum()


def test_label_layers_become_bands_of_a_mask(data, tmp_path):
    """Two seasons on the same ground: a second layer that is known on the upper half alone."""
    cube, samples = data
    cube = cube.load()
    late = cube["label"].where(cube["label"] == UNKNOWN, (cube["label"] + 1) % 4).copy()
    late[18:] = UNKNOWN
    layered = cube.assign(
        label=xr.concat([cube["label"], late.astype("uint8")], "label_layer"),
        polygon=xr.concat([cube["polygon"], cube["polygon"]], "label_layer"),
    )
    layered["label"].attrs = cube["label"].attrs
    export_dataset(layered, samples, tmp_path / "set", SPEC, draw=SamplesSpec(block_m=100))
    with rasterio.open(tmp_path / "set/chips/masks/0000_0001.tif") as src:
        first, second = src.read()
    known = first != UNKNOWN
    assert known.any()
    np.testing.assert_array_equal(second[known], (first[known] + 1) % 4)
    with rasterio.open(tmp_path / "set/chips/masks/0002_0001.tif") as src:
        assert (src.read(2) == UNKNOWN).all()
    assert "2 bands" in (tmp_path / "set/datasheet.md").read_text()


def test_the_sheet_says_which_split_has_no_chip(data, tmp_path):
    cube, samples = data
    spec = DatasetSpec(chip=53, chips="zarr")  # the whole cube in one
    out = export_dataset(cube, samples, tmp_path / "set", spec, draw=SamplesSpec(block_m=100))
    assert out["chips"] == {"train": 1}
    text = (tmp_path / "set/datasheet.md").read_text()
    assert "**No chip is of validation or test**" in text


# --- splits


def test_fold_0_is_tested_and_fold_1_validates(table, data):
    _, samples = data
    of = table[table.kind == "sample"].split.to_numpy()
    fold = samples["fold_block"].values
    assert set(fold[of == "test"]) == {0}
    assert set(fold[of == "validation"]) == {1}
    assert set(fold[of == "train"]) == {2, 3, 4}
    assert (of[fold == 0] == "test").all()
    at = {name: np.stack([samples["x"], samples["y"]], 1)[of == name] for name in set(of)}
    for one, other in combinations(("train", "validation", "test"), 2):
        assert KDTree(at[one]).query(at[other])[0].min() >= DRAW.gap_m


def test_of_two_folds_the_other_is_trained_on(data):
    _, samples = data
    two = samples.assign(fold_block=samples["fold_block"] % 2)
    assert set(split_samples(two, SamplesSpec(n_fold=2)).count()) == {"train", "test"}


def test_a_given_split_decides_and_what_names_none_is_in_none(data, tmp_path):
    cube, samples = data
    polygon = samples["polygon"].values
    split = np.array(["train", "validation", "test", ""], object)[polygon % 4]
    split[polygon == 0] = ""
    given = samples.assign(split=("sample", split))
    draw = SamplesSpec(block_m=100, split_column="part")
    spec = DatasetSpec(chip=EDGE, chips="zarr")
    out = export_dataset(cube, given, tmp_path / "set", spec, draw=draw)
    there = (cube["label"] != UNKNOWN).values
    assert out["samples"]["none"] == int((split == "").sum())
    assert out["no split"] == int(
        (there & ((cube["polygon"] == 0) | (cube["polygon"] % 4 == 3)).values).sum()
    )
    assert "column `part`" in (tmp_path / "set/datasheet.md").read_text()


def test_polygons_that_no_sample_was_drawn_from_are_in_no_mask(data, tmp_path):
    cube, samples = data
    some = samples.isel(sample=samples["polygon"].values != 7)
    spec = DatasetSpec(chip=EDGE, chips="zarr")
    out = export_dataset(cube, some, tmp_path / "set", spec, draw=SamplesSpec(block_m=100))
    assert out["no split"] == int((cube["polygon"] == 7).sum())


def test_the_gap_is_taken_out_of_validation_too_and_then_out_of_training():
    split = np.uint8([[[0, 0, 0, 1, 1, 1, 2]]])  # train, validation, test
    out = without_gap(split, gap_m=21, pixel_m=10)
    assert out.tolist() == [[[0, 3, 3, 1, 3, 3, 2]]]
    assert without_gap(split, gap_m=0, pixel_m=10).tolist() == split.tolist()


# --- the table, the texts


def test_the_series_are_the_samples_and_plain_readers_read_them(made, data, table):
    _, samples = data
    back = read_samples(made / "series.parquet")
    xr.testing.assert_identical(back.drop_vars("split"), samples)
    plain = pd.read_parquet(made / "series.parquet")
    of = table[table.kind == "sample"]
    assert plain["split"].tolist() == of.split.tolist()
    assert plain["polygon"].tolist() == of.polygon.astype(int).tolist()
    np.testing.assert_array_equal(np.stack(plain["s2_b1"]), samples["s2"].values[:, :, 1])
    assert pq.read_schema(made / "series.parquet").metadata.keys() >= {b"geo"}


def test_classes_say_what_they_were_merged_from(data, tmp_path):
    cube, samples = data
    labels = LabelsSpec.model_validate({
        "sources": [{"path": "fields.gpkg", "class_column": "crop", "values": {"44": "maize"}}],
        "classes": [{"name": "winter wheat", "values": ["110", "111"]}, "maize", "grassland"],
        "background": "forest",
    })  # fmt: skip
    spec = DatasetSpec(chips="none")
    export_dataset(cube, samples, tmp_path / "set", spec, draw=DRAW, labels=labels)
    said = json.loads((tmp_path / "set/classes.json").read_text())
    assert said["unknown"] == UNKNOWN
    assert said["background"] == "forest"
    assert [one["code"] for one in said["classes"]] == [0, 1, 2, 3]
    assert said["classes"][0]["merged_from"] == ["110", "111"]
    assert said["classes"][1] | {"color": ""} == {
        "code": 1, "name": "maize", "color": "", "merged_from": ["44"]
    }  # fmt: skip
    assert not (tmp_path / "set/chips").exists()
    sheet = (tmp_path / "set/datasheet.md").read_text()
    assert "- winter wheat: from 110, 111" in sheet
    assert "`fields.gpkg`: column `crop`" in sheet


def test_the_sheet_has_the_numbers_and_asks_for_what_is_not_said(made, facts, data):
    _, samples = data
    text = (made / "datasheet.md").read_text()
    titles = re.findall("^## (.*)", text, re.M)
    assert titles == ["Motivation", "Composition", "Collection", "Preprocessing", "Uses",
                      "Distribution", "Maintenance"]  # fmt: skip
    for told in (f"{samples.sizes['sample']:,} labelled series", "2023-10-01 to 2024-03-31",
                 "Licence: CC-BY-4.0", f"{facts['gap']:,} labelled pixels: in no mask: nearer",
                 "EPSG:32633", "nearer than 25 m"):  # fmt: skip
        assert told in text
    assert "dataset.description" in text
    assert "dataset.citation" in text
    label, polygon = samples["label"].values, samples["polygon"].values
    of = split_samples(samples, DRAW).of_sample
    n = [np.sum((label == 1) & (of == code)) for code in range(3)]
    rows = re.findall(
        r"^\| 1 \| maize \| (\d+) \| (\d+) \| \d+ \| (\d+) \| \d+ \| (\d+)", text, re.M
    )
    want = (len(np.unique(polygon[(label == 1) & (polygon > 0)])), *n)
    assert rows == [tuple(str(one) for one in want)]


def test_the_sheet_tells_areas_and_what_was_lost_of_the_files(data, tmp_path):
    cube, samples = data
    polygons = pd.DataFrame({"polygon": range(1, 200), "class": "", "area_m2": 2000.0})
    reasons = ["lost to the buffer of 10 m", "lost to the buffer of 12 m", "empty class"]
    problems = pd.DataFrame({"reason": reasons, "done": "left out", "class": "", "feature": 1})
    export_dataset(
        cube, samples, tmp_path / "set",
        DatasetSpec(chips="none", description="Made to be tested.", citation="A. B. (2024)"),
        draw=DRAW, polygons=polygons, problems=problems,
    )  # fmt: skip
    text = (tmp_path / "set/datasheet.md").read_text()
    n = len(np.unique(samples["polygon"])) - 1
    assert f"Polygons: {n}, of {n * 0.2:.1f} ha in all" in text
    assert "| left out | lost to the buffer of … m | 2 |" in text
    assert "dataset.description" not in text
    assert "Made to be tested." in text
    assert "Cite as: A. B. (2024)" in text


# --- what is refused


def test_a_chip_that_is_larger_than_the_cube_is_refused(data, tmp_path):
    cube, samples = data
    with pytest.raises(InputError, match=r"chip: 64. is larger than the cube of 37 x 53 .* 53"):
        export_dataset(cube, samples, tmp_path / "set", DatasetSpec(chip=64), draw=DRAW)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_else_is_not_replaced(data, tmp_path):
    cube, samples = data
    (tmp_path / "set").mkdir()
    (tmp_path / "set/thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.tex and is no data set"):
        export_dataset(cube, samples, tmp_path / "set", DatasetSpec(chips="none"), draw=DRAW)
    assert (tmp_path / "set/thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("mark", [{}, {MARK: 1}])
def test_a_folder_with_a_foreign_collection_or_file_is_not_replaced(data, tmp_path, mark):
    """A catalogue of someone else; and a data set of ours with something else beside it."""
    cube, samples = data
    (tmp_path / "set").mkdir()
    (tmp_path / "set/collection.json").write_text(json.dumps({"type": "Collection"} | mark))
    (tmp_path / "set/series.parquet").write_bytes(b"")
    (tmp_path / "set/scene.tif").write_text("years of work")
    with pytest.raises(InputError, match=r"scene\.tif"):
        export_dataset(cube, samples, tmp_path / "set", DatasetSpec(chips="none"), draw=DRAW)
    assert (tmp_path / "set/scene.tif").read_text() == "years of work"
    (tmp_path / "set/scene.tif").unlink()
    if mark:
        check_replaceable(tmp_path / "set")
    else:
        with pytest.raises(InputError, match="is no data set of this program"):
            check_replaceable(tmp_path / "set")


def test_a_data_set_of_quarters_ends_with_the_last_and_the_cube_stays_as_it_is(data, tmp_path):
    cube, samples = data
    cube = cube.isel(time=slice(0, 2)).assign_coords(
        time=("time", np.array(["2023-07-01", "2023-10-01"], "M8[ns]"), {"bounds": "time_bnds"})
    )
    spec = DatasetSpec(chip=EDGE, chips="zarr")
    export_dataset(cube, samples, tmp_path / "set", spec, draw=DRAW)
    (interval,) = read_json(tmp_path / "set/collection.json")["extent"]["temporal"]["interval"]
    assert interval == ["2023-07-01T00:00:00Z", "2023-12-31T23:59:59Z"]
    assert cube["time"].attrs["bounds"] == "time_bnds"
    chips = xr.open_zarr(tmp_path / "set/chips.zarr", consolidated=False)
    assert "bounds" not in chips["time"].attrs


def test_a_data_set_is_replaced_whole(data, tmp_path):
    cube, samples = data
    for chips in ("zarr", "none"):
        spec = DatasetSpec(chip=EDGE, chips=chips)
        export_dataset(cube, samples, tmp_path / "set", spec, draw=DRAW)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [
        "README.md", "classes.json", "collection.json", "datasheet.md", "series.parquet",
        "splits.csv",
    ]  # fmt: skip


def test_a_data_set_is_written_to_a_store_that_is_no_disk(data):
    cube, samples = data
    where = place("memory://sets/fields")
    spec = DatasetSpec(chip=EDGE, chips="cog", min_labelled=0.2)
    for _ in range(2):  # the second replaces the first
        facts = export_dataset(cube[["dem", "label", "polygon"]], samples, where, spec, draw=DRAW,
                               interval=INTERVAL)  # fmt: skip
    n = sum(facts["chips"].values())
    assert len(below(where, ".tif")) == 2 * n > 0
    collection = read_json(where / "collection.json")
    assert len([link for link in collection["links"] if link["rel"] == "item"]) == n
    assert collection["extent"]["temporal"]["interval"][0][0] == "2024-01-01T00:00:00Z"
    xr.testing.assert_identical(read_samples(where / "series.parquet").drop_vars("split"), samples)
    assert "one layer" in (where / "datasheet.md").read_text()


def test_a_cube_without_labels_or_without_a_date_is_refused(data, tmp_path):
    cube, samples = data
    with pytest.raises(InputError, match=r"no polygon\. Run the step `labels`"):
        export_dataset(cube.drop_vars("polygon"), samples, tmp_path / "set", draw=DRAW)
    still = cube.drop_vars(["s1", "s2"])
    with pytest.raises(InputError, match="Give `interval`"):
        export_dataset(still, samples, tmp_path / "set", SPEC, draw=DRAW)
    assert not list(tmp_path.iterdir())
