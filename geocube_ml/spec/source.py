"""Where observations come from."""

from __future__ import annotations

from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from geocube_ml.spec.base import EXECUTION, Location, Spec
from geocube_ml.spec.composite import CompositeSpec
from geocube_ml.spec.sensor import BandSpec, SensorSpec

_PLACES = ("catalog", "geoparquet", "stac_api", "files")


class ItemsSpec(Spec):
    """Where the STAC items are, or plain GeoTIFFs; exactly one of the four places."""

    catalog: Location | None = Field(None, json_schema_extra=EXECUTION)
    """A folder of item JSON, or a static ``catalog.json`` / ``collection.json``."""

    geoparquet: Location | None = Field(None, json_schema_extra=EXECUTION)
    """A GeoParquet of items (stac-geoparquet)."""

    stac_api: Location | None = Field(None, json_schema_extra=EXECUTION)
    """The root URL of a STAC API; one that asks for a password finds it in ``~/.netrc``."""

    files: Location | None = Field(None, json_schema_extra=EXECUTION)
    """A folder of plain GeoTIFFs, searched with its subfolders."""

    pattern: str = "{id}.tif"
    """Of `files`: how the path of a file below the folder is read.  ``{asset}`` is the key of the
    asset (``image`` where it is not in the pattern); ``{date:%Y%m%d}`` is the day of the item, or
    its time, as of `datetime.strptime`; ``{id}`` and any other ``{name}`` tell items apart, ``*``
    is anything, also folders.  Files that do not match are not looked at.  Such as
    ``{date:%Y%m%d}_{asset}.tif``, ``{asset}/{id}_{date:%Y-%m-%d}.tif``."""

    collections: tuple[str, ...] = ()
    """Only items of these collections; needed with `stac_api`."""

    max_cloud_cover: float = Field(100, ge=0, le=100)
    """Only items whose ``eo:cloud_cover`` is at most this percentage, or not given."""

    exclude: tuple[str, ...] = ()
    """Ids of items that are left out: damaged ones, or such as say what is not so."""

    filter: dict[str, Any] | None = None
    """A further condition in CQL2-JSON, with `stac_api` only: the API applies it."""

    page_size: int = Field(100, ge=1, le=10_000, json_schema_extra=EXECUTION)
    """Items that are asked for at a time with `stac_api`; fewer where the API answers 502."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = {p: v for p in _PLACES if (v := getattr(self, p))}
        if len(given) != 1:
            raise ValueError(
                "name one place to find items, `catalog`, `geoparquet`, `stac_api` or `files`; "
                f"got {', '.join(given) or 'none'}"
            )
        for place, url in given.items():
            if "://" in url and ("@" in urlsplit(url).netloc or urlsplit(url).query):
                raise ValueError(
                    f"`{place}` holds a name, key or query, which a recipe must not; leave them "
                    "out, a password goes into ~/.netrc"
                )
        if self.stac_api and not self.collections:
            raise ValueError("a search of `stac_api` needs `collections`; add at least one name")
        if self.files and (self.collections or self.max_cloud_cover < 100):
            raise ValueError(
                "plain `files` have no collections and no cloud cover; leave these conditions out"
            )
        if self.pattern != "{id}.tif" and not self.files:
            raise ValueError(
                f"`pattern` is of `files`, but the items come from `{next(iter(given))}`"
            )
        if self.filter is not None and not self.stac_api:
            raise ValueError(
                "`filter` is applied by a STAC API, but the items come from "
                f"`{next(iter(given))}`; leave it out, or name a `stac_api`"
            )
        return self


class SourceSpec(Spec):
    """One source of a recipe: a sensor, its items, and the bands that are wanted."""

    sensor: SensorSpec
    """A mapping, or the name of a YAML file beside the recipe."""

    items: ItemsSpec
    """Where its items are."""

    bands: tuple[str, ...] = ()
    """The bands to keep, in this order; all of the sensor's by default."""

    composite: CompositeSpec | None = None
    """How a step is made; by default the sensor's, or else the recipe's."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        every = self.sensor.every_band
        unknown = [band for band in self.bands if band not in every]
        if unknown:
            raise ValueError(
                f"the sensor has no band {', '.join(unknown)}; it has {', '.join(every)}"
            )
        if len(set(self.bands)) < len(self.bands):
            raise ValueError(f"each band may be named once, got {', '.join(self.bands)}")
        return self

    def result(self) -> dict[str, Any]:
        """The fields that decide the output; the bands as a list, whose order counts."""
        return super().result() | {"bands": list(self.chosen)}

    @property
    def chosen(self) -> dict[str, BandSpec]:
        """The bands of the cube, in their order."""
        every = self.sensor.every_band
        return {name: every[name] for name in self.bands or every}

    @property
    def assets(self) -> tuple[str, ...]:
        """Keys of all assets that are read, each once: the bands', then the masks'."""
        keys = [band.asset for band in self.chosen.values()]
        keys += [mask.asset for mask in self.sensor.mask]
        return tuple(dict.fromkeys(keys))
