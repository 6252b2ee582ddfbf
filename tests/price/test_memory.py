"""A worker holds no more than the price says, and not much less."""

import sys

import pytest

from tests.price.memory_of_a_run import run, sensor, write_archive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")

MANY = {"band_range": {"asset": "CUBE", "last": 200}, "mask": {"asset": "SCL", "clear": [1, 2]}}
NEAREST = {"asset": "VV", "resampling": "nearest", "coarsening": "nearest"}
RADAR = {"bands": {"vv": NEAREST}, "dtype": "float32", "nodata": -1, "power": "decibel"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Four months of three items."""
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder, 560, 4, 3)
    return folder


@pytest.fixture(scope="module")
def hyperspectral(tmp_path_factory):
    """Two months of two items of 200 bands."""
    folder = tmp_path_factory.mktemp("hyperspectral")
    write_archive(folder, 300, 2, 2, bands=200)
    return folder


@pytest.mark.parametrize(
    ("sensor", "how"),
    [
        (sensor(4, 6), {"tile": 256, "months": 4, "threads": 2}),
        (sensor(4, 0), {"tile": 512, "months": 2, "threads": 1, "crs": "EPSG:32634"}),
        (sensor(1, 3), {"tile": 512, "months": 2, "threads": 1, "composite": "geomedian"}),
        (RADAR, {"tile": 512, "months": 4, "threads": 1, "composite": "mean"}),
    ],
    ids=["two threads", "another CRS", "geomedian", "radar"],
)
def test_a_worker_holds_what_the_price_says(archive, tmp_path, sensor, how):
    memory = run(archive, tmp_path / "out", sensor, edge=512, **how)
    assert memory.peak <= memory.said <= 1.5 * memory.peak


def test_a_worker_holds_what_the_price_says_of_200_bands(hyperspectral, tmp_path):
    memory = run(
        hyperspectral, tmp_path / "out", MANY, tile=128, edge=256, months=2, threads=1,
        composite="medoid",
    )  # fmt: skip
    assert memory.peak <= memory.said <= 1.5 * memory.peak
