"""What the assets of a collection mean: a file in ``catalogs/sources``."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from geocube_ml.spec.base import Spec
from geocube_ml.spec.composite import CompositeSpec

Resampling = Literal["nearest", "bilinear", "cubic", "average", "mode"]
DType = Literal["uint8", "int8", "uint16", "int16", "float32"]
Terrain = Literal["slope", "aspect", "northness", "eastness"]

_RANGES = {
    "uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65_535), "int16": (-32_768, 32_767),
}  # fmt: skip


class BandSpec(Spec):
    """One band of the cube and where it is read from."""

    asset: str
    """Key of the asset in each item."""

    band: int = Field(1, ge=1)
    """Number of the band within the asset's raster."""

    resampling: Resampling = "bilinear"
    """Where the asset's pixels are as large as the grid's, or larger."""

    coarsening: Resampling = "average"
    """Where the asset's pixels are smaller than the grid's."""

    derive: Terrain | None = None
    """What is made of the asset, which holds elevations in metres.  ``slope`` in degrees;
    ``aspect`` in degrees clockwise from north, nodata where it is flat; ``northness`` and
    ``eastness``: cosine and sine of the aspect, times the slope's sine; no jump at north."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"asset": value} if isinstance(value, str) else value


class BandRangeSpec(Spec):
    """Many bands of one asset: a hyperspectral image."""

    asset: str
    """Key of the asset in each item."""

    last: int = Field(ge=1)
    """Number of the last band within the asset's raster."""

    first: int = Field(1, ge=1)
    """Number of the first band."""

    name: str = "b{:03d}"
    """Name of a band, with its number."""

    resampling: Resampling = "bilinear"
    """As of a band."""

    coarsening: Resampling = "average"
    """As of a band."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.first > self.last:
            raise ValueError(f"the first band, {self.first}, comes after the last, {self.last}")
        try:
            names = {self.name.format(n) for n in (1, 2)}
        except (IndexError, KeyError, ValueError) as error:
            raise ValueError(
                f"`name` is a text with a place for the number, such as b{{:03d}}; got "
                f"{self.name!r} ({error})"
            ) from None
        if len(names) < 2:
            raise ValueError(f"`name` has no place for the number ({{:03d}}), got {self.name!r}")
        return self

    def bands(self) -> dict[str, BandSpec]:
        """Each band by its name."""
        shared = {"resampling": self.resampling, "coarsening": self.coarsening}
        return {
            self.name.format(n): BandSpec(asset=self.asset, band=n, **shared)
            for n in range(self.first, self.last + 1)
        }


class BitFieldSpec(Spec):
    """Some bits of a quality band that are read as one number."""

    first: int = Field(ge=0, le=63)
    """Position of the lowest bit, from 0."""

    width: int = Field(1, ge=1, le=16)
    """How many bits."""

    clear: tuple[int, ...] = Field(min_length=1)
    """Values of the field that count as clear."""


class MaskSpec(Spec):
    """Which observations count, by one mask asset; exactly one rule.

    What is observed and not clear is `shrink`-ed and then `grow`-n, by pixels of the grid.
    """

    asset: str
    """Key of the asset.  Always read with nearest resampling."""

    band: int = Field(1, ge=1)
    """Number of the band within the asset's raster."""

    clear: tuple[int, ...] = ()
    """Classes that count as clear (SCL, a cloud mask); everything else does not."""

    bits: tuple[int, ...] = ()
    """Bits of a quality band (Landsat's QA_PIXEL) that must all be 0, from 0."""

    fields: tuple[BitFieldSpec, ...] = ()
    """Groups of bits that must all have one of some values (confidences)."""

    at_most: float | None = None
    """Clear up to this value, included (a cloud probability)."""

    at_least: float | None = None
    """Clear from this value on, included (a score of quality)."""

    nodata: float | None = None
    """Value of the mask where nothing was observed: not clear, and not grown.  None: there is no
    such value.  Of classes 0 by default, unless that is clear."""

    shrink: int = Field(0, ge=0, le=100)
    """Take so many pixels off the edge of what is not clear: specks of up to twice this vanish."""

    grow: int = Field(0, ge=0, le=100)
    """Then add so many pixels: the rims of clouds."""

    @model_validator(mode="before")
    @classmethod
    def _usual_nodata(cls, values: Any) -> Any:
        if isinstance(values, dict) and "nodata" not in values and values.get("clear"):
            if values.get("grow") or values.get("shrink"):
                raise ValueError(
                    "to grow or shrink what is not clear, say which value of the mask means that "
                    "nothing was observed: `nodata: 0` (as of SCL), or `nodata: null` for none"
                )
            return values if 0 in values["clear"] else {**values, "nodata": 0}
        return values

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        classes, threshold = bool(self.clear), self.at_most is not None or self.at_least is not None
        quality = bool(self.bits or self.fields)
        if classes + threshold + quality != 1:
            raise ValueError(
                "a mask has one rule: `clear` (classes), `bits` and `fields` (a quality band), or "
                f"`at_most` and `at_least` (a threshold); got {classes + threshold + quality}"
            )
        if self.nodata is not None and self.nodata in self.clear:
            raise ValueError(
                f"{self.nodata:g} is `nodata`, and is among the classes that are `clear`; take it "
                "out of one of them"
            )
        if any(not 0 <= bit < 64 for bit in self.bits):
            raise ValueError(f"bits are numbered from 0 to 63, got {self.bits}")
        return self


class SensorSpec(Spec):
    """What the assets of a collection mean."""

    title: str = ""
    """For people."""

    bands: dict[str, BandSpec] = {}
    """Band name (the field's usual term) to asset."""

    band_range: BandRangeSpec | None = None
    """Many bands of one asset, after those of `bands`."""

    static: bool = False
    """Whether it has no time axis: all its items make one layer, whatever their dates."""

    mask: tuple[MaskSpec, ...] = ()
    """How clouds are told apart, one mask or several that must all be clear; without any, every
    observation with data counts."""

    composite: CompositeSpec | None = None
    """How a step is made where the recipe says nothing for the source (radar: ``mean``)."""

    dtype: DType = "uint16"
    """Of the pixels, in the assets and in the cube."""

    nodata: float = 0
    """Value of a pixel without an observation, in the assets and in the cube."""

    scale: float = 1.0
    """Physical value of one count."""

    add_offset: float = 0.0
    """Physical value of the count 0 (Landsat: -0.2)."""

    units: str = "1"
    """Of the physical value; ``1`` for reflectance and indices."""

    offset: Literal["none", "sentinel-2-boa"] = "none"
    """``sentinel-2-boa``: counts of baseline 04.00 and later are brought down by 1000, an item
    at a time, where its metadata say that this was not done yet and its pixels agree."""

    power: Literal["linear", "decibel"] | None = None
    """Of radar: what the assets hold.  Means are of linear power in any case; assets in decibels
    are resampled with ``nearest`` alone."""

    stored_as: Literal["linear", "decibel"] | None = None
    """Of radar: what the cube holds; as the assets by default."""

    @model_validator(mode="before")
    @classmethod
    def _one_mask(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("mask"), dict | MaskSpec):
            values = {**values, "mask": (values["mask"],)}
        if isinstance(values, dict) and "mask" in values and values["mask"] is None:
            values = {**values, "mask": ()}
        return values

    @field_validator("bands")
    @classmethod
    def _names(cls, bands: dict[str, BandSpec]) -> dict[str, BandSpec]:
        odd = [name for name in bands if not name.isidentifier()]
        if odd:
            raise ValueError(f"band names must be identifiers (blue, nir, rededge1), got {odd}")
        return bands

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.bands and self.band_range is None:
            raise ValueError("a sensor has at least one band; add `bands` or `band_range`")
        twice = set(self.bands) & set(self.band_range.bands() if self.band_range else ())
        if twice:
            raise ValueError(f"{', '.join(sorted(twice))} stand in `bands` and in `band_range`")
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
        floating = [name for name, band in self.every_band.items() if band.derive]
        if floating and self.dtype != "float32":
            raise ValueError(
                f"{', '.join(floating)} hold fractions, but the dtype is {self.dtype}; take float32"
            )
        if floating and -1 <= self.nodata <= 360:
            raise ValueError(
                f"the nodata {self.nodata:g} is also a value of {', '.join(floating)}; take one "
                "such as -9999"
            )
        if self.stored_as and not self.power:
            raise ValueError("`stored_as` converts radar, but `power` does not say what it is")
        every = self.every_band.values()
        mixed = any((b.resampling, b.coarsening) != ("nearest", "nearest") for b in every)
        if self.power == "decibel" and mixed:
            raise ValueError(
                "decibels cannot be averaged, and resampling does: give each band `resampling: "
                "nearest` and `coarsening: nearest`, or take assets of linear power"
            )
        if self.power and self.dtype != "float32":
            raise ValueError(f"radar `power` holds fractions, but the dtype is {self.dtype}")
        return self

    @property
    def seen_by_mask(self) -> bool:
        """Whether a mask says where nothing was observed; else data of the first band say it."""
        return any(mask.nodata is not None for mask in self.mask)

    @property
    def every_band(self) -> dict[str, BandSpec]:
        """All bands, those of the range too."""
        return self.bands | (self.band_range.bands() if self.band_range else {})
