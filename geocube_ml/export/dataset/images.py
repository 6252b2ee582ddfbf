"""Images and masks of chips as files: a COG a chip and source, or one Zarr group."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from geocube_ml.data.sources import source_names
from geocube_ml.export.dataset.chips import Chip, Chips, Window, band_names
from geocube_ml.raster import write_cog
from geocube_ml.spec.labels import UNKNOWN, ClassScheme

_BLOCK = 512  # pixels, of the largest internal block
_KEPT = ("long_name", "units", "scale_factor", "add_offset")

ZARR = "chips.zarr"
"""Name of the group within the data set."""


class ChipFiles(Protocol):
    """What chips are written to; several windows at the same time."""

    def write(self, window: Window, found: Sequence[tuple[Chip, NDArray[np.uint8]]]) -> None:
        """Write images and masks of the chips of a window."""


class CogChips:
    """``chips/images/SOURCE_ROW_COL.tif`` and ``chips/masks/ROW_COL.tif``."""

    def __init__(self, chips: Chips, folder: Path) -> None:
        self._chips, self._folder = chips, folder
        edge = chips.spec.chip
        self._block = min(_BLOCK, 16 * -(-edge // 16))  # of GDAL, a multiple of 16
        self._classes = ClassScheme.from_attrs(chips.cube["label"].attrs)
        self._names = {name: band_names(chips.cube, name) for name in source_names(chips.cube)}

    def write(self, window: Window, found: Sequence[tuple[Chip, NDArray[np.uint8]]]) -> None:
        """Write images and masks of the chips of a window."""
        for chip, mask in found:
            self._mask(chip, mask)
        chips = [chip for chip, _ in found]
        for source in self._names:
            images = self._chips.images(source, window, chips)
            for chip, image in zip(chips, images, strict=True):
                self._image(chip, source, image)

    def _mask(self, chip: Chip, mask: NDArray[np.uint8]) -> None:
        attrs, one = self._classes.attrs(), len(mask) == 1
        write_cog(
            self._folder / mask_name(chip),
            mask[0] if one else mask,
            self._chips.place(chip),
            nodata=UNKNOWN,
            colors=self._classes.colors if one else None,
            names=["class"] if one else [f"class, layer {at}" for at in range(len(mask))],
            tags={
                "flag_values": " ".join(map(str, attrs["flag_values"])),
                "flag_meanings": attrs["flag_meanings"],
                "class_names": json.dumps(attrs["class_names"], ensure_ascii=False),
                "split": chip.split,
            },
            overviews="mode",
            blocksize=self._block,
        )

    def _image(self, chip: Chip, source: str, image: NDArray[Any]) -> None:
        attrs = self._chips.cube[source].attrs
        write_cog(
            self._folder / image_name(chip, source),
            image.reshape(-1, *image.shape[-2:]),
            self._chips.place(chip),
            nodata=attrs["nodata"],
            names=self._names[source],
            tags={name: str(attrs[name]) for name in ("long_name", "units") if name in attrs}
            | {"split": chip.split},
            scale=attrs.get("scale_factor"),
            offset=attrs.get("add_offset"),
            overviews="average",
            blocksize=self._block,
        )


def image_name(chip: Chip, source: str) -> str:
    """Path of an image within the data set."""
    return f"chips/images/{source}_{chip.name}.tif"


def mask_name(chip: Chip) -> str:
    """Path of a mask within the data set."""
    return f"chips/masks/{chip.name}.tif"


class ZarrChips:
    """``chips.zarr``: a variable a source, (chip, time, band, y, x), and ``mask`` (chip, y, x).

    A chunk is a chip.  ``left`` and ``top`` say where each lies, ``split`` whose it is.
    """

    def __init__(self, chips: Chips, folder: Path, every: Sequence[Chip]) -> None:
        self._chips = chips
        self._at = {chip.name: at for at, chip in enumerate(every)}
        empty = self._empty(every)
        encoding = {
            name: {"chunks": (1, *variable.shape[1:]), "_FillValue": variable.attrs.get("nodata")}
            for name, variable in empty.data_vars.items()
        }
        encoding["mask"]["_FillValue"] = None  # else codes would be read as floats
        where = folder / ZARR
        empty.to_zarr(
            where, mode="w", zarr_format=3, consolidated=False, compute=False, encoding=encoding
        )
        self._group = zarr.open_group(where, mode="r+", zarr_format=3, use_consolidated=False)

    def write(self, window: Window, found: Sequence[tuple[Chip, NDArray[np.uint8]]]) -> None:
        """Write images and masks of the chips of a window."""
        chips = [chip for chip, _ in found]
        self._put("mask", chips, (m if self._chips.n_layer > 1 else m[0] for _, m in found))
        for name in source_names(self._chips.cube):
            self._put(name, chips, self._chips.images(name, window, chips))

    def _put(self, name: str, chips: Sequence[Chip], values: Iterable[NDArray[Any]]) -> None:
        array: Any = self._group[name]
        for chip, of_chip in zip(chips, values, strict=True):
            array[self._at[chip.name]] = of_chip

    def _empty(self, every: Sequence[Chip]) -> xr.Dataset:
        """All but the values, lazily."""
        cube, n, edge = self._chips.cube, len(every), self._chips.spec.chip
        found: dict[str, Any] = {}
        for name in source_names(cube):
            source = cube[name]
            shape = n, *source.shape[:-2], edge, edge
            values = da.zeros(shape, dtype=source.dtype, chunks=(1, *shape[1:]))
            attrs = {key: source.attrs[key] for key in _KEPT if key in source.attrs}
            found[name] = ("chip", *source.dims), values, attrs | {"nodata": source.attrs["nodata"]}
        layers = ("label_layer",) if self._chips.n_layer > 1 else ()
        shape = n, *(self._chips.n_layer for _ in layers), edge, edge
        classes = ClassScheme.from_attrs(cube["label"].attrs).attrs()
        values = da.zeros(shape, dtype="uint8", chunks=(1, *shape[1:]))
        found["mask"] = ("chip", *layers, "y", "x"), values, {**classes, "nodata": UNKNOWN}
        boxes = [self._chips.place(chip).boundingbox for chip in every]
        coords: dict[str, Any] = {
            str(dim): cube[dim].variable.copy(deep=False)
            for name in source_names(cube)
            for dim in cube[name].dims
            if dim not in ("y", "x")
        }
        for coord in coords.values():
            for said in (coord.attrs, coord.encoding):
                said.pop("bounds", None)  # of the time steps, which stay in the cube
        return xr.Dataset(
            found,
            coords={
                **coords,
                "chip": np.array([chip.name for chip in every], object),
                "split": ("chip", np.array([chip.split for chip in every], object)),
                "left": ("chip", np.array([box.left for box in boxes]), {"units": "m"}),
                "top": ("chip", np.array([box.top for box in boxes]), {"units": "m"}),
            },
            attrs={"crs": self._chips.crs, "resolution": self._chips.pixel_m},
        )
