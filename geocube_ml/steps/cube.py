"""Step `cube`: items become composites in a Zarr group, a source and some time steps at a time."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geocube_ml.cube.mosaic import Mosaic, make_mosaic
from geocube_ml.errors import MissingError
from geocube_ml.files import Place, below, names, read_json, write_json
from geocube_ml.files import discard as remove
from geocube_ml.grid import Tile
from geocube_ml.price.plan import Price, missing_files, price
from geocube_ml.raster import counted
from geocube_ml.spec.base import digest
from geocube_ml.spec.cluster import THREADS
from geocube_ml.steps.items import reaches_further
from geocube_ml.steps.job import Job
from geocube_ml.steps.overviews import Layer, write_overviews
from geocube_ml.steps.radiometry import checked_offsets
from geocube_ml.steps.tiles import Pixels, Unit
from geocube_ml.store.coords import CLEAR_ATTRS, CLEAR_FILL, band_attrs, cube_coords
from geocube_ml.store.cube import Variable, open_cube

_LISTED = 20  # items that are left out, by name, in an attribute


def inputs(job: Job) -> dict[str, Any]:
    """What decides the cube."""
    recipe = job.recipe
    return {
        "sources": {name: _source_inputs(job, name) for name in recipe.sources},
        "grid": recipe.grid.result(),
        "period": recipe.period.result() if recipe.period else None,
        "store": recipe.store.result(),
        "items": {name: found.digest for name, found in job.items.items()},
    }


def grows(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a cube becomes longer, or gets another source, and what is there stays."""
    same = before["grid"] == now["grid"] and before["store"] == now["store"]
    kept = all(now["sources"].get(name) == made for name, made in before["sources"].items())
    if before["period"] == now["period"]:
        kept &= all(now["items"].get(name) == found for name, found in before["items"].items())
    return same and kept and reaches_further(before["period"], now["period"])


def plan(job: Job) -> list[str]:
    """What the step would do."""
    mosaics = _mosaics(job)
    return [*price(mosaics, _threads(job)).lines(), *missing_files(mosaics)]


def run(job: Job) -> dict[str, Any]:
    """Write what is not written yet."""
    mosaics = _mosaics(job)
    gone = missing_files(mosaics)
    if gone and job.recipe.unreadable == "stop":
        raise MissingError(gone[0] + " Restore them, or leave their items out.")
    begun, told = time.monotonic(), price(mosaics, _threads(job))
    write_json(job.records.path("price", "cube"), {"estimated": told.facts(), "was": None})
    said = {name: checked_offsets(job, name, mosaic) for name, mosaic in mosaics.items()}
    series = [mosaic.steps for mosaic in mosaics.values() if not mosaic.source.sensor.static]
    steps = series[0] if series else ()
    bands = {name: list(mosaic.source.chosen) for name, mosaic in mosaics.items()}
    coords = cube_coords(job.grid, steps, bands)
    title = "; ".join(source.sensor.title or name for name, source in job.recipe.sources.items())
    variables = [v for name, mosaic in mosaics.items() for v in _variables(job, name, mosaic, said)]
    for name in mosaics:
        if not (job.cube_path / name / "zarr.json").exists():
            job.records.forget_units("cube", f"{name}.")  # removed by hand: none of it counts
    job.store.create(variables, coords, attrs={"title": title})

    blocks = [block for name, mosaic in mosaics.items() for block in _blocks(job, name, mosaic)]
    _write(job, blocks)
    left_out = {name: _left_out(job, mosaic) for name, mosaic in mosaics.items()}
    listed = {name: {"items_left_out": _listed(found)} for name, found in left_out.items() if found}
    finished = [replace(v, attrs={**v.attrs, **listed.get(v.name, {})}) for v in variables]
    job.store.commit(finished, coords, attrs={"title": title})
    layers = [Layer(block.part, block.digest, block.names, block.steps) for block in blocks]
    write_overviews(job, layers, finished, steps, bands)
    return {
        "sources": {name: _facts(job, name, mosaic) for name, mosaic in mosaics.items()},
        "tiles": len(job.grid.tiles),
        "price": _paid(job, told, mosaics, begun),
        "left_out": {item: n for found in left_out.values() for item, n in found.items()},
        "pixels": int(np.prod(job.grid.shape)),
    }


def _write(job: Job, blocks: Sequence[_Block]) -> None:
    """Every tile of every block."""
    of_part = {block.part: block for block in blocks}

    def work(unit: Unit) -> CubeWork:
        block = of_part[unit.part]
        # with its own granules only: a task must not grow with the area
        return CubeWork(block.source, block.mosaic.within(unit.tile.y, unit.tile.x))

    units = [
        Unit(tile, block.digest, block.part, block.steps)
        for block in blocks
        for tile in job.grid.tiles
    ]
    job.write_tiles("cube", work, units)


@dataclass(frozen=True)
class CubeWork:
    """Reads, masks and composites one tile of one source."""

    name: str
    mosaic: Mosaic

    def __call__(self, tile: Tile, last: bool) -> Pixels:
        """All steps and bands of a tile."""
        mosaic = replace(self.mosaic, waits=not last)
        every = (range(len(mosaic.steps)), range(len(mosaic.source.chosen)))
        with counted() as counts:
            values, count, left_out = mosaic.read_listing(*every, tile.y, tile.x)
        if mosaic.source.sensor.static:
            values, count = values[0], count[0]
        found = {self.name: values}
        if mosaic.counted:
            found[f"{self.name}_clear"] = count
        read = {"windows": counts.opens, "decoded_bytes": counts.decoded_bytes}
        return Pixels(found, tuple(asdict(one) for one in left_out), read)


def _source_inputs(job: Job, name: str) -> dict[str, Any]:
    composite = job.recipe.composite_of(name).result()
    return {**job.recipe.sources[name].result(), "composite": composite}


def _mosaics(job: Job) -> dict[str, Mosaic]:
    recipe = job.recipe
    return {
        name: make_mosaic(
            job.items[name].items, source, job.grid, recipe.period,
            composite=recipe.composite_of(name), storage=recipe.storage,
            unreadable=recipe.unreadable,
        )
        for name, source in recipe.sources.items()
    }  # fmt: skip


def _digest(job: Job, name: str) -> str:
    """Of a source's variables; the same however long the cube is and whatever else is in it."""
    recipe = job.recipe
    static = recipe.sources[name].sensor.static or recipe.period is None
    steps = () if static or recipe.period is None else recipe.period.steps[:1]
    return digest(
        [
            _source_inputs(job, name), recipe.grid.result(), recipe.store.result(),
            [step.name for step in steps], recipe.period.step if steps and recipe.period else None,
        ]
    )  # fmt: skip


def _variables(
    job: Job, name: str, mosaic: Mosaic, offsets: Mapping[str, Mapping[str, str]]
) -> list[Variable]:
    """A source's values, and the count of its clear observations."""
    sensor, rows_cols = mosaic.source.sensor, job.grid.shape
    dims, lead = ((), ()) if sensor.static else (("time",), (len(mosaic.steps),))
    made_by = _digest(job, name)
    values = Variable(
        name,
        (*dims, f"{name}_band", "y", "x"),
        (*lead, len(mosaic.source.chosen), *rows_cols),
        sensor.dtype,
        sensor.nodata,
        {**band_attrs(sensor, mosaic.composite), **offsets[name]},
        made_by,
    )
    clear = Variable(
        f"{name}_clear",
        (*dims, "y", "x"),
        (*lead, *rows_cols),
        "uint8",
        CLEAR_FILL,
        CLEAR_ATTRS,
        made_by,
    )
    return [values, clear] if mosaic.counted else [values]


@dataclass(frozen=True)
class _Block:
    """One source and the time steps that one shard spans."""

    source: str
    mosaic: Mosaic
    """Of these steps."""
    digest: str
    part: str
    """A block that becomes longer is another part."""
    steps: slice | None

    @property
    def names(self) -> tuple[str, ...]:
        """Of its variables."""
        return (self.source, f"{self.source}_clear") if self.mosaic.counted else (self.source,)


def _blocks(job: Job, name: str, mosaic: Mosaic) -> list[_Block]:
    """A source cut into what is written together; all of one that has no time axis."""
    made_by = _digest(job, name)
    if mosaic.source.sensor.static:
        return [_Block(name, mosaic, made_by, name, None)]
    n, length = len(mosaic.steps), job.recipe.store.steps
    blocks = []
    for start in range(0, n, length):
        steps = slice(start, min(start + length, n))
        part = f"{name}.{mosaic.steps[start].name}.{mosaic.steps[steps.stop - 1].name}"
        blocks.append(_Block(name, mosaic.during(steps), made_by, part, steps))
    return blocks


def _facts(job: Job, name: str, mosaic: Mosaic) -> dict[str, Any]:
    """What became of a source."""
    facts: dict[str, Any] = {
        "items": sum(1 for _ in mosaic.granules),
        "days": sum(len(scenes) for scenes in mosaic.scenes.values()),
    }
    if mosaic.counted and not mosaic.source.sensor.static:
        clear = open_cube(job.cube_path, job.recipe.storage)[f"{name}_clear"]
        seen = (clear > 0).any(("y", "x")).values
        pairs = zip(mosaic.steps, seen, strict=True)
        facts["unseen_steps"] = [step.name for step, any_ in pairs if not any_]
    return facts


def _threads(job: Job) -> int:
    """That work on tiles in one process."""
    return job.threads if job.recipe.cluster.where == THREADS else 1


_VARYING = ("seconds", "worker_bytes")
"""What differs from run to run, and so has no place among a step's facts."""


def _paid(
    job: Job, told: Price, mosaics: Mapping[str, Mosaic], begun: float
) -> dict[str, dict[str, Any]]:
    """The price beside what was; with time and memory in a record of its own."""
    arrays = [v for name, m in mosaics.items() for v in (name, *[f"{name}_clear"] * m.counted)]
    sizes = [size for array in arrays for size in _objects(job.cube_path / array)]
    was = {**_read(job), "objects": len(sizes), "stored_bytes": sum(sizes)}
    estimated = told.facts()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    varying = {
        "seconds": round(time.monotonic() - begun, 1),
        "worker_bytes": peak if job.recipe.cluster.where == THREADS else None,
    }
    write_json(
        job.records.path("price", "cube"), {"estimated": estimated, "was": {**was, **varying}}
    )
    lasting = {key: value for key, value in estimated.items() if key not in _VARYING}
    return {"estimated": lasting, "was": was}


def _objects(folder: Place) -> list[int]:
    """Bytes of each object of an array but its metadata."""
    if isinstance(folder, Path):
        return [f.stat().st_size for f in folder.rglob("c/**/*") if f.is_file()]
    found = folder.fs.find(folder.path, detail=True)
    return [said["size"] for path, said in found.items() if not path.endswith("zarr.json")]


def _read(job: Job) -> dict[str, int]:
    """What was read for all tiles, whenever they were made."""
    folder = job.records.tiles("cube")
    total = {"tasks": 0, "windows": 0, "decoded_bytes": 0}
    with ThreadPoolExecutor(job.recipe.storage.requests) as pool:
        for record in pool.map(lambda name: read_json(folder / name), names(folder)):
            total["tasks"] += 1
            for key, n in record.get("read", {}).items():
                total[key] += n
    return total


def _left_out(job: Job, mosaic: Mosaic) -> dict[str, int]:
    """Items of a source that tiles were made without, and how many tiles."""
    tiles: dict[str, int] = {}
    ids = {granule.id for granule in mosaic.granules}
    for path in below(job.records.left_out("cube"), ".json"):
        if not read_json(job.records.tiles("cube") / path.name)["left_out"]:
            continue  # of an attempt that was interrupted; the next one could read all
        for item in sorted({one["item"] for one in read_json(path)} & ids):
            tiles[item] = tiles.get(item, 0) + 1
    return tiles


def _listed(tiles: Mapping[str, int]) -> str:
    some = [f"{item} ({n} tile{'s' * (n > 1)})" for item, n in sorted(tiles.items())]
    more = [f"and {len(some) - _LISTED} more"] if len(some) > _LISTED else []
    return "; ".join([*some[:_LISTED], *more])


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    arrays = [job.cube_path / name / "zarr.json" for name in job.recipe.sources]
    pins = [job.pin_path(name) for name in job.recipe.sources]
    return [*pins, job.cube_path / "zarr.json", *arrays]


def discard(job: Job) -> None:
    """Remove all of the cube, labels and map included: they lie on its grid."""
    job.records.forget(["items", "labels", "predict"])
    remove(job.cube_path)
    remove(job.out / "items")
