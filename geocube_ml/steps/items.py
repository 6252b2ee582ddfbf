"""The items of a source: searched for once, and pinned; more are searched for as a cube grows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pystac
from odc.geo.geom import Geometry

from geocube_ml.errors import NoItemsError
from geocube_ml.files import content_digest, discard, read_json, write_json
from geocube_ml.items.catalog import find_items, items_digest, pin_items, read_items
from geocube_ml.items.item import solar_day
from geocube_ml.items.pin import PinnedItems, whole_items
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.source import SourceSpec

if TYPE_CHECKING:
    from geocube_ml.steps.job import Job


@dataclass(frozen=True)
class Found:
    """The items of a source."""

    items: Iterable[pystac.Item]
    """May be gone through several times; each time they may be read anew."""
    digest: str
    """Over what they say."""


def pinned(job: Job, name: str, area: Geometry | None) -> Found:
    """The items of a source, from the pin; searched for and pinned first if they are not yet.

    Where the period reaches further than that of the pin, only items of the days that were added
    are searched for: those that are pinned stay as they are.

    Parameters
    ----------
    job : Job
    name : str
        Of the source.
    area : Geometry in EPSG:4326, or None
        Of the grid; None where the items decide it.

    Raises
    ------
    StaleTarget
        The pinned items were searched for with other conditions.
    """
    source, records, path = job.recipe.sources[name], job.records, job.pin_path(name)
    period = None if source.sensor.static else job.recipe.period
    wanted = _wanted(job, source)
    where = source.items.model_dump(mode="json", exclude={"page_size"})
    step = f"items/{name}"
    cube = records.begun("cube")
    fresh = cube is None or name not in cube["sources"]
    begun, known = records.path(step, "begun"), records.path(step, "place")
    # the place is written last: without it no pin counts
    there = path.exists() and known.exists() and read_json(known) == where
    before = records.begun(step) if there else None
    if before is not None and fresh and not longer(before, wanted):
        before = None  # nothing was made of them: a recipe that was corrected searches anew
    if before == wanted:
        return _kept(job, name)
    shorter = before is not None and cube is not None and _back(before, wanted, cube["period"])
    if not fresh and not shorter:
        records.check(step, wanted, longer)
    if before is None or period is None:
        found = find_items(source, period, area, job.recipe.storage, leave_out=_leaves_out(job))
    elif shorter:
        found = _first(read_items(path), before["period"], period)
    else:
        found = [*read_items(path), *_added(job, source, before["period"], area)]
    digest = items_digest(found)
    if job.dry:
        return Found(found, digest)
    if shorter or (fresh and before is None):  # of a recipe that was refused: it counts no more
        discard(known)
        discard(begun)
    pin_items(found, path)
    write_json(records.path(step, "digest"), {"items": digest, "file": content_digest([path])})
    records.begin(step, wanted, longer)
    write_json(known, where)
    return _kept(job, name)


def _leaves_out(job: Job) -> bool:
    return job.recipe.unreadable == "leave-out"


def _kept(job: Job, name: str) -> Found:
    """The items of a pin.  Their digest takes minutes for a country, so it is kept beside the
    digest of the file: a pin that was changed by hand has another.
    """
    path, where = job.pin_path(name), job.records.path(f"items/{name}", "digest")
    file = content_digest([path])
    said = read_json(where) if where.exists() else {}
    if said.get("file") != file:
        said = {"items": items_digest(whole_items(path)), "file": file}
        if not job.dry:
            write_json(where, said)
    return Found(PinnedItems(path, job.recipe.sources[name].assets), said["items"])


def longer(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether only the period differs, and now reaches further with the same steps before.

    A layer that becomes a series is none: its items were searched for without a period.
    """
    rest = [{k: v for k, v in inputs.items() if k != "period"} for inputs in (before, now)]
    series = (before["period"] is None) == (now["period"] is None)
    return series and rest[0] == rest[1] and reaches_further(before["period"], now["period"])


def _back(
    before: Mapping[str, Any], now: Mapping[str, Any], cube: Mapping[str, Any] | None
) -> bool:
    """Whether a pin reaches further than is asked for, with days of which no cube was begun."""
    period = now["period"]
    return period is not None and longer(now, before) and reaches_further(cube, period)


def _first(
    items: Iterable[pystac.Item], before: Mapping[str, Any], period: PeriodSpec
) -> list[pystac.Item]:
    """Those that were pinned before a period became longer."""
    more = PeriodSpec.model_validate(before).steps[len(period.steps) :]
    if not more:
        return list(items)
    end = more[0].start.isoformat()
    return [item for item in items if solar_day(item) < end]


def reaches_further(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> bool:
    """Whether a period begins with all steps of another, or is the first there is."""
    if before is None or now is None:
        return before is None
    old, new = (PeriodSpec.model_validate(period).steps for period in (before, now))
    return new[: len(old)] == old


def _wanted(job: Job, source: SourceSpec) -> dict[str, Any]:
    """What decides which items are found."""
    recipe = job.recipe
    static = source.sensor.static or recipe.period is None
    return {
        "items": source.items.result(),
        "simulate": recipe.simulate.result() if recipe.simulate else None,
        "assets": list(source.assets),
        "period": None if static or recipe.period is None else recipe.period.result(),
        "grid": job.grid_result(),
    }


def _added(
    job: Job, source: SourceSpec, before: Mapping[str, Any], area: Geometry | None
) -> list[pystac.Item]:
    """Items of the steps that come after those of a period."""
    period = job.recipe.period
    assert period is not None  # noqa: S101  the source has a time axis
    old = PeriodSpec.model_validate(before).steps
    new = period.steps[len(old) :]
    if not new:
        return []
    rest = period.model_copy(update={"start": new[0].start.isoformat()})
    try:
        return find_items(source, rest, area, job.recipe.storage, leave_out=_leaves_out(job))
    except NoItemsError:  # steps without an item are missing steps, as within a period
        return []
