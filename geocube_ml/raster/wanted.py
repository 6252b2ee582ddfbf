"""How pixels are wanted, and in which dtype and with which nodata they are worked on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geocube_ml.errors import InputError
from geocube_ml.files import redacted
from geocube_ml.kernels.mask import has_data
from geocube_ml.kernels.select import beside_nodata
from geocube_ml.raster.nodata import refuse_rivals, rivals
from geocube_ml.raster.window import Header, Way, way


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How pixels of a raster are wanted; the parameters of `read_onto`."""

    nodata: float
    dtype: np.dtype[Any] | None
    bands: tuple[int, ...] = (1,)
    resampling: str = "nearest"
    coarsening: str = "nearest"
    own_nodata: bool = True

    def way(self, header: Header, geobox: GeoBox, step: tuple[float, float] | None = None) -> Way:
        """How a window is read; see `window.way`."""
        return way(header, geobox, self.resampling, self.coarsening, step)

    def terms(self, header: Header, href: str) -> Terms:
        """How the values of a raster are worked on.

        Raises
        ------
        InputError
            They are complex numbers.
        """
        if header.dtype.kind not in "iuf":
            raise InputError(
                f"{redacted(href)} holds {header.dtype} values; whole numbers or floats are "
                "needed. Make a raster of their amplitude, or leave its item out."
            )
        kind, said = header.dtype, header.nodata[self.bands[0] - 1]
        dtype = _with_room(kind, self.nodata) if self.dtype is None else self.dtype
        own = self.own_nodata and said is not None and holds(kind, said)
        stated = said if own and said is not None else self.nodata
        if not holds(kind, stated):  # room for a nodata that the raster cannot say
            kind = np.promote_types(kind, dtype)
        return Terms(kind, stated, dtype, self.nodata, href)

    def apart(self, header: Header) -> bool:
        """Whether the bands differ in their nodata, and must be read one by one."""
        return len({str(header.nodata[band - 1]) for band in self.bands}) > 1


@dataclass(frozen=True)
class Terms:
    """How the values of a raster are worked on, and what they become."""

    kind: np.dtype[Any]
    """Dtype while they are resampled."""
    stated: float
    """Nodata in it."""
    dtype: np.dtype[Any]
    """Of the result."""
    nodata: float
    """In the result."""
    href: str
    """Of the raster; for what is told."""

    def like(self, other: Terms) -> bool:
        """Whether values of both rasters may lie in one array."""
        return self.kind == other.kind and str(self.stated) == str(other.stated)  # NaN is NaN

    def empty(self, n: int, shape: Sequence[int]) -> NDArray[Any]:
        """(n, y, x) pixels without data."""
        return np.full((n, *shape), self.stated, self.kind)

    @property
    def rival(self) -> bool:
        """Whether the raster may hold data of the value that means in the result that there are
        none.
        """
        return rivals(self.kind, self.stated, self.nodata)

    def check(self, values: NDArray[Any]) -> None:
        """Refuse values of the raster that the result cannot tell: fractions where whole numbers
        are asked for, and data of the value of its nodata.

        Raises
        ------
        InputError
        """
        if self.rival:
            refuse_rivals(values, self.stated, self.nodata, self.href)
        if values.dtype.kind != "f" or self.dtype.kind not in "iu":
            return
        broken = has_data(values, self.stated) & (values != np.rint(values))
        if broken.any():
            raise InputError(self._misfit(values.dtype, values[broken][0]))

    def finished(self, values: NDArray[Any]) -> NDArray[Any]:
        """The values in the dtype and with the nodata that are asked for.

        Raises
        ------
        InputError
            The dtype cannot hold them.
        """
        if self.stated == self.nodata and values.dtype.kind != "f":
            return self._fitted(values)
        there, missing = has_data(values, self.stated), np.array(self.nodata, self.dtype)
        fitted = self._fitted(np.where(there, values, missing))
        if self.stated == self.nodata and fitted.dtype == values.dtype:
            return fitted
        # a mean, or a fraction that is rounded, may come to what means here that there are none
        return np.where(there, beside_nodata(fitted, self.nodata), missing)

    def _fitted(self, values: NDArray[Any]) -> NDArray[Any]:
        if np.can_cast(values.dtype, self.dtype):
            return values.astype(self.dtype, copy=False)
        if values.dtype.kind == "f" and self.dtype.kind in "iu":
            values = np.rint(values)  # whole numbers that were averaged
        with np.errstate(invalid="ignore"):
            fitted = values.astype(self.dtype)
            changed = ~np.isclose(fitted, values, equal_nan=True)
        if changed.any():
            raise InputError(self._misfit(values.dtype, values[changed][0]))
        return fitted

    def _misfit(self, found: np.dtype[Any], value: float) -> str:
        return (
            f"{redacted(self.href)} holds {found} values such as {value:g}, which are not "
            f"{self.dtype} values. State the `dtype` that its pixels have in the sensor."
        )


def holds(kind: np.dtype[Any], value: float) -> bool:
    """Whether a dtype has a value."""
    if not np.issubdtype(kind, np.integer):
        return True
    info = np.iinfo(kind)
    return info.min <= value <= info.max and float(value).is_integer()


def _with_room(kind: np.dtype[Any], nodata: float) -> np.dtype[Any]:
    """A dtype that has the values of another, and nodata."""
    if holds(kind, nodata):
        return kind
    least = np.min_scalar_type(int(nodata)) if float(nodata).is_integer() else np.dtype("f4")
    return np.promote_types(kind, least)
