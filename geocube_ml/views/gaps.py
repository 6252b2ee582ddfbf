"""Series without gaps: an option of reading, never a change of the cube."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.errors import InputError
from geocube_ml.kernels.gapfill import Edges, Method, can_fill, fill
from geocube_ml.kernels.mask import has_data
from geocube_ml.views.bands import mapping_of, source_names

_EDGES = {"linear": ("hold", "missing"), "whittaker": get_args(Edges)}


def fill_gaps(
    cube: xr.Dataset,
    method: Method = "linear",
    *,
    sources: str | Sequence[str] | None = None,
    edges: Edges = "hold",
    lam: float = 1.0,
    order: int = 2,
    only_gaps: bool = True,
) -> xr.Dataset:
    """The cube with the gaps of its series filled, each band by itself.

    On a dask-backed cube this builds a graph and reads nothing; all of time is one chunk of what
    comes out.  On one that is not it reads and fills all of the variables.

    Parameters
    ----------
    cube : xarray.Dataset
        As of `open_cube`, a sample table, or a view of one of them (`as_bands`, `to_physical`,
        `indices`).
    method : {"linear", "whittaker"}
        Straight lines between observed steps, or the smoother of Whittaker and Eilers.  Both go
        by the days between the starts of steps, which need not be equally long.
    sources : str or sequence of str, optional
        Variables with a time axis; every source that has one by default.
    edges : {"hold", "missing", "extrapolate"}
        Before the first and after the last observed step: the value there, nodata, or (whittaker)
        what the smoother says, which may be far off.
    lam : float
        Of whittaker: how smooth.  What oscillates with a period of `p` steps keeps
        ``1 / (1 + lam * (2 * sin(pi / p)) ** (2 * order))`` of its height: at 1 and order 2 a
        yearly wave of months keeps 93 %, one of 6 months half.
    order : int
        Of whittaker: of the differences that are kept small.
    only_gaps : bool
        Of whittaker: False smooths the observed steps too.

    Returns
    -------
    xarray.Dataset
        `cube` with these variables filled, of the same dtype, nodata and scale: counts are rounded
        to whole counts, so that models and `to_physical` take them as they take the cube's.  Beside
        each ``<source>_filled`` of its shape, bool: True where there was no observation and is
        a value now.  Observed values are unchanged (but see `only_gaps`).  A series without any
        observation stays nodata.  Radar is filled as it is stored, in power or in decibels.

    Raises
    ------
    InputError
        An option is not one of those above; there is no such variable, or it has no time axis; or
        it holds whole numbers and does not say what nodata is.

    Examples
    --------
    >>> time = np.array(["2022-06-01", "2022-06-11", "2022-06-21", "2022-07-01"], "M8[ns]")
    >>> cube = xr.Dataset(
    ...     {"s2": (("time", "s2_band"), np.uint16([[0], [10], [0], [30]]), {"nodata": 0})},
    ...     coords={"time": time, "s2_band": ["red"]},
    ... )
    >>> filled = fill_gaps(cube)
    >>> filled["s2"].values.ravel()
    array([10, 10, 20, 30], dtype=uint16)
    >>> filled["s2_filled"].values.ravel()
    array([ True, False,  True, False])
    """
    _check(method, edges, lam, order, only_gaps)
    names = _series(cube, sources)
    days = _days(cube["time"])
    options: dict[str, Any] = {"method": method, "edges": edges}
    if method == "whittaker":
        options |= {"lam": float(lam), "order": int(order), "only_gaps": only_gaps}
    done = ", ".join(f"{key}: {value}" for key, value in options.items())
    filled: dict[str, xr.DataArray] = {}
    for name in names:
        variable = cube[name]
        nodata = _nodata(variable)
        values = _over_time(
            _fill, variable, variable.dtype, nodata=nodata, days=days, options=options
        )
        filled[name] = values.assign_attrs({**variable.attrs, "gaps": done})
        mask = _over_time(_filled, variable, np.dtype(bool), nodata=nodata, edges=edges)
        filled[f"{name}_filled"] = mask.assign_attrs(long_name=f"where {name} was filled")
    return cube.assign(filled)


def _over_time(
    function: Callable[..., NDArray[Any]],
    variable: xr.DataArray,
    dtype: np.dtype[Any],
    **options: Any,
) -> xr.DataArray:
    """A function of whole series, whose time comes last; lazy on dask."""
    whole = variable.chunk(time=-1) if variable.chunks else variable
    done: xr.DataArray = xr.apply_ufunc(
        function, whole, input_core_dims=[["time"]], output_core_dims=[["time"]],
        kwargs=options, dask="parallelized", output_dtypes=[dtype], keep_attrs="override",
    )  # fmt: skip
    done = done.transpose(*variable.dims)
    done.attrs = mapping_of(variable)
    return done


def _fill(
    values: NDArray[Any], *, nodata: float, days: NDArray[np.float64], options: dict[str, Any]
) -> NDArray[Any]:
    return np.moveaxis(fill(np.moveaxis(values, -1, 0), nodata, days, **options), 0, -1)


def _filled(values: NDArray[Any], *, nodata: float, edges: Edges) -> NDArray[np.bool_]:
    observed = has_data(np.moveaxis(values, -1, 0), nodata)
    return np.moveaxis(can_fill(observed, edges), 0, -1)


def _days(time: xr.DataArray) -> NDArray[np.float64]:
    """(time,) starts of the steps in days.

    Not their middles: bounds get lost where variables are chosen from a cube, and a sample table
    must be filled as the map is.
    """
    starts = time.values
    days: NDArray[np.float64] = (starts - starts[0]) / np.timedelta64(1, "D")
    return days


def _series(cube: xr.Dataset, sources: str | Sequence[str] | None) -> list[str]:
    """The variables to fill."""
    if sources is None:
        names = [name for name in source_names(cube) if "time" in cube[name].dims]
    else:
        names = [sources] if isinstance(sources, str) else list(sources)
    if not names:
        raise InputError(
            "The cube has no source with a time axis, so no gaps to fill; it has "
            f"{', '.join(map(str, cube)) or 'no variable'}. Name variables of a view in `sources`."
        )
    for name in names:
        if name not in cube or "time" not in cube[name].dims:
            lacks = "has no time axis" if name in cube else "is not in the cube"
            of = [str(key) for key, var in cube.items() if "time" in var.dims]
            raise InputError(
                f"{name!r} {lacks}, so its gaps cannot be filled. Variables with time are "
                f"{', '.join(of) or 'none'}."
            )
        if f"{name}_filled" in cube:
            raise InputError(
                f"{name!r} was filled before ({cube[name].attrs.get('gaps')}), and what was "
                "observed could not be told from it any more. Fill the cube as it is stored."
            )
    if not (cube.indexes["time"].is_monotonic_increasing and cube.indexes["time"].is_unique):
        raise InputError(
            "The steps of the time axis are not in order, or there twice. Sort it before: "
            'cube.sortby("time").drop_duplicates("time").'
        )
    return names


def _nodata(variable: xr.DataArray) -> float:
    floating = np.issubdtype(variable.dtype, np.floating)
    if "nodata" not in variable.attrs and not floating:
        raise InputError(
            f"{variable.name!r} holds {variable.dtype} and has no attribute `nodata`, so its gaps "
            "cannot be told. Set it: cube[name].attrs['nodata'] = ..."
        )
    return float(variable.attrs.get("nodata", np.nan))


def _check(method: str, edges: str, lam: float, order: int, only_gaps: bool) -> None:
    if method not in _EDGES:
        raise InputError(f"A method is {' or '.join(_EDGES)}, got {method!r}.")
    if edges not in _EDGES[method]:
        raise InputError(f"`edges` of {method} is {' or '.join(_EDGES[method])}, got {edges!r}.")
    if not (np.isfinite(lam) and lam > 0):
        raise InputError(f"`lam` is a number above 0, got {lam}; small is close to the data.")
    if order not in (1, 2, 3):
        raise InputError(f"`order` is 1, 2 or 3, got {order}.")
    if method == "linear" and not only_gaps:
        raise InputError(
            "`linear` changes no observed value, but `only_gaps` is False. Take `whittaker`."
        )
