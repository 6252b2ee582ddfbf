"""Where observations come from, and what their assets mean."""

from __future__ import annotations

from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from geocube_ml.spec.base import EXECUTION, Location, Spec

Resampling = Literal["nearest", "bilinear", "cubic", "average", "mode"]
DType = Literal["uint8", "uint16", "int16", "float32"]

_RANGES = {"uint8": (0, 255), "uint16": (0, 65_535), "int16": (-32_768, 32_767)}


class ItemsSpec(Spec):
    """Where the STAC items are; exactly one of the three places."""

    catalog: Location | None = Field(None, json_schema_extra=EXECUTION)
    """A folder of item JSON, or a static ``catalog.json`` / ``collection.json``."""

    geoparquet: Location | None = Field(None, json_schema_extra=EXECUTION)
    """A GeoParquet of items (stac-geoparquet)."""

    stac_api: Location | None = Field(None, json_schema_extra=EXECUTION)
    """The root URL of a STAC API; one that asks for a password finds it in ``~/.netrc``."""

    collections: tuple[str, ...] = ()
    """Only items of these collections; needed with `stac_api`."""

    max_cloud_cover: float = Field(100, ge=0, le=100)
    """Only items whose ``eo:cloud_cover`` is at most this percentage, or not given."""

    filter: dict[str, Any] | None = None
    """A further condition in CQL2-JSON, with `stac_api` only: the API applies it."""

    page_size: int = Field(100, ge=1, le=10_000, json_schema_extra=EXECUTION)
    """Items that are asked for at a time with `stac_api`; fewer where the API answers 502."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = {p: v for p in ("catalog", "geoparquet", "stac_api") if (v := getattr(self, p))}
        if len(given) != 1:
            raise ValueError(
                "name one place to find items, `catalog`, `geoparquet` or `stac_api`; "
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
        if self.filter is not None and not self.stac_api:
            raise ValueError(
                "`filter` is applied by a STAC API, but the items come from "
                f"`{next(iter(given))}`; leave it out, or name a `stac_api`"
            )
        return self


class BandSpec(Spec):
    """One band of the cube and the asset that it is read from."""

    asset: str
    """Key of the asset in each item."""

    resampling: Resampling = "bilinear"
    """Where the asset's pixels are as large as the grid's, or larger."""

    coarsening: Resampling = "average"
    """Where the asset's pixels are smaller than the grid's."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"asset": value} if isinstance(value, str) else value


class MaskSpec(Spec):
    """Which observations count, by the classes of a mask asset."""

    asset: str
    """Key of the asset: SCL, a cloud mask.  Always read with nearest resampling."""

    clear: tuple[int, ...] = Field(min_length=1)
    """Values that count as clear; everything else, and nodata, does not."""


class SensorSpec(Spec):
    """What the assets of a collection mean; a file in ``catalogs/sources``."""

    title: str = ""
    """For people."""

    bands: dict[str, BandSpec] = Field(min_length=1)
    """Band name (the field's usual term) to asset."""

    mask: MaskSpec | None = None
    """How clouds are told apart; without it every observation with data counts."""

    dtype: DType = "uint16"
    """Of the pixels, in the assets and in the cube."""

    nodata: float = 0
    """Value of a pixel without an observation, in the assets and in the cube."""

    scale: float = 1.0
    """Physical value of one count."""

    units: str = "1"
    """Of the physical value; ``1`` for reflectance and indices."""

    offset: Literal["none", "sentinel-2-boa"] = "none"
    """``sentinel-2-boa``: counts of baseline 04.00 and later are brought down by 1000, an item
    at a time, where its metadata say that this was not done yet."""

    @field_validator("bands")
    @classmethod
    def _names(cls, bands: dict[str, BandSpec]) -> dict[str, BandSpec]:
        odd = [name for name in bands if not name.isidentifier()]
        if odd:
            raise ValueError(f"band names must be identifiers (blue, nir, rededge1), got {odd}")
        return bands

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.dtype in _RANGES:
            low, high = _RANGES[self.dtype]
            if not (float(self.nodata).is_integer() and low <= self.nodata <= high):
                raise ValueError(
                    f"{self.dtype} cannot hold the nodata {self.nodata:g}; take a whole number "
                    f"from {low} to {high}, or another dtype"
                )
        elif self.offset != "none":
            raise ValueError(
                f"`offset: {self.offset}` is of whole counts, but the dtype is {self.dtype}; "
                "take uint16 or int16, or `offset: none`"
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

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = [band for band in self.bands if band not in self.sensor.bands]
        if unknown:
            raise ValueError(
                f"the sensor has no band {', '.join(unknown)}; "
                f"it has {', '.join(self.sensor.bands)}"
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
        names = self.bands or tuple(self.sensor.bands)
        return {name: self.sensor.bands[name] for name in names}

    @property
    def assets(self) -> tuple[str, ...]:
        """Keys of all assets that are read, each once: the bands', then the mask's."""
        keys = [band.asset for band in self.chosen.values()]
        if self.sensor.mask:
            keys.append(self.sensor.mask.asset)
        return tuple(dict.fromkeys(keys))
