"""What others read a data set with: its README, PyTorch, TorchGeo, STAC."""

from __future__ import annotations

import re
import socket
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pystac
import pytest
import torch
import xarray as xr
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.validation import RegisteredValidator

from geocube_ml.data.samples import gather_samples
from geocube_ml.export.dataset import export_dataset
from geocube_ml.spec.dataset import DatasetSpec
from geocube_ml.spec.labels import UNKNOWN
from tests.export.datasets import DRAW, EDGE, SOURCES, labelled_cube, square
from tests.seasons import make_cube

# odc-geo multiplies transforms in the way that affine 3 is giving up
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

_KEPT = []


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return labelled_cube(tmp_path_factory.mktemp("cube"))


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    cube, samples = data
    folder = tmp_path_factory.mktemp("made") / "fields"
    spec = DatasetSpec(chip=EDGE, licence="as the ministry says", providers=("A farm",),
                       title="Fields", citation="A. B. (2024)")  # fmt: skip
    export_dataset(cube, samples, folder, spec, name="fields", draw=DRAW, chunk=EDGE, workers=2)
    return folder


@pytest.fixture
def torchgeo():
    """Importable, also where torchvision's operators were compiled for another torch."""
    if find_spec("torchgeo") is None:
        pytest.skip("torchgeo is not installed")
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)  # as long as it is there, they are defined


def programs(folder: Path) -> list[str]:
    """Those of its README."""
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)


def run(program: str) -> dict[str, object]:
    names: dict[str, object] = {}
    exec(compile(program, "README.md", "exec"), names)
    return names


def test_pandas_and_pytorch_read_the_series_by_the_readme(made, data, monkeypatch):
    _, samples = data
    monkeypatch.chdir(made)
    names = run(programs(made)[0])
    table = pd.read_csv("splits.csv")
    trained = (table.split[table.kind == "sample"] == "train").to_numpy()
    assert names["bands"] == ["s1_vv", "s1_vh"]
    want = np.moveaxis(samples["s1"].values[trained], 1, 2)
    np.testing.assert_array_equal(names["series"].numpy(), want)
    np.testing.assert_array_equal(names["label"].numpy(), samples["label"].values[trained])
    assert names["batch"].shape[1:] == (2, 6)


def test_pytorch_reads_the_chips_by_the_readme(made, data, monkeypatch):
    cube, _ = data
    monkeypatch.chdir(made)
    names = run(programs(made)[1])
    chips = names["Chips"]("test")
    assert len(chips) > 1
    for name, (image, mask) in zip(chips.names, chips, strict=False):
        np.testing.assert_array_equal(image.numpy(), square(cube["s1"], name))
        known = mask.numpy() != UNKNOWN
        assert known.any()
        np.testing.assert_array_equal(mask.numpy()[known], square(cube["label"], name)[0][known])
    assert names["images"].shape[1:] == (12, EDGE, EDGE)
    assert names["masks"].dtype == torch.int64


def test_torchgeo_reads_the_chips_by_the_readme(made, data, monkeypatch, torchgeo):
    """The values of its batches are those of the cube, at their places."""
    from torchgeo.datasets import IntersectionDataset

    cube, _ = data
    monkeypatch.chdir(made)
    names = run(programs(made)[2].replace("s1_{name}", "s2_{name}"))
    both = names["both"]
    assert isinstance(both, IntersectionDataset)
    assert len(names["sampler"]) == len(names["names"])
    assert names["batch"]["image"].shape[1:] == (18, EDGE, EDGE)
    seen = []
    for query in names["sampler"]:
        sample = both[query]
        left, top = query[0].start, query[1].stop
        box = cube["label"].odc.geobox.boundingbox
        name = (
            f"{round((box.top - top) / 10 / EDGE):04d}_{round((left - box.left) / 10 / EDGE):04d}"
        )
        np.testing.assert_array_equal(sample["image"].numpy(), square(cube["s2"], name))
        mask, label = sample["mask"].numpy(), square(cube["label"], name)[0]
        known = mask != UNKNOWN
        np.testing.assert_array_equal(mask[known], label[known])
        seen.append(name)
    assert sorted(seen) == sorted(names["names"])


def test_the_readme_of_a_zarr_reads_its_chips(data, tmp_path, monkeypatch):
    cube, samples = data
    spec = DatasetSpec(chip=32, chips="zarr")
    export_dataset(cube[["s2", "label", "polygon"]], samples.drop_vars(["s1", "dem"]),
                   tmp_path / "set", spec, draw=DRAW)  # fmt: skip
    monkeypatch.chdir(tmp_path / "set")
    names = run(programs(tmp_path / "set")[1])
    chips = names["Chips"](
        next(s for s in ("train", "test") if s in (tmp_path / "set/splits.csv").read_text())
    )
    image, mask = chips[0]
    name = str(chips.chips["chip"].values[0])
    np.testing.assert_array_equal(image.numpy().reshape(-1, 32, 32), square(cube["s2"], name, 32))
    assert mask.shape == (32, 32)


@pytest.mark.parametrize("chips", ["cog", "zarr"])
def test_the_readme_lists_many_bands_by_name_and_reads_all_label_layers(
    tmp_path, monkeypatch, chips
):
    """Beside the bands a table has their spread and a column whose name begins as theirs do."""
    cube = make_cube(bands=9)
    table = gather_samples(cube, DRAW)
    spread = table["s2"].astype("f4").rename(s2_band="s2_std_band")
    spread.attrs |= {"nodata": np.nan, "of": "s2", "comment": "standard deviation"}
    table = table.assign(s2_std=spread, s2_name=("sample", np.full(table.sizes["sample"], "a")))
    layered = cube.assign({
        name: xr.concat([cube[name], cube[name]], "label_layer").assign_attrs(cube[name].attrs)
        for name in ("label", "polygon")
    })  # fmt: skip
    spec = DatasetSpec(chip=EDGE, chips=chips)
    export_dataset(layered, table, tmp_path / "set", spec, draw=DRAW)
    monkeypatch.chdir(tmp_path / "set")
    first, second, *_ = programs(tmp_path / "set")
    names = run(first)
    assert {"s2_std_b0", "s2_name"} <= set(names["table"])
    assert names["bands"] == [f"s2_b{k}" for k in range(9)]
    trained = names["table"].index
    want = np.moveaxis(table["s2"].values[trained], 1, 2)
    np.testing.assert_array_equal(names["series"].numpy(), want)
    assert max(map(len, (tmp_path / "set/README.md").read_text().splitlines())) <= 120
    masks = run(second)["masks"]
    assert masks.shape[1:] == (2, EDGE, EDGE)
    assert bool((masks[:, 0] == masks[:, 1]).all())


# --- STAC


@pytest.fixture(scope="module")
def collection(made):
    return pystac.Collection.from_file(made / "collection.json")


def test_the_collection_and_its_items_are_valid(collection, monkeypatch):
    """By the schemas of the core, which pystac brings along; those of extensions are elsewhere."""

    def refuse(*args):
        raise AssertionError("the validation connects")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    validator = RegisteredValidator.get_validator()
    for one in (collection, *collection.get_items()):
        kind, said = one.STAC_OBJECT_TYPE, one.to_dict(include_self_link=False)
        assert validator.validate_core(said, kind, "1.1.0")


def test_each_chip_is_an_item_whose_files_are_there(collection, made):
    items = list(collection.get_items())
    assert len(items) == 12
    for item in items:
        for asset in item.assets.values():
            assert Path(asset.get_absolute_href()).exists()
        assert set(item.assets) == {*SOURCES, "mask"}
        assert item.get_collection() is collection
    for asset in collection.assets.values():
        assert Path(asset.get_absolute_href()).exists()
    assert not re.findall(r'"href": "(?!\.)', (made / "collection.json").read_text())  # relative


def test_an_item_says_what_its_bands_and_classes_are(collection):
    item = next(one for one in collection.get_items() if one.id == "fields_0001_0002")
    image, mask = item.assets["s2"], item.assets["mask"]
    assert ProjectionExtension.ext(item).code == "EPSG:32633"
    assert ProjectionExtension.ext(image).shape == [EDGE, EDGE]
    assert image.extra_fields["raster:scale"] == 1e-4
    assert image.extra_fields["bands"][3]["name"] == "2023-11 s2 b0"
    assert (image.extra_fields["nodata"], image.extra_fields["data_type"]) == (0, "uint16")
    classes = ClassificationExtension.ext(mask).classes
    assert [(one.value, one.title, one.color_hint) for one in classes][:2] == [
        (0, "winter wheat", "E8C547"), (1, "maize", "2F7D4F"),
    ]  # fmt: skip
    by_class = item.properties["labelled_by_class"]
    assert sum(by_class.values()) == item.properties["labelled_pixels"]
    assert item.properties["start_datetime"] == "2023-10-01T00:00:00Z"
    assert item.properties["end_datetime"] == "2024-03-31T23:59:59Z"


def test_the_collection_spans_its_items(collection, made):
    west, south, east, north = collection.extent.spatial.bboxes[0]
    for item in collection.get_items():
        a, b, c, d = item.bbox
        assert (west - 1e-7 <= a, south - 1e-7 <= b, c <= east + 1e-7, d <= north + 1e-7) == (
            True,
        ) * 4
    assert 13.7 < west < east < 13.8  # near 400 km east, 5000 km north in zone 33
    assert 45.1 < south < north < 45.2
    assert collection.summaries.to_dict() == {"split": ["test", "train", "validation"]}


def test_any_licence_stays_as_it_is_given(collection, made):
    assert collection.license == "other"
    link = collection.get_single_link("license")
    assert link.title == "as the ministry says"
    assert "Licence: as the ministry says." in (made / "datasheet.md").read_text()
    assert [one.name for one in collection.providers] == ["A farm"]
    assert collection.extra_fields["sci:citation"] == "A. B. (2024)"
