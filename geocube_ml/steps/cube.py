"""Step `cube`: items become composites in a Zarr group, a source and some time steps at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from geocube_ml.cube.mosaic import Mosaic, make_mosaic
from geocube_ml.errors import MissingError
from geocube_ml.files import Place, below, read_json, write_json
from geocube_ml.files import discard as remove
from geocube_ml.grid import Tile
from geocube_ml.price.plan import missing_files
from geocube_ml.raster import counted
from geocube_ml.spec.base import digest
from geocube_ml.spec.period import PeriodSpec, TimeStep
from geocube_ml.steps.account import Tally, forget_peak, paid, tally
from geocube_ml.steps.items import reaches_further
from geocube_ml.steps.job import Job
from geocube_ml.steps.left import Block, layers_of, left_of, priced
from geocube_ml.steps.nodata import checked_nodata
from geocube_ml.steps.overviews import write_overviews
from geocube_ml.steps.radiometry import checked_offsets
from geocube_ml.steps.tiles import Pixels, Unit
from geocube_ml.store.coords import CLEAR_ATTRS, CLEAR_FILL, band_attrs, cube_coords
from geocube_ml.store.cube import Variable

_LISTED = 20  # items that are left out, by name, in an attribute


def inputs(job: Job) -> dict[str, Any]:
    """What decides the cube."""
    recipe = job.recipe
    return {
        "sources": {name: _source_inputs(job, name) for name in recipe.sources},
        "grid": job.grid_result(),
        "period": recipe.period.result() if recipe.period else None,
        "store": recipe.store.result(),
        "items": {name: found.digest for name, found in job.items.items()},
    }


def grows(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a cube becomes longer, or gets another source, and what is there stays."""
    same = before["grid"] == now["grid"] and before["store"] == now["store"]
    # digests, as a nodata may be NaN, which is not equal to itself
    kept = all(
        digest(now["sources"].get(n)) == digest(made) for n, made in before["sources"].items()
    )
    if _steps(before["period"]) == _steps(now["period"]):
        kept &= all(now["items"].get(name) == found for name, found in before["items"].items())
    return same and kept and reaches_further(before["period"], now["period"])


def _steps(period: Mapping[str, Any] | None) -> tuple[TimeStep, ...]:
    return PeriodSpec.model_validate(period).steps if period else ()


def plan(job: Job) -> list[str]:
    """What the step would do, of what is not done yet."""
    mosaics = _mosaics(job)
    told = priced(job, mosaics, left_of(job, _all_blocks(job, mosaics)))
    return [*told.lines(), *missing_files(mosaics)]


def run(job: Job) -> dict[str, Any]:
    """Write what is not written yet."""
    mosaics = _mosaics(job)
    gone = missing_files(mosaics)
    if gone and job.recipe.unreadable == "stop":
        raise MissingError(gone[0] + " Restore them, or leave their items out.")
    forget_peak()
    begun = time.monotonic()
    for name in mosaics:
        if not (job.cube_path / name / "zarr.json").exists():
            job.records.forget_units("cube", f"{name}.")  # removed by hand: none of it counts
    to_do = left_of(job, _all_blocks(job, mosaics))
    told = priced(job, mosaics, to_do)
    write_json(job.records.path("price", "cube"), {"estimated": told.facts(), "was": None})
    said = {
        name: checked_offsets(job, name, mosaic)
        | checked_nodata(job, name, mosaic, told.sources[name].samples)
        for name, mosaic in mosaics.items()
    }
    series = [mosaic.steps for mosaic in mosaics.values() if not mosaic.source.sensor.static]
    steps = series[0] if series else ()
    bands = {name: list(mosaic.source.chosen) for name, mosaic in mosaics.items()}
    coords = cube_coords(job.grid, steps, bands)
    title = "; ".join(source.sensor.title or name for name, source in job.recipe.sources.items())
    variables = [v for name, mosaic in mosaics.items() for v in _variables(job, name, mosaic, said)]
    job.store.create(variables, coords, attrs={"title": title})

    blocks, units = to_do.blocks, to_do.units
    job.records.make("cube")
    _write(job, blocks, units)
    left_out = {name: _left_out(job, mosaic) for name, mosaic in mosaics.items()}
    listed = {name: {"items_left_out": _listed(found)} for name, found in left_out.items() if found}
    finished = [replace(v, attrs={**v.attrs, **listed.get(v.name, {})}) for v in variables]
    job.store.commit(finished, coords, attrs={"title": title})
    write_overviews(job, layers_of(blocks), finished, steps, bands)
    total, made = tally(job, units, {unit.name for unit in to_do.left})
    paid(job, told, made, to_do.shards(job.recipe.store), begun)
    mine = {name: [block for block in blocks if block.source == name] for name in mosaics}
    return {
        "sources": {name: _facts(mine[name], mosaic, total) for name, mosaic in mosaics.items()},
        "tiles": len(job.grid.tiles),
        "left_out": {item: n for found in left_out.values() for item, n in found.items()},
        "pixels": int(np.prod(job.grid.shape)),
    }


def _write(job: Job, blocks: Sequence[Block], units: Sequence[Unit]) -> None:
    """Every tile of every block."""
    of_part = {block.part: block for block in blocks}

    def work(unit: Unit) -> CubeWork:
        block = of_part[unit.part]
        # with its own granules only: a task must not grow with the area
        return CubeWork(block.source, block.mosaic.within(unit.tile.y, unit.tile.x))

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
        read: dict[str, Any] = {"windows": counts.opens, "decoded_bytes": counts.decoded_bytes}
        if mosaic.counted and not mosaic.source.sensor.static:
            read["seen"] = [int(step.any()) for step in count]
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
            _source_inputs(job, name), job.grid_result(), recipe.store.result(),
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
        {
            **band_attrs(sensor, mosaic.composite, mosaic.source.chosen),
            **offsets[name],
        },
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


def _all_blocks(job: Job, mosaics: Mapping[str, Mosaic]) -> list[Block]:
    return [block for name, mosaic in mosaics.items() for block in _blocks(job, name, mosaic)]


def _blocks(job: Job, name: str, mosaic: Mosaic) -> list[Block]:
    """A source cut into what is written together; all of one that has no time axis."""
    made_by = _digest(job, name)
    if mosaic.source.sensor.static:
        return [Block(name, mosaic, made_by, name, None)]
    n, length = len(mosaic.steps), job.recipe.store.steps
    blocks = []
    for start in range(0, n, length):
        steps = slice(start, min(start + length, n))
        part = f"{name}.{mosaic.steps[start].name}.{mosaic.steps[steps.stop - 1].name}"
        blocks.append(Block(name, mosaic.during(steps), made_by, part, steps))
    return blocks


def _facts(blocks: Sequence[Block], mosaic: Mosaic, total: Tally) -> dict[str, Any]:
    """What became of a source."""
    facts: dict[str, Any] = {
        "items": sum(1 for _ in mosaic.granules),
        "days": sum(len(scenes) for scenes in mosaic.scenes.values()),
    }
    if mosaic.counted and not mosaic.source.sensor.static:
        facts["unseen_steps"] = [
            step.name
            for block in blocks
            for step, seen in zip(block.mosaic.steps, total.seen[block.part], strict=True)
            if not seen
        ]
    return facts


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


def keeps(job: Job) -> bool:
    """Whether any of the cube is there, though not all: what is gone is found source by source."""
    arrays = (job.cube_path / name / "zarr.json" for name in job.recipe.sources)
    return (job.cube_path / "zarr.json").exists() and any(path.exists() for path in arrays)


def discard(job: Job) -> None:
    """Remove all of the cube, labels and map included: they lie on its grid."""
    job.records.forget(["items", "labels", "predict"])
    remove(job.cube_path)
    remove(job.out / "items")
