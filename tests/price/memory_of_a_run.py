"""A run in a process of its own: what the price says of its memory, and what it took."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from affine import Affine
from odc.geo.geobox import GeoBox

from geocube_ml.raster import write_cog

_RUN = """
import sys
from pathlib import Path
from geocube_ml.run import main
code = main([sys.argv[1], "cube"])
status = Path("/proc/self/status").read_text()
print("peak", next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
raise SystemExit(code)
"""


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    said: int
    peak: int


def write_archive(folder: Path, edge: int, months: int, days: int, bands: int = 0) -> None:
    """Items of every so many days, whose rasters are the same few files.

    Parameters
    ----------
    folder : Path
    edge : int
        Rows and columns at 10 m.
    months, days : int
        Time steps, and items in each.
    bands : int
        Of an asset ``CUBE``; none by default.
    """
    rng = np.random.default_rng(0)
    assets = {}
    kinds: dict[str, tuple[int, str, int]] = {
        "B10": (10, "uint16", 1), "B20": (20, "uint16", 1), "SCL": (20, "uint8", 1),
        "VV": (10, "float32", 1),
    }  # fmt: skip
    if bands:
        kinds["CUBE"] = (10, "uint16", bands)
    for key, (step, dtype, count) in kinds.items():
        n = edge * 10 // step
        geobox = GeoBox((n, n), Affine(step, 0, 500_000, 0, -step, 5_100_000), "EPSG:32633")
        values = rng.integers(1, 3000 if dtype == "uint16" else 6, (count, n, n)).astype(dtype)
        write_cog(folder / f"{key}.tif", values, geobox)
        assets[key] = {
            "href": str(folder / f"{key}.tif"),
            "proj:shape": [n, n],
            "proj:transform": list(geobox.transform[:6]),
        }
    outline = geobox.extent.to_crs("EPSG:4326")
    for month in range(1, months + 1):
        for day in range(1, days + 1):
            item = {
                "type": "Feature", "stac_version": "1.0.0", "id": f"I{month:02d}{day:02d}",
                "geometry": outline.json, "bbox": list(outline.boundingbox), "links": [],
                "properties": {"datetime": f"2022-{month:02d}-{day:02d}T10:00:00Z",
                               "proj:epsg": 32633},
                "assets": assets,
            }  # fmt: skip
            path = folder / "items" / f"{item['id']}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(item))


def sensor(fine: int, coarse: int, **more: Any) -> dict[str, Any]:
    """Bands of 10 m and of 20 m, each an asset of its own by its way of resampling alone."""
    bands = {f"f{n}": {"asset": "B10"} for n in range(fine)}
    bands |= {f"c{n}": {"asset": "B20"} for n in range(coarse)}
    return {"bands": bands, "mask": {"asset": "SCL", "clear": [1, 2, 3, 4]}} | more


def run(archive: Path, out: Path, sensor: dict[str, Any], *, tile: int, edge: int, months: int,
        threads: int, crs: str = "EPSG:32633", **recipe: Any) -> Memory:  # fmt: skip
    """Make the cube of an archive."""
    left, top = 500_000, 5_100_000
    bounds = [left + 100, top - 100 - 10 * edge, left + 100 + 10 * edge, top - 100]
    if crs != "EPSG:32633":
        geobox = GeoBox.from_bbox(bounds, "EPSG:32633", resolution=10)
        x, y = geobox.extent.centroid.to_crs(crs).coords[0]
        bounds = [x - 5 * edge, y - 5 * edge, x + 5 * edge, y + 5 * edge]
    recipe = {
        "name": "memory", "out": str(out),
        "sources": {"s2": {"sensor": sensor, "items": {"catalog": str(archive / "items")}}},
        "grid": {"crs": crs, "resolution": 10, "bounds": [float(b) for b in bounds]},
        "period": {"start": "2022-01", "end": f"2022-{months:02d}"},
        "store": {"chunk": 128, "shard": min(tile, 512), "tile": tile},
        "cluster": {"workers": threads},
    } | recipe  # fmt: skip
    path = out.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(recipe))
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    peak = int(done.stdout.rsplit("peak", 1)[1]) * 1024
    said = json.loads((out / "records/price/cube.json").read_text())["estimated"]["worker_bytes"]
    return Memory(said, peak)
