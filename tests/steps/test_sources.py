"""All steps on cubes of several sources, and on cubes without a time axis."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import yaml

from geocube_ml.files import read_json
from geocube_ml.run import main
from geocube_ml.spec.base import digest
from geocube_ml.store.cube import open_cube

DEM = {
    "title": "Terrain", "dtype": "float32", "nodata": -9999, "units": "m", "static": True,
    "bands": {"elevation": "image", "slope": {"asset": "image", "derive": "slope"}},
}  # fmt: skip
RADAR = {
    "title": "Radar", "dtype": "float32", "nodata": -1, "power": "linear", "composite": "mean",
    "bands": {"vv": "vv", "vh": "vh"},
}  # fmt: skip
SPECTRUM = {
    "title": "Spectrum", "dtype": "int16", "nodata": -32768, "scale": 1e-4, "static": True,
    "band_range": {"asset": "image", "last": 200},
}  # fmt: skip
STEPS = ("cube", "labels", "samples", "train", "evaluate", "predict", "export", "report")


@pytest.fixture(scope="module")
def rasters(archive, tmp_path_factory):
    """Plain GeoTIFFs that know something of the classes; nothing is known of a corner."""
    folder = tmp_path_factory.mktemp("rasters")
    with rasterio.open(archive.truth) as src:
        truth, profile = src.read(1).astype(int), src.profile
    rng = np.random.default_rng(0)
    place = {key: profile[key] for key in ("crs", "transform", "width", "height")}

    def write(name, values, nodata):
        values[:, :20, :30] = nodata
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        with rasterio.open(
            path, "w", driver="GTiff", count=len(values), dtype=values.dtype, nodata=nodata,
            interleave="pixel", compress="deflate", **place,
        ) as dst:  # fmt: skip
            dst.write(values)

    height = 300 + 5 * truth + rng.normal(0, 1, truth.shape)
    write("dem/tile.tif", height[None].astype("float32"), -9999)
    band = np.arange(200)[:, None, None]
    spectrum = 2000 + 1000 * np.sin(band / (20 + truth)) + rng.normal(0, 50, (200, *truth.shape))
    write("spectrum/scene.tif", spectrum.astype("int16"), -32768)
    for month in range(1, 13):
        for day in (4, 20):
            power = (0.05 + 0.01 * np.abs(truth - month % 8)) * rng.gamma(9, 1 / 9, truth.shape)
            for asset, share in (("vv", 1), ("vh", 0.2)):
                name = f"radar/2022{month:02d}{day:02d}_{asset}.tif"
                write(name, (share * power)[None].astype("float32"), -1)
    return folder


def files(folder, **more):
    return {"files": str(folder)} | more


def finished(path):
    return [step for step in STEPS if (path / "records" / step / "done.json").exists()]


@pytest.fixture(scope="module")
def run(values, tmp_path_factory):
    """Run a recipe with other sources; its folder, and the recipe's path."""

    def made(sources, **more):
        folder = tmp_path_factory.mktemp("run")
        changed = values | {
            "out": str(folder / "out"),
            "sources": sources,
            "models": {"tempcnn": {"epochs": 1, "width": 8}, "forest": {"trees": 10}},
            "evaluate": values["evaluate"] | {"splits": ["block"]},
        }
        changed = {key: value for key, value in (changed | more).items() if value is not None}
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(changed, sort_keys=False))
        assert main([str(path)]) == 0
        return folder / "out", path

    return made


@pytest.fixture(scope="module")
def still(run, rasters):
    """A spectrum of 200 bands and a terrain, of neither of which anything is known in a corner."""
    spectrum = {"sensor": SPECTRUM, "items": files(rasters / "spectrum")}
    terrain = {"sensor": DEM, "items": files(rasters / "dem")}
    return run({"spectrum": spectrum, "dem": terrain}, period=None)


def test_a_run_of_a_series_a_radar_and_a_terrain(values, run, rasters, capsys):
    radar = files(rasters / "radar", pattern="{date:%Y%m%d}_{asset}.tif")
    terrain = {"sensor": DEM, "items": files(rasters / "dem")}
    out, path = run(
        {**values["sources"], "dem": terrain, "s1": {"sensor": RADAR, "items": radar}},
        models={"ensemble": {"of": {"tempcnn": {"epochs": 1, "width": 8}, "forest": {"trees": 9}}},
                "forest": {"trees": 10}},
    )  # fmt: skip
    assert finished(out) == list(STEPS)
    cube = open_cube(out / "cube.zarr")
    assert cube["class"].attrs["model"] == "ensemble"
    assert (out / "training/ensemble/tempcnn/curves.csv").exists()
    assert not list((out / "training").rglob("member-*.safetensors")), "the bundle has the weights"
    scores = read_json(out / "scores.json")["scores"]
    assert {said["model"] for said in scores} >= {"ensemble", "forest"}
    assert {"s2", "s2_clear", "s1", "dem", "label", "class", "prob"} <= set(cube)
    assert cube["s1"].dims == ("time", "s1_band", "y", "x")
    assert cube["dem"].dims == ("dem_band", "y", "x")
    fit = read_json(out / "models/forest/bundle.json")["fit"]
    assert [source["name"] for source in fit["sources"]] == ["s1", "s2", "dem"]
    assert fit["steps"] == [f"{month:02d}-01" for month in range(1, 13)]
    page = (out / "report.html").read_text()
    for said in ("Radar", "Terrain", "slope in degrees", "s1, vv", "s2, NDVI"):
        assert said in page
    capsys.readouterr()
    assert main([str(path)]) == 0  # nothing is made twice
    assert "report    was done already" in capsys.readouterr().out


def test_a_run_without_a_time_axis(still):
    out, _ = still
    assert finished(out) == list(STEPS)
    cube = open_cube(out / "cube.zarr", chunks=None)
    assert "time" not in cube.dims
    assert cube.sizes["spectrum_band"] == 200
    assert cube["spectrum"].attrs["scale_factor"] == 1e-4
    unknown = [(cube[name] == nodata).all(f"{name}_band").values
               for name, nodata in (("spectrum", -32768), ("dem", -9999))]  # fmt: skip
    dark = np.logical_and(*unknown)
    assert dark.any()
    assert not dark.all()
    np.testing.assert_array_equal(cube["class"].values == 255, dark)
    with rasterio.open(out / "export/small_class.tif") as src:
        np.testing.assert_array_equal(src.read(1), cube["class"].values)
        assert src.nodata == 255
    figures = {s["model"]: s["macro_f1"] for s in read_json(out / "scores.json")["reference"]}
    assert figures["forest"] > 0.9
    page = (out / "report.html").read_text()
    assert "Period" not in page
    assert "b001, b002, ..., b200 (200 of them)" in page
    assert "False colour" in page


def test_a_model_of_another_cube_is_refused_before_the_first_tile(still, capsys):
    out, path = still
    bundle = out / "models/tempcnn/bundle.json"
    whole = bundle.read_text()
    said = json.loads(whole.replace('"b117"', '"other"'))
    del said["digest"]
    bundle.write_text(json.dumps({**said, "digest": digest(said)}))
    try:
        assert main([str(path), "predict", "--redo"]) == 2
    finally:
        bundle.write_text(whole)
    assert "number 117 was other and is b117" in capsys.readouterr().err
