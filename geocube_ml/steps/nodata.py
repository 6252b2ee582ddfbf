"""Before a cube is written: whether files and sensor mean the same value by nodata."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from geocube_ml.cube.mosaic import Mosaic
from geocube_ml.cube.scenes import Granule
from geocube_ml.errors import GeocubeError, InputError, listed
from geocube_ml.files import read_json, write_json
from geocube_ml.price.sampled import Samples
from geocube_ml.raster import read_overview
from geocube_ml.raster.nodata import refuse_rivals, rivals
from geocube_ml.spec.base import digest
from geocube_ml.spec.storage import StorageSpec
from geocube_ml.steps.job import Job

_EDGE = 400  # pixels of a look
_MOST = 4  # bands of an asset, and assets, that are looked at

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Look:
    """Bands of one raster, to be held against a nodata that it may not state."""

    item: str
    asset: str
    href: str
    bands: tuple[int, ...]


@dataclass(frozen=True)
class _Examine:
    """Looks at a raster coarsely; sent to workers."""

    nodata: float
    storage: StorageSpec

    def __call__(self, look: _Look, attempt: int) -> str:  # noqa: ARG002
        """Why it cannot be used; empty if nothing is found."""
        for band in look.bands:
            try:
                values, stated = read_overview(look.href, _EDGE, [band], self.storage)
            except GeocubeError:
                return ""  # its tiles will say so
            if stated is None or not rivals(values.dtype, stated, self.nodata):
                continue
            try:
                refuse_rivals(values, stated, self.nodata, look.href)
            except InputError as error:
                return f"Item {look.item}, asset {look.asset}, at a coarse look: {error}"
        return ""


def checked_nodata(job: Job, name: str, mosaic: Mosaic, samples: Samples) -> dict[str, str]:
    """Attributes that say which nodata a source's files state, where the sensor says another.

    The files' own counts; that is said once, and what was found stays with the run.  Where they
    hold data of the sensor's value, each tile refuses them; here some of them are looked at, so
    that this is not found after hours.

    Parameters
    ----------
    job : Job
    name : str
        Of the source.
    mosaic : Mosaic
    samples : Samples
        Headers of some of its items.

    Returns
    -------
    dict
        ``files_nodata``, or nothing where they agree.

    Raises
    ------
    InputError
        Files hold data of the value that the sensor calls nodata.
    """
    path = job.records.path("cube", f"nodata_{name}")
    # more items, or another nodata, are looked at anew
    looked = digest([job.items[name].digest, mosaic.source.result()])
    known: dict[str, Any] = read_json(path) if path.exists() else {}
    if known.get("of") == looked:
        # of a run before: a cube says the same, however often it was interrupted
        return dict(known["said"])
    found = _found(job, name, mosaic, samples)
    if samples.headers:
        write_json(path, {"of": looked, "said": found})
    return found


def _found(job: Job, name: str, mosaic: Mosaic, samples: Samples) -> dict[str, str]:
    nodata = mosaic.source.sensor.nodata
    stated, doubtful = _stated(mosaic, samples)
    if not stated:
        return {}
    looks = list(_looks(mosaic, samples, doubtful))
    found: list[str] = []
    if looks:
        job.workers.each(
            _Examine(nodata, job.recipe.storage), looks,
            name=lambda look: f"{look.item} {look.asset}", total=len(looks),
            done=lambda _, wrong: found.append(wrong),
        )  # fmt: skip
    if wrong := sorted(filter(None, found)):
        raise InputError(wrong[0])
    said = "; ".join(
        f"{value} ({'bands' if len(bands) > 1 else 'band'} {listed(bands)})"
        for value, bands in stated.items()
    )
    _log.warning(
        "%s: the files state the nodata %s, the sensor says %g. The files' own counts, and is "
        "stored as %g; correct `nodata` in the sensor if that is not meant.",
        name, said, nodata, nodata,
    )  # fmt: skip
    return {"files_nodata": f"{said}, stored as {nodata:g}"}


def _stated(
    mosaic: Mosaic, samples: Samples
) -> tuple[dict[str, list[str]], dict[str, tuple[int, ...]]]:
    """Each nodata that files state besides the sensor's with its bands, in order; and the bands
    of the assets that may hold the sensor's as data.
    """
    nodata = mosaic.source.sensor.nodata
    found: dict[str, list[str]] = defaultdict(list)
    doubtful: dict[str, list[int]] = defaultdict(list)
    for name, band in mosaic.source.chosen.items():
        for header in samples.headers.get(band.asset, ()):
            said = header.nodata[band.band - 1] if band.band <= header.count else None
            if said is None or _same(said, nodata, header.dtype):
                continue
            if name not in found[text := f"{said:g}"]:
                found[text].append(name)
            if rivals(header.dtype, said, nodata) and band.band not in doubtful[band.asset]:
                doubtful[band.asset].append(band.band)
    return dict(found), {asset: tuple(bands[:_MOST]) for asset, bands in doubtful.items() if bands}


def _same(said: float, nodata: float, kind: np.dtype[np.generic]) -> bool:
    """Whether both are one value, be it after rounding to the raster's floats."""
    if np.isnan(said) or np.isnan(nodata):
        return bool(np.isnan(said) and np.isnan(nodata))
    return said == nodata or (kind.kind == "f" and kind.type(said) == kind.type(nodata))


def _looks(
    mosaic: Mosaic, samples: Samples, doubtful: Mapping[str, tuple[int, ...]]
) -> Iterator[_Look]:
    """One granule of each day of which headers were read."""
    firsts: dict[str, Granule] = {}
    for scenes in mosaic.scenes.values():
        for scene in scenes:
            if scene.day in samples.days:
                firsts.setdefault(scene.day, scene.granules[0])
    for asset, bands in list(doubtful.items())[:_MOST]:
        for granule in firsts.values():
            yield _Look(granule.id, asset, granule.hrefs[asset], bands)
