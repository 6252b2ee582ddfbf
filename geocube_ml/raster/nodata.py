"""Two values for what is missing: the one that a raster states, and the one that is asked for.

A raster's own counts.  So a pixel that has the other one is data; it cannot be kept as such where
that value means that there are none, and to drop it in silence, or to mix it into its neighbours
if it is fill after all, would be wrong.  Such a raster is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.errors import InputError
from geocube_ml.files import redacted


def rivals(kind: np.dtype[Any], stated: float | None, nodata: float) -> bool:
    """Whether pixels of a dtype may be data to the raster and missing to who asks.

    Examples
    --------
    >>> rivals(np.dtype("int16"), -32768, 0), rivals(np.dtype("uint8"), 255, -9999)
    (True, False)
    >>> rivals(np.dtype("float32"), float("nan"), -9999), rivals(np.dtype("uint8"), None, 0)
    (True, False)
    """
    if stated is None or np.isnan(nodata):  # NaN is missing, whatever a raster states
        return False
    if kind.kind in "iu":
        info = np.iinfo(kind)
        if not (info.min <= nodata <= info.max and float(nodata).is_integer()):
            return False
    return bool(kind.type(stated) != kind.type(nodata)) if _held(kind, stated) else False


def refuse_rivals(values: NDArray[Any], stated: float, nodata: float, href: str) -> None:
    """Refuse a raster that has data of the value that is to mean that there are none.

    Parameters
    ----------
    values : array of any shape
        Of the raster, before anything is made of them.
    stated, nodata : float
        What the raster states, and what is asked for.
    href : str

    Raises
    ------
    InputError
        With both values.
    """
    n = int(np.count_nonzero(values == values.dtype.type(nodata)))
    if n:
        raise InputError(
            f"{redacted(href)} has pixels of the value {nodata:.17g} ({n:,} in what is read), "
            f"which is the sensor's `nodata`, but the file itself states the nodata {stated:.17g}, "
            f"so that they are data. State `nodata: {stated:.17g}` in the sensor, or another value "
            "that no pixel has; or, if they are missing, correct the file: "
            f"gdal_edit.py -a_nodata {nodata:.17g}"
        )


def _held(kind: np.dtype[Any], value: float) -> bool:
    if kind.kind not in "iu":
        return True
    info = np.iinfo(kind)
    return info.min <= value <= info.max and float(value).is_integer()
