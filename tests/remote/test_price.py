"""What a store was asked for, counted at a proxy, beside what the price said of it."""

from __future__ import annotations

import numpy as np
import pystac
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from geocube_ml.cube.mosaic import make_mosaic
from geocube_ml.cube.radiometry import examine
from geocube_ml.grid import Grid
from geocube_ml.price.plan import price
from geocube_ml.price.requests import looked
from geocube_ml.price.sampled import sample
from geocube_ml.raster import counted, write_cog
from geocube_ml.spec.composite import MedianSpec, MedoidSpec
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.spec.source import ItemsSpec, SourceSpec

LEFT, TOP, SIZE = 500_000, 5_000_000, 768
ASSETS = {"B10": (10, "uint16", 3000), "B20": (20, "uint16", 3000), "SCL": (20, "uint8", 200)}
PERIOD = PeriodSpec(start="2022-01", end="2022-03")
SENSOR = SensorSpec(
    bands={"red": "B10", "swir": "B20"}, mask={"asset": "SCL", "at_least": 1, "nodata": None}
)


@pytest.fixture(scope="module")
def items(s3, tmp_path_factory):
    """Nine items in a store, all clear, of more bytes than GDAL keeps; and their bucket."""
    folder, bucket, rng = tmp_path_factory.mktemp("cogs"), s3.bucket(), np.random.default_rng(0)
    found = []
    for month in (1, 2, 3):
        for day in (5, 15, 25):
            name, assets = f"I{month:02d}{day:02d}", {}
            for key, (step, dtype, most) in ASSETS.items():
                edge = SIZE * 10 // step
                geobox = GeoBox((edge, edge), Affine(step, 0, LEFT, 0, -step, TOP), "EPSG:32633")
                values = rng.integers(1, most, (edge, edge)).astype(dtype)
                path = write_cog(folder / name / f"{key}.tif", values, geobox, blocksize=128)
                s3.request("PUT", f"{bucket}/{name}/{key}.tif", path.read_bytes())
                assets[key] = {
                    "href": f"s3://{bucket}/{name}/{key}.tif",
                    "proj:shape": [edge, edge],
                    "proj:transform": list(geobox.transform[:6]),
                }
                outline = geobox.extent.to_crs("EPSG:4326")
            found.append(
                pystac.Item.from_dict(
                    {
                        "type": "Feature",
                        "stac_version": "1.0.0",
                        "id": name,
                        "links": [],
                        "geometry": outline.json,
                        "bbox": list(outline.boundingbox),
                        "properties": {
                            "datetime": f"2022-{month:02d}-{day:02d}T10:00:00Z",
                            "proj:epsg": 32633,
                        },
                        "assets": assets,
                    }
                )
            )
    return found


@pytest.mark.parametrize(
    ("tile", "off", "grow", "composite"),
    [
        (256, 40, 0, MedianSpec()),
        (768, 0, 0, MedianSpec()),
        (256, 40, 30, MedianSpec()),
        (256, 40, 0, MedoidSpec()),
    ],
    ids=["several runs", "whole rasters", "masks that are grown", "bands together"],
)
def test_requests_and_bytes_are_about_what_the_price_says(
    items, s3, s3_faults, monkeypatch, tile, off, grow, composite
):
    edge = 2 * tile if off else tile
    for name, value in s3.behind(s3_faults.url).env.items():
        monkeypatch.setenv(name, value)
    geobox = GeoBox(
        (edge, edge), Affine(10, 0, LEFT + 10 * off, 0, -10, TOP - 10 * off), "EPSG:32633"
    )
    grid = Grid(geobox, StoreSpec(chunk=64, shard=tile, tile=tile))
    mask = SENSOR.mask[0].model_copy(update={"grow": grow})
    sensor = SENSOR.model_copy(update={"mask": (mask,)})
    source = SourceSpec(sensor=sensor, items=ItemsSpec(catalog="not asked"))
    mosaic = make_mosaic(items, source, grid, PERIOD, composite=composite)
    told = price({"s2": mosaic})
    s3_faults.clear()
    with counted() as counts:
        for one in grid.tiles:
            mosaic.within(one.y, one.x).read(range(3), range(2), one.y, one.x)
    assert counts.decoded_bytes == told.decoded_bytes
    gets = [entry for entry in s3_faults.log if entry.kind == "get" and entry.status < 300]
    assert told.fetched.requests == pytest.approx(len(gets), rel=0.25)
    assert told.fetched.bytes == pytest.approx(sum(entry.sent for entry in gets), rel=0.25)
    assert told.sources["s2"].samples.opened == 9


def test_looks_at_offsets_take_what_the_price_says(items, s3, s3_faults, monkeypatch):
    """Here at red alone: the mask has no classes, and `swir` is no name that tells."""
    for name, value in s3.behind(s3_faults.url).env.items():
        monkeypatch.setenv(name, value)
    geobox = GeoBox((256, 256), Affine(10, 0, LEFT, 0, -10, TOP), "EPSG:32633")
    sensor = SENSOR.model_copy(update={"offset": "sentinel-2-boa"})
    source = SourceSpec(sensor=sensor, items=ItemsSpec(catalog="not asked"))
    for item in items:
        item.properties["s2:processing_baseline"] = "04.00"
    mosaic = make_mosaic(items, source, Grid(geobox, StoreSpec(tile=512)), PERIOD)
    told = looked(mosaic, sample(mosaic), len(items), http=False)
    s3_faults.clear()
    for granule in mosaic.granules:
        examine(granule.id, granule.hrefs, source, granule.offset, mosaic.storage)
    gets = [entry for entry in s3_faults.log if entry.kind == "get" and entry.status < 300]
    assert told.requests == pytest.approx(len(gets), rel=0.25)
    assert told.bytes == pytest.approx(sum(entry.sent for entry in gets), rel=0.25)
