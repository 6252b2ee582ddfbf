"""Planning a country: from the pinned items to the printed price, in a process of its own.

Its items are described as Sentinel-2's are: some scenes of each of some hundred grids in three UTM
zones, ten bands and a mask.  Any of their addresses leads to one small file, which a server of this
process sends.  There is no peer; the target is a minute and two gigabytes for 100,000 items over
25,000 tiles.  Once more each item lies on a grid of its own, some pixels off the others, as those
of Landsat do.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import stac_geoparquet.arrow as stac_arrow
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from benchmarks.measure import peak_bytes
from geocube_ml.cube.mosaic import make_mosaic
from geocube_ml.grid import Grid
from geocube_ml.items.pin import PinnedItems
from geocube_ml.price.plan import price
from geocube_ml.raster import write_cog
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.spec.source import ItemsSpec, SourceSpec

ITEMS, TILES = 100_000, 25_000
SECONDS, BYTES = 60, 2e9

_FINE, _COARSE = ("B02", "B03", "B04", "B08"), ("B05", "B06", "B07", "B8A", "B11", "B12")
_OTHER = ("AOT", "WVP", "visual")
_SIDE = 109_800  # metres of a granule; they start every 100 km
_TILE = 512
_LEFT, _TOP = 300_000, 5_500_000
_START, _YEARS = date(2018, 1, 1), 5
_CHUNK = 2000
_SHIFTS = 50


def sensor() -> SensorSpec:
    """Ten bands and a mask."""
    return SensorSpec(
        bands={key.lower(): key for key in (*_FINE, *_COARSE)},
        mask={"asset": "SCL", "clear": [4, 5, 6, 7, 11]},
        offset="sentinel-2-boa",
    )


def grid_of(tiles: int) -> Grid:
    """A square of about so many tiles."""
    edge = max(round(tiles**0.5), 1) * _TILE
    geobox = GeoBox((edge, edge), Affine(10, 0, _LEFT, 0, -10, _TOP), "EPSG:32633")
    return Grid(geobox, StoreSpec(chunk=128, shard=_TILE, tile=_TILE))


def pin(path: Path, items: int, tiles: int, server: str, *, shifted: bool = False) -> None:
    """Write a GeoParquet of items that cover a grid; shifted, no two of them lie on one grid."""
    batches = _batches(items, tiles, server, shifted)
    first = next(batches)
    every = itertools.chain([first], batches)
    stac_arrow.to_parquet(pa.RecordBatchReader.from_batches(first.schema, every), str(path))


def _batches(items: int, tiles: int, server: str, shifted: bool) -> Iterator[pa.RecordBatch]:
    rows = _rows(items, tiles, server, shifted)
    while chunk := list(itertools.islice(rows, _CHUNK)):
        yield from stac_arrow.parse_stac_items_to_arrow(chunk)


def _rows(items: int, tiles: int, server: str, shifted: bool) -> Iterator[dict[str, Any]]:
    """Items, day by day; each grid has its own outline, told in degrees once."""
    grids = list(_grids(tiles))
    dates = -(-items // len(grids))
    for number in range(items):
        epsg, left, top, outline = grids[number % len(grids)]
        if shifted:  # by whole pixels of 20 metres, for each date of a grid by others
            down, right = divmod(number // len(grids), _SHIFTS)
            left, top = left + 20 * right, top - 20 * down
            outline = _outline(epsg, left, top).to_crs("EPSG:4326")
        days = number // len(grids) * 365 * _YEARS // dates
        day = _START + timedelta(days=days)
        name = f"S2A_MSIL2A_{day:%Y%m%d}T100031_N0500_R122_T{epsg % 100}{left // 1000}{top // 1000}"
        said = {
            "datetime": f"{day.isoformat()}T10:00:31.024Z", "platform": "Sentinel-2A",
            "constellation": "Sentinel 2", "eo:cloud_cover": number * 7919 % 1000 / 10,
            "proj:epsg": epsg, "s2:processing_baseline": "05.00",
            "s2:product_uri": f"{name}.SAFE", "s2:mgrs_tile": f"{epsg % 100}TWN",
            "s2:mean_solar_zenith": 37.9 + number % 100 / 7,
        }  # fmt: skip
        where = (
            f"{server}/sentinel2-l2/{epsg % 100}/T/WN/{day:%Y/%m/%d}/{name}.SAFE/GRANULE/IMG_DATA"
        )
        yield {
            "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": name,
            "collection": "sentinel-2-l2a", "geometry": outline.json,
            "bbox": list(outline.boundingbox), "properties": said, "links": [],
            "assets": {key: _asset(key, where, left, top) for key in _keys()},
        }  # fmt: skip


def _keys() -> tuple[str, ...]:
    return (*_FINE, *_COARSE, "SCL", *_OTHER)


def _asset(key: str, where: str, left: int, top: int) -> dict[str, Any]:
    step = 20 if key in (*_COARSE, "SCL") else 10
    return {
        "href": f"{where}/R{step}m/{key}_{step}m.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "proj:shape": [_SIDE // step] * 2,
        "proj:transform": [step, 0, left, 0, -step, top],
        "raster:bands": [{"scale": 0.0001, "offset": -0.1, "nodata": 0, "data_type": "uint16"}],
        "roles": ["data"],
    }


def _grids(tiles: int) -> Iterator[tuple[int, int, int, Any]]:
    """EPSG code, left, top and outline of each granule that touches the grid, in three zones."""
    extent = grid_of(tiles).geobox.extent
    for epsg in (32632, 32633, 32634):
        there = extent.to_crs(f"EPSG:{epsg}", resolution=20_000)
        west, south, east, north = there.boundingbox.bbox
        # a zone is 6 degrees wide, and its tiles reach a little into the next
        for left in range(
            max(int(west) // 100_000, 2) * 100_000 - 40, int(min(east, 8e5)), 100_000
        ):
            for top in range(int(north) // 100_000 * 100_000 + 100_000, int(south), -100_000):
                outline = _outline(epsg, left, top)
                if outline.intersects(there):
                    yield epsg, left, top, outline.to_crs("EPSG:4326")


def _outline(epsg: int, left: int, top: int) -> Geometry:
    """Of a granule, in its own CRS."""
    return GeoBox((1, 1), Affine(_SIDE, 0, left, 0, -_SIDE, top), f"EPSG:{epsg}").extent


@contextlib.contextmanager
def one_file(path: Path) -> Iterator[str]:
    """A server that sends one file, or parts of it, whatever it is asked for."""
    content = path.read_bytes()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            start, stop = (int(part[1]), int(part[2]) + 1) if part else (0, len(content))
            body = content[start:stop]
            self.send_response(206 if part else 200)
            if part:
                end = start + len(body) - 1
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def plan(path: Path, tiles: int) -> dict[str, Any]:
    """What a dry run does, with its time, processor time and memory."""
    begun, busy = time.perf_counter(), time.process_time()
    source = SourceSpec(sensor=sensor(), items=ItemsSpec(geoparquet=str(path)))
    period = PeriodSpec(
        start=f"{_START:%Y-%m}", end=f"{_START.replace(year=_START.year + _YEARS - 1):%Y}-12"
    )
    mosaic = make_mosaic(PinnedItems(path, source.assets), source, grid_of(tiles), period)
    told = price({"s2": mosaic}, threads=2)
    lines = told.lines()
    return {
        "seconds": round(time.perf_counter() - begun, 2),
        "cpu_seconds": round(time.process_time() - busy, 2),
        "peak_bytes": peak_bytes(),
        "items": told.sources["s2"].items,
        "tiles": told.tiles,
        "tasks": told.tasks,
        "windows": told.windows,
        "lines": lines,
    }


def measured(items: int, tiles: int, *, shifted: bool = False) -> dict[str, Any]:
    """`plan`, in a process that did nothing before."""
    with TemporaryDirectory() as folder:
        block = np.random.default_rng(0).integers(1, 3000, (512, 512)).astype("uint16")
        cog = Path(folder) / "block.tif"
        write_cog(cog, block, GeoBox((512, 512), Affine(10, 0, 0, 0, -10, 0), "EPSG:32633"))
        with one_file(cog) as server:
            path = Path(folder) / "items.parquet"
            pin(path, items, tiles, server, shifted=shifted)
            command = [sys.executable, "-m", "benchmarks.planning", str(path), str(tiles)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(items: int = ITEMS, tiles: int = TILES) -> None:
    """Measure, and print it."""
    for shifted in (False, True):
        found = measured(items, tiles, shifted=shifted)
        print("each item on a grid of its own" if shifted else "items on shared grids")
        print(*found["lines"], sep="\n")
        print(
            f"planned in {found['seconds']:.0f} s ({found['cpu_seconds']:.0f} s of a processor) "
            f"with {found['peak_bytes'] / 1e9:.2f} GB; the target for {ITEMS:,} items over "
            f"{TILES:,} tiles is {SECONDS} s and {BYTES / 1e9:g} GB"
        )


if __name__ == "__main__":
    print(json.dumps(plan(Path(sys.argv[1]), int(sys.argv[2]))))
