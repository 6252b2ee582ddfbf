"""A tiny archive to hold a definition in numpy against; a simulated archive; real data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from affine import Affine
from odc.geo.geobox import GeoBox

from geocube_ml.cube import observe
from geocube_ml.grid import Grid
from geocube_ml.raster import write_cog
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.spec.source import ItemsSpec, SourceSpec

__all__ = [
    "_write_item",
    "archive",
    "data",
    "earth_search",
    "planetary",
    "reads",
    "sensor_of",
    "tiny",
]

ROOT = Path(__file__).parents[1]
LEFT, TOP = 500_000, 5_000_000
SHAPE = (64, 96)  # of the tiny grid, 10 m pixels
CLEAR = (4, 5)


@pytest.fixture(scope="session")
def data(real_data):
    """The folder of real data."""
    return real_data("stac_items").parent


@pytest.fixture
def reads(monkeypatch):
    """(item, asset) of every raster that a mosaic opens, in order."""
    seen = []
    whole = observe.read_onto

    def counted(href, *args, **kwargs):
        path = Path(href)
        seen.append((path.parent.name, path.stem))
        return whole(href, *args, **kwargs)

    monkeypatch.setattr(observe, "read_onto", counted)
    return seen


@pytest.fixture(scope="session")
def archive(dense_archive):
    """A simulated archive: two tiles in two UTM zones, 24 dates."""
    return dense_archive


def sensor_of(name):
    return SensorSpec(**yaml.safe_load((ROOT / "catalogs" / "sources" / name).read_text()))


@pytest.fixture(scope="session")
def planetary():
    return sensor_of("planetary-computer-sentinel-2-l2a.yaml")


@pytest.fixture(scope="session")
def earth_search():
    return sensor_of("earth-search-sentinel-2-l2a.yaml")


def write_item(folder, name, when, left, top, assets, **properties):
    """One item and its COGs; `assets` maps a key to (values, resolution, nodata)."""
    listed, outline = {}, None
    for key, (values, resolution, nodata) in assets.items():
        geobox = GeoBox(
            values.shape, Affine(resolution, 0, left, 0, -resolution, top), "EPSG:32633"
        )
        write_cog(folder / "cogs" / name / f"{key}.tif", values, geobox, nodata=nodata)
        listed[key] = {
            "href": f"../cogs/{name}/{key}.tif",
            "proj:shape": list(values.shape),
            "proj:transform": list(geobox.transform[:6]),
        }
        outline = geobox.extent.to_crs("EPSG:4326")
    item = {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": name,
        "collection": "tiny", "geometry": outline.json, "bbox": list(outline.boundingbox),
        "properties": {"datetime": when, "proj:epsg": 32633, **properties},
        "links": [], "assets": listed,
    }  # fmt: skip
    path = folder / "items" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(item))
    return path


@pytest.fixture(scope="session", name="write_item")
def _write_item():
    return write_item


@dataclass(frozen=True)
class Tiny:
    """What was written, and how to ask for it."""

    folder: Path
    grid: Grid
    seen: list
    """(name, day, baseline, first column, fine, coarse, scl) of each item; arrays as written."""

    def source(self, **sensor):
        fields = {
            "bands": {"fine": "B10", "coarse": "B20"}, "offset": "sentinel-2-boa",
            "mask": {"asset": "SCL", "clear": CLEAR}, "dtype": "uint16", "nodata": 0,
        } | sensor  # fmt: skip
        return SourceSpec(
            sensor=SensorSpec(**fields), items=ItemsSpec(catalog=str(self.folder / "items"))
        )

    def cut(self, **store):
        return Grid(self.grid.geobox, StoreSpec(**store))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Two tiles that overlap by 16 columns, 20 rows that no tile reaches, three months.

    January: three days, one of a single tile, one of two baselines.  February: nothing.
    March: one day, reprocessed once.  A swath is nodata in every band and in the mask.
    """
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(3)
    seen = []
    for name, when, baseline, column in (
        ("W0105", "2022-01-05T10:00:00Z", "03.01", -8),
        ("E0105", "2022-01-05T10:00:09Z", "03.01", 40),
        ("W0115", "2022-01-15T10:00:00Z", "03.01", -8),
        ("W0125", "2022-01-25T10:00:00Z", "04.00", -8),
        ("E0125", "2022-01-25T10:00:09Z", "03.01", 40),
        ("E0310", "2022-03-10T10:00:00Z", "04.00", 40),
        ("E0310again", "2022-03-10T10:00:00Z", "05.09", 40),
    ):
        height, width = 44, 64
        lit = (np.arange(width // 2) + np.arange(height // 2)[:, None]) % 40 > 7
        fine = rng.integers(400, 9000, (height, width)).astype("uint16")
        coarse = rng.integers(400, 9000, (height // 2, width // 2)).astype("uint16")
        scl = rng.choice(np.uint8([4, 5, 8, 9]), (height // 2, width // 2))
        fine[~lit.repeat(2, 0).repeat(2, 1)] = 0
        coarse[~lit], scl[~lit] = 0, 0
        write_item(
            folder, name, when, LEFT + 10 * column, TOP,
            {"B10": (fine, 10, 0), "B20": (coarse, 20, 0), "SCL": (scl, 20, 0)},
            **{"s2:processing_baseline": baseline, "eo:cloud_cover": 50.0},
        )  # fmt: skip
        seen.append((name, when[:10], baseline, column, fine, coarse, scl))
    geobox = GeoBox(SHAPE, Affine(10, 0, LEFT, 0, -10, TOP), "EPSG:32633")
    return Tiny(folder, Grid(geobox, StoreSpec(chunk=16, shard=32, tile=32)), seen)
