"""Before a cube is written: what the items say of their offsets, held against their pixels."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from geocube_ml.cube.mosaic import Mosaic
from geocube_ml.cube.radiometry import Evidence, examine, refuse_contradictions, summary
from geocube_ml.cube.scenes import Granule
from geocube_ml.files import read_json, write_json
from geocube_ml.spec.source import SourceSpec
from geocube_ml.spec.storage import StorageSpec
from geocube_ml.steps.job import Job


@dataclass(frozen=True)
class _Examine:
    """Looks at one granule's pixels; sent to workers."""

    source: SourceSpec
    storage: StorageSpec

    def __call__(self, granule: Granule, attempt: int) -> Evidence:  # noqa: ARG002
        return examine(granule.id, granule.hrefs, self.source, granule.offset, self.storage)


def checked_offsets(job: Job, name: str, mosaic: Mosaic) -> dict[str, str]:
    """Attributes that say what was taken off a source's counts, and how that is known.

    Each item is looked at once; what was found stays with the run.  An item that cannot be read
    is no contradiction: its tiles will say so.

    Raises
    ------
    InputError
        The pixels of items contradict what their metadata say.
    """
    if mosaic.source.sensor.offset == "none":
        return {}
    path = job.records.path("cube", f"offsets_{name}")
    known: dict[str, Any] = read_json(path) if path.exists() else {}
    found = {item: Evidence(**said) for item, said in known.items()}
    granules = {granule.id: granule for granule in mosaic.granules}
    new = [granule for item, granule in granules.items() if item not in found]

    def keep(granule: Granule, evidence: Evidence) -> None:
        job.check_lease()
        found[granule.id] = evidence

    if new:
        job.workers.each(
            _Examine(mosaic.source, job.recipe.storage), new,
            name=lambda granule: granule.id, total=len(new), done=keep,
        )  # fmt: skip
        write_json(path, {item: asdict(found[item]) for item in sorted(found)})
    evidences = [found[item] for item in sorted(granules) if item in found]
    refuse_contradictions(evidences)
    return {"offset_removed": summary(evidences)}
