"""Which observations count, from the classes of a mask."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_clear(classes: NDArray[Any], clear: Collection[int]) -> NDArray[np.bool_]:
    """True where a mask's class is one of the clear ones.

    Parameters
    ----------
    classes : any shape, integer
        Scene classification (SCL), cloud mask, ...
    clear : collection of int
        Classes that count as clear.  What is not named, nodata included, does not.

    Returns
    -------
    bool array of the same shape

    Examples
    --------
    >>> is_clear(np.uint8([0, 4, 9]), clear=[4, 5])
    array([False,  True, False])
    """
    if classes.dtype == np.uint8:  # a lookup is several times faster than a search
        table = np.zeros(256, bool)
        table[[value for value in clear if 0 <= value <= 255]] = True
        looked_up: NDArray[np.bool_] = table[classes]
        return looked_up
    found: NDArray[np.bool_] = np.isin(classes, list(clear))
    return found


def has_data(values: NDArray[Any], nodata: float) -> NDArray[np.bool_]:
    """True where a value is not nodata; NaN never is data.

    Examples
    --------
    >>> has_data(np.float32([1, np.nan, -1]), nodata=-1)
    array([ True, False, False])
    """
    data: NDArray[np.bool_] = values != nodata
    if np.issubdtype(values.dtype, np.floating):
        data &= ~np.isnan(values)
    return data
