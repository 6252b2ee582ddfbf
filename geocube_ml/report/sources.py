"""What each source of a cube is, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from geocube_ml.data.sources import is_static, source_names
from geocube_ml.errors import listed
from geocube_ml.report.pictures import Picture
from geocube_ml.report.quantities import units_of
from geocube_ml.report.steps import step_word
from geocube_ml.spec.recipe import Recipe
from geocube_ml.spec.sensor import BitFieldSpec, MaskSpec

_TOLD = {"long_name", "units", "nodata", "scale_factor", "add_offset", "grid_mapping"}
"""Attributes that are told in other words."""

_EVIDENCE = ("offset", "radiometry", "left_out", "evidence", "files_nodata")
"""Parts of the names of attributes that say how the pixels came about."""


_UNITS = {
    "slope": "in degrees", "aspect": "in degrees from north", "northness": "from −1 to 1",
    "eastness": "from −1 to 1",
}  # fmt: skip
"""Of what is derived from elevations, whatever the units of the source."""


@dataclass(frozen=True)
class Card:
    """One source."""

    name: str
    title: str
    rows: list[tuple[str, str]]
    """What, and how it is."""
    picture: Picture | None
    """None where it is shown beside the map."""


def cards(cube: xr.Dataset, recipe: Recipe | None, pictures: dict[str, Picture]) -> list[Card]:
    """Each source of a cube, with what its recipe says of it.

    Parameters
    ----------
    cube : Dataset
    recipe : Recipe, optional
        That made the cube.
    pictures : dict of source to Picture
    """
    return [
        Card(
            name,
            str(cube[name].attrs.get("long_name") or name),
            [*_stored(cube, name), *_made(name, recipe), *_evidence(cube[name])],
            pictures.get(name),
        )
        for name in source_names(cube)
    ]


def _stored(cube: xr.Dataset, name: str) -> Iterator[tuple[str, str]]:
    variable = cube[name]
    attrs = variable.attrs
    bands = [str(band) for band in cube[f"{name}_band"].to_numpy()]
    if is_static(variable):
        yield "Kind", "static, without a time axis"
    else:
        starts = pd.DatetimeIndex(cube["time"].to_numpy())
        yield "Kind", f"time series, {len(starts)} {step_word(starts)}{'s' * (len(starts) != 1)}"
    yield "Bands", listed(bands)
    words = [f"{variable.dtype}"]
    if "nodata" in attrs:
        words.append(f"nodata {attrs['nodata']:g}")
    scale, offset = float(attrs.get("scale_factor", 1)), float(attrs.get("add_offset", 0))
    if (scale, offset) != (1, 0):
        words.append(f"value = {scale:g} × count{f' {_signed(offset)}' if offset else ''}")
    yield "Stored as", ", ".join(words)
    own = [f"{band} in {units_of(attrs, band)}" for band in bands if f"units_{band}" in attrs]
    yield "Units", "; ".join([units_of(attrs), *own])


def _made(name: str, recipe: Recipe | None) -> Iterator[tuple[str, str]]:
    if recipe is None or name not in recipe.sources:
        return
    source = recipe.sources[name]
    how = recipe.composite_of(name)
    extra = [f"{key.replace('_', ' ')} {value:g}" for key, value in how
             if key != "method" and value is not None]  # fmt: skip
    yield "Composite", how.method + (f" ({', '.join(extra)})" if extra else "")
    masks = [mask_words(mask) for mask in source.sensor.mask]
    yield "Masks", "; ".join(masks) or "none: every observation with data counts"
    ways = {
        f"{band.resampling}, {band.coarsening} where going coarser"
        for band in source.chosen.values()
    }
    yield "Resampling", "; ".join(sorted(ways))
    derived = [f"{band} {_UNITS[spec.derive]}" for band, spec in source.chosen.items()
               if spec.derive]  # fmt: skip
    if derived:
        yield "Derived", ", ".join(derived)


def mask_words(mask: MaskSpec) -> str:
    """A mask's rule as one reads it.

    Examples
    --------
    >>> mask_words(MaskSpec(asset="SCL", clear=(4, 5), nodata=0, grow=2))
    'SCL: clear are 4, 5; what is not clear grown by 2 px'
    >>> mask_words(MaskSpec(asset="CLD", at_most=40))
    'CLD: clear is at most 40'
    """
    rules = []
    if mask.clear:
        rules.append(f"clear are {', '.join(map(str, mask.clear))}")
    if mask.bits:
        rules.append(f"bits {', '.join(map(str, mask.bits))} are 0")
    rules += [_field_words(field) for field in mask.fields]
    if mask.at_least is not None:
        rules.append(f"clear is at least {mask.at_least:g}")
    if mask.at_most is not None:
        rules.append(f"clear is at most {mask.at_most:g}")
    edges = [
        f"{word} by {n} px" for word, n in (("shrunk", mask.shrink), ("grown", mask.grow)) if n
    ]
    grown = f"; what is not clear {', then '.join(edges)}" if edges else ""
    return f"{mask.asset}: {', '.join(rules)}{grown}"


def _field_words(field: BitFieldSpec) -> str:
    last = field.first + field.width - 1
    bits = f"bits {field.first} to {last}" if field.width > 1 else f"bit {field.first}"
    return f"{bits} one of {', '.join(map(str, field.clear))}"


def _evidence(variable: xr.DataArray) -> Iterator[tuple[str, str]]:
    for key, value in variable.attrs.items():
        name = str(key)
        if name not in _TOLD and any(part in name for part in _EVIDENCE):
            yield name.replace("_", " ").capitalize(), _text(value)


def _text(value: Any) -> str:
    return "; ".join(map(str, np.atleast_1d(value)))


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'} {abs(value):g}"
