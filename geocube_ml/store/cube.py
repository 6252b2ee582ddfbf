"""The cube on a disk or in an object store: one Zarr group, written a tile at a time.

The group holds data and nothing that depends on when or how often it was written, so that an
interrupted and resumed run leaves the same objects as an undisturbed one, and a cube to which
months were appended the same as one that was made at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from geocube_ml.errors import MissingError, StaleTarget
from geocube_ml.files import Place, asked, discard, place, sweep
from geocube_ml.grid import Grid, Tile
from geocube_ml.spec.storage import StorageSpec
from geocube_ml.store.conventions import group_attrs, without
from geocube_ml.store.fits import has_steps, refuse_misfit, steps_of
from geocube_ml.store.layout import (
    DIGEST,
    NewShards,
    Variable,
    is_series,
    wanted_metadata,
    zarr_store,
)
from geocube_ml.store.metadata import Metadata, quiet

__all__ = ["DIGEST", "OVERVIEWS", "CubeStore", "Variable", "open_cube", "zarr_store"]

OVERVIEWS = "overviews"
"""The group in a cube that holds a group for each of its overviews, named by its factor."""

_STORAGE = StorageSpec()
_STORED: Mapping[str, int] = {}


class CubeStore:
    """A Zarr v3 group, or one of the groups of overviews in it.

    Parameters
    ----------
    path : Path or UPath
        Of the cube.
    grid : Grid
        All variables of the group lie on it.
    group : str
        Path of the group within the cube; the cube itself by default.
    """

    def __init__(self, path: Place, grid: Grid, group: str = "") -> None:
        self.path = path
        self.grid = grid
        self.group = group

    def create(
        self,
        variables: Sequence[Variable],
        coords: Mapping[str, xr.DataArray],
        digest: str = "",
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the group, or add variables to it; may be repeated after an interruption.

        A variable that is there with fewer time steps is left as it is: `write` takes the steps
        that are new, and `commit` shows them.  Until then a series that comes new beside it has no
        more steps than the others.

        Parameters
        ----------
        variables : sequence of Variable
            All series that share the time axis, where that grows.
        coords : mapping
            Coordinates that the variables need.
        digest : str
            Of the recipe and inputs that make the variables which do not say it themselves.
        attrs : mapping, optional
            Of the group.

        Raises
        ------
        StaleTarget
            A variable or a coordinate of that name was made by another recipe, is of another
            shape or type, or has more time steps.
        """
        sweep(self.path)
        metadata = Metadata.read(self.path)
        wanted = wanted_metadata(self.grid, self.group, variables, coords, digest)
        there = metadata.arrays(self.group)
        want = wanted.arrays(self.group)
        refuse_misfit(self.path, self.group, self.grid, there, want, coords)
        steps = steps_of(there)
        if steps is None:  # a time axis of series that were removed
            there = {name: array for name, array in there.items() if not is_series(array)}
        metadata.group(self.group)
        for name in coords.keys() - there.keys():
            metadata.take(wanted, self._at(name))
        for variable in variables:
            if variable.name in there:
                continue
            discard(self.path / self._at(variable.name))  # chunks of one that was removed in part
            metadata.take(wanted, self._at(variable.name))
            array = metadata.arrays(self.group)[variable.name]
            if steps is not None and is_series(array):
                array.resize((steps, *array.shape[1:]))
        self._say(metadata, wanted, attrs)
        metadata.save([self._at(variable.name) for variable in variables])

    def write(
        self,
        tile: Tile,
        values: Mapping[str, NDArray[Any]],
        digest: str | Mapping[str, str] | None = None,
        steps: slice | None = None,
    ) -> None:
        """Write whole shards of some variables.

        Parameters
        ----------
        tile : Tile
        values : mapping of name to (..., y, x) array of the tile's shape
            A series has the steps of `steps`, or all.
        digest : str or mapping of name to str, optional
            Of the recipe and inputs that the values are of.
        steps : slice, optional
            Time steps of the series among the values: whole blocks of ``store.steps``, the last
            one up to the end of the time axis, which may lie beyond what is visible.  Of no
            account to variables without time.

        Raises
        ------
        StaleTarget
            A variable was removed, or made anew by another recipe, since.
        """
        metadata = Metadata.read(self.path)
        for name, block in values.items():
            at = self._at(name)
            own = digest.get(name) if isinstance(digest, Mapping) else digest
            document = self._document(metadata, name, own)
            lead: tuple[Any, ...] = (...,)
            if document["dimension_names"][0] == "time" and steps is not None:
                self._whole(name, steps, document["shape"][0])
                document["shape"][0] = max(document["shape"][0], steps.stop)
                lead = (steps, ...)
            shards = NewShards(zarr_store(self.path), {f"{at}/zarr.json": document})
            array = zarr.open_array(shards, path=at, mode="r+", zarr_format=3)
            edge = self.grid.store.shard
            # shard by shard: Zarr holds a copy of all that it is given at a time, and the encoded
            for top in range(0, block.shape[-2], edge):
                for left in range(0, block.shape[-1], edge):
                    part = block[..., top : top + edge, left : left + edge]
                    rows, cols = part.shape[-2:]
                    y = slice(tile.y.start + top, tile.y.start + top + rows)
                    x = slice(tile.x.start + left, tile.x.start + left + cols)
                    array[(*lead, y, x)] = part

    def commit(
        self,
        variables: Sequence[Variable],
        coords: Mapping[str, xr.DataArray],
        digest: str = "",
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        """Show what was written: all time steps of these variables, and their attributes.

        One object makes the difference, the cube's ``zarr.json``: until it is put, readers find
        the cube as it was, with the values that it had.  May be repeated.

        Parameters
        ----------
        variables, coords, digest, attrs
            As of `create`.

        Raises
        ------
        StaleTarget
            As of `create`; or a variable is not there.
        """
        metadata = Metadata.read(self.path)
        wanted = wanted_metadata(self.grid, self.group, variables, coords, digest)
        there, want = metadata.arrays(self.group), wanted.arrays(self.group)
        refuse_misfit(self.path, self.group, self.grid, there, want, coords)
        for variable in variables:
            self._document(metadata, variable.name, None)
        changed = [name for name, array in want.items() if name not in coords or is_series(array)]
        for name in changed:
            array = there[name]
            if array.shape != want[name].shape:
                array.resize(want[name].shape)
            if name in coords:
                array[...] = want[name][...]
            array.attrs.put(want[name].attrs.asdict())
        self._say(metadata, wanted, attrs)
        metadata.save([self._at(name) for name in changed])

    def describe(self, name: str, attrs: Mapping[str, Any]) -> None:
        """Add attributes to a variable, or to the group where the name is empty."""
        metadata = Metadata.read(self.path)
        node = metadata.arrays(self.group)[name] if name else metadata.group(self.group)
        node.attrs.update(attrs)
        metadata.save()

    def lengths(self) -> dict[str, int]:
        """Time steps that are visible of each series."""
        arrays = Metadata.read(self.path).arrays(self.group)
        return {name: arrays[name].shape[0] for name in sorted(arrays) if has_steps(arrays[name])}

    def remove(self, names: Iterable[str]) -> None:
        """Remove variables or coordinates, and their overviews; first from the metadata."""
        metadata = Metadata.read(self.path)
        if not metadata.exists:
            return
        levels = metadata.groups(OVERVIEWS) if not self.group else []
        gone = [self._at(name) for name in names]
        gone += [f"{OVERVIEWS}/{level}/{name}" for level in levels for name in gone]
        for name in gone:
            metadata.drop(name)
        metadata.save()
        for name in gone:
            discard(self.path / name)

    def _at(self, name: str) -> str:
        """Path of an array within the cube."""
        return f"{self.group}/{name}" if self.group else name

    def _say(self, metadata: Metadata, wanted: Metadata, attrs: Mapping[str, Any] | None) -> None:
        """Attributes of the group: those that are given, and where it lies."""
        said = metadata.group(self.group).attrs
        # coordinates that are no axis
        every = {*str(said.get("coordinates", "")).split()}
        every |= {*str(wanted.group(self.group).attrs.get("coordinates", "")).split()}
        place = {} if "multiscales" in said else group_attrs(self.grid.geobox)
        said.update({"coordinates": " ".join(sorted(every)), **place, **(attrs or {})})

    def _document(self, metadata: Metadata, name: str, digest: str | None) -> dict[str, Any]:
        """An array's metadata, if it is of that digest."""
        where = self.path / self._at(name)
        document = metadata.document(self._at(name))
        if document is None:
            raise StaleTarget(
                f"{where} is not there: it was removed since, or never made. Run the same command "
                "again."
            )
        found = document["attributes"].get(DIGEST)
        if digest is not None and found != digest:
            raise StaleTarget(
                f"{where} was made anew by another recipe (its digest is {found}, this tile's "
                f"{digest}); the tile is dropped."
            )
        return document

    def _whole(self, name: str, steps: slice, length: int) -> None:
        """Refuse a part of a block: the rest of it would be lost."""
        block = self.grid.store.steps
        if steps.start % block or (steps.stop % block and steps.stop < length):
            raise ValueError(
                f"{name}: steps {steps.start} to {steps.stop} are not whole blocks of {block}, "
                f"and the axis has {length}"
            )


def open_cube(
    path: str | Place,
    storage: StorageSpec = _STORAGE,
    *,
    chunks: Mapping[str, int] | None = _STORED,
    overview: int | None = None,
) -> xr.Dataset:
    """Open a cube lazily, with its CRS; values are counts and codes as they are stored.

    Parameters
    ----------
    path : path or ``s3://`` address of a Zarr group
    storage : StorageSpec, optional
        How its bucket is reached.
    chunks : mapping, optional
        As of `xarray.open_zarr`; one dask chunk a storage chunk by default.  With None a slice is
        read in one go when it is asked for, without dask.
    overview : int, optional
        Edge of a pixel in pixels of the cube: 4, 16, and so on, as far as there are overviews.

    Returns
    -------
    xarray.Dataset
        Lazy; ``spatial_ref`` is a coordinate.  ``nodata`` of a variable is the value that means
        that there is none.

    Raises
    ------
    MissingError
        There is no cube, or no such overview.
    StorageError
        Its bucket cannot be reached.
    """
    where = place(path, storage)
    group = f"{OVERVIEWS}/{overview}" if overview else None
    with quiet(), asked(where):
        try:
            cube: xr.Dataset = xr.open_zarr(
                zarr_store(where),
                group=group,
                consolidated=None,  # one request; a cube of an older version takes more
                zarr_format=3,
                chunks=None if chunks is None else dict(chunks),
                mask_and_scale=False,
                decode_coords="all",
            )
        except FileNotFoundError:
            raise MissingError(f"There is no cube at {path}. Run the step `cube` first.") from None
        except KeyError:
            raise MissingError(
                f"The cube {path} has no overview of factor {overview}. Open it without."
            ) from None
    # a slice of the data would take along where all of it lies; coordinates are sliced too
    cube.attrs = without(cube.attrs)
    for variable in cube.variables.values():
        variable.attrs = without(variable.attrs)
        # of the whole, not of what is taken; without dask nothing else says what one read brings
        for cut in ("chunks", "shards", *(() if chunks is None else ("preferred_chunks",))):
            variable.encoding.pop(cut, None)
        if (missing := variable.attrs.get("_FillValue")) is not None:
            variable.attrs["nodata"] = np.asarray(missing).item()
    return cube
