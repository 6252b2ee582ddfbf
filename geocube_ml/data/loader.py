"""PyTorch `DataLoader`s over a sample table, and over the labelled pixels or patches of a cube."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from geocube_ml.data.batch import Channels
from geocube_ml.data.patches import PatchFeed, PixelFeed
from geocube_ml.data.rows import TableFeed
from geocube_ml.data.stream import BUFFER, Feed, Loader
from geocube_ml.data.tiles import Marked, Select
from geocube_ml.errors import InputError
from geocube_ml.files import Place, place
from geocube_ml.spec.augment import AugmentSpec
from geocube_ml.spec.storage import StorageSpec
from geocube_ml.store.cube import open_cube

_STORAGE = StorageSpec()


def sample_loader(
    samples: xr.Dataset,
    *,
    rows: ArrayLike | None = None,
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
    fill: float = 0.0,
    batch_size: int = 512,
    seed: int = 0,
    shuffle: bool = True,
    drop_last: bool = False,
    augment: AugmentSpec | None = None,
    buffer_bytes: int = BUFFER,
    workers: int = 0,
    threads: int | None = None,
) -> Loader:
    """Batches of a sample table.

    Parameters
    ----------
    samples : xarray.Dataset
        From `gather_samples`, in memory, or opened lazily from Zarr and larger than memory.
    rows : (sample,) bool, optional
        Rows that are wanted, by their folds: ``samples["fold_block"].values != 0``.
    mean, std : (channel,) floats, optional
        Of each channel in physical values, as `standard_scaling` finds them; without, values are
        physical.
    fill : float
        What stands where there is no data, after scaling: the mean by default; NaN too.
    batch_size : int
        Samples of a batch; the last one of an epoch may have fewer.
    seed : int
        With the number of the epoch it decides the order.
    shuffle : bool
        Without, samples come as the table lies.
    drop_last : bool
        Leave out a last batch with fewer samples.
    augment : AugmentSpec, optional
        How series are varied, in training.
    buffer_bytes : int
        Counts that are shuffled among each other; two buffers are held, or two a worker.  Of a
        table in memory all rows are shuffled among each other, whatever the buffer.
    workers : int
        Processes of the `DataLoader` that fill buffers; 0: threads of this one do, ahead of what
        is asked for, which is as fast and takes less memory.  They are started by a fork server, so
        that a script needs its ``if __name__ == "__main__":``, and they need
        ``/dev/shm`` with room for two buffers each.
    threads : int, optional
        Threads of this process that read ahead; by default one more than there are cores, 8 at
        most.

    Returns
    -------
    Loader
        A `torch.utils.data.DataLoader` that yields `Batch`es: each row once an epoch, and all
        in an order that `seed` and the epoch decide, whatever the number of workers and threads.
        ``loader.channels.names`` says which channel is which.

    Raises
    ------
    InputError
        No row is wanted, or an argument does not fit the table.

    Examples
    --------
    >>> table = xr.Dataset(
    ...     {"s2": (("sample", "time", "s2_band"), np.uint16([[[10]], [[0]], [[30]]]),
    ...             {"nodata": 0, "scale_factor": 0.1}),
    ...      "label": ("sample", np.uint8([2, 0, 1]))},
    ...     coords={"time": [np.datetime64("2022-06-01", "ns")], "s2_band": ["red"]},
    ... )
    >>> (batch,) = sample_loader(table, mean=[2.0], std=[1.0], shuffle=False)
    >>> batch.series.squeeze(), batch.observed.squeeze(), batch.label
    (tensor([-1.,  0.,  1.]), tensor([ True, False,  True]), tensor([2, 0, 1]))
    """
    channels = Channels.of(samples, mean, std, fill)
    feed = TableFeed.of(samples, channels, rows)
    return _loader(
        feed, "row", batch_size=batch_size, seed=seed, shuffle=shuffle, drop_last=drop_last,
        augment=augment, buffer_bytes=buffer_bytes, workers=workers, threads=threads,
    )  # fmt: skip


def cube_loader(
    cube: xr.Dataset | str | os.PathLike[str] | Place,
    *,
    select: Select | ArrayLike | None = None,
    labels: pd.DataFrame | None = None,
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
    fill: float = 0.0,
    batch_size: int = 512,
    seed: int = 0,
    shuffle: bool = True,
    drop_last: bool = False,
    augment: AugmentSpec | None = None,
    buffer_bytes: int = BUFFER,
    workers: int = 0,
    threads: int | None = None,
    storage: StorageSpec = _STORAGE,
) -> Loader:
    """Batches of the labelled pixels of a cube, read from its chunks.

    Parameters
    ----------
    cube : xarray.Dataset, or path or ``s3://`` address of a cube
        With ``label`` and ``polygon``.  A path is the faster: pixels are then read without dask, as
        from ``open_cube(path, chunks=None)``.
    select : (y, x) bool array, or function, optional
        Which labelled pixels are wanted.  A function gets labels and polygons of some pixels,
        (n,) uint8 and int32, and returns (n,) bool; workers need one that can be pickled.
    labels : GeoDataFrame, optional
        The table of labels (``labels.parquet``): weights, and time steps in which a label does not
        hold, which become missing.  Without, every label has weight 1 and always holds.
    mean, std, fill, batch_size, seed, shuffle, drop_last, augment, workers, threads
        As of `sample_loader`.
    buffer_bytes : int
        Counts that are shuffled among each other: with ten bands of twelve months a million
        pixels, of 17 chunks of 256 x 256 where all pixels are labelled, and of 1700 where one in a
        hundred is.  Two buffers are held, or two a worker, and the
        first is a quarter as large, so that the first batch comes soon.
    storage : StorageSpec, optional
        How a cube in a store is reached.

    Returns
    -------
    Loader
        As of `sample_loader`.  Each storage chunk with a wanted pixel is read once an epoch, the
        others are not.  All labels are read when it is made, to count them.  A pixel that several
        labels hold of, at different times, comes once for each.  Pixels that no series
        observed come with weight 0.

    Raises
    ------
    InputError
        There is no label, no wanted pixel, or an argument does not fit the cube.
    GridMismatch
        `select` is not on the cube's grid.
    MissingError, StorageError
        As of `open_cube`.
    """
    opened, channels, marked, folder = _opened(cube, select, labels, mean, std, fill, storage)
    feed = PixelFeed.of(opened, channels, marked, folder)
    return _loader(
        feed, "labelled pixel", batch_size=batch_size, seed=seed, shuffle=shuffle,
        drop_last=drop_last, augment=augment, buffer_bytes=buffer_bytes, workers=workers,
        threads=threads,
    )  # fmt: skip


def patch_loader(
    cube: xr.Dataset | str | os.PathLike[str] | Place,
    *,
    size: int = 64,
    context: int = 16,
    select: Select | ArrayLike | None = None,
    labels: pd.DataFrame | None = None,
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
    fill: float = 0.0,
    batch_size: int = 8,
    seed: int = 0,
    shuffle: bool = True,
    drop_last: bool = False,
    augment: AugmentSpec | None = None,
    buffer_bytes: int = BUFFER,
    workers: int = 0,
    threads: int | None = None,
    storage: StorageSpec = _STORAGE,
) -> Loader:
    """Batches of patches of a cube, for networks that look at what lies around a pixel.

    Parameters
    ----------
    cube, select, labels
        As of `cube_loader`.
    size : int
        Edge in pixels of a patch's core.  Cores tile the cube from its upper left, so that each
        labelled pixel lies in exactly one; the last ones reach beyond the cube.
    context : int
        Pixels on each side of the core that are seen too, without labels.  Beyond the cube they
        are missing.
    mean, std, fill, seed, shuffle, drop_last, augment, buffer_bytes, workers, threads, storage
        As of `cube_loader`.  What is drawn to vary a patch holds for all its pixels.
    batch_size : int
        Patches of a batch.

    Returns
    -------
    Loader
        Its batches have `h` and `w` of ``size + 2 * context``, and labels in the core alone, 255
        elsewhere.  Every core with a wanted pixel comes once an epoch.  Blocks of cores are read
        with what lies around them, so that chunks at their edges are read by neighbours too.

    Raises
    ------
    InputError, GridMismatch, MissingError, StorageError
        As of `cube_loader`.
    """
    opened, channels, marked, _ = _opened(cube, select, labels, mean, std, fill, storage)
    feed = PatchFeed.of(opened, channels, marked, size, context)
    return _loader(
        feed, "patch with a labelled pixel", batch_size=batch_size, seed=seed, shuffle=shuffle,
        drop_last=drop_last, augment=augment, buffer_bytes=buffer_bytes, workers=workers,
        threads=threads,
    )  # fmt: skip


def standard_scaling(
    loader: Loader, batches: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each channel, over what is observed.

    Parameters
    ----------
    loader : Loader
        Made without `mean` and `std`, with ``fill=float("nan")``.
    batches : int, optional
        Of the first epoch; all by default.

    Returns
    -------
    mean, std : (channel,) float32
        In physical values; 1 for a channel that never changes.

    Raises
    ------
    InputError
        The loader fills what is missing, or standardizes.

    Notes
    -----
    Sums of batches are joined pairwise (Chan, Golub and LeVeque 1979), in 64 bits.
    """
    channels = loader.channels
    if not np.isnan(channels.fill) or channels.mean.any() or (channels.std != 1).any():
        raise InputError(
            "Scaling is learnt from physical values: make the loader without `mean` and `std`, and "
            'with fill=float("nan").'
        )
    count, mean, squares = (np.zeros(channels.n_channel) for _ in range(3))
    for number, batch in enumerate(loader):
        if batches is not None and number >= batches:
            break
        values = np.moveaxis(batch.series.numpy(), 2, -1).reshape(-1, channels.n_channel)
        seen = ~np.isnan(values)
        n = seen.sum(axis=0)
        of_batch = np.where(seen, values, 0).sum(axis=0, dtype=np.float64) / np.maximum(n, 1)
        apart = np.where(seen, values - of_batch, 0)
        whole = np.maximum(count + n, 1)
        squares += (apart**2).sum(axis=0) + (of_batch - mean) ** 2 * count * n / whole
        mean += (of_batch - mean) * n / whole
        count += n
    std = np.sqrt(squares / np.maximum(count, 1))
    return mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)


def _opened(
    cube: xr.Dataset | str | os.PathLike[str] | Place,
    select: Select | ArrayLike | None,
    labels: pd.DataFrame | None,
    mean: ArrayLike | None,
    std: ArrayLike | None,
    fill: float,
    storage: StorageSpec,
) -> tuple[xr.Dataset, Channels, Marked, Path | None]:
    """With the folder that it lies in, if that is one of this machine."""
    folder = None
    if not isinstance(cube, xr.Dataset):
        where = place(cube, storage)
        folder = where if isinstance(where, Path) else None
        cube = open_cube(where, storage, chunks=None)
    channels = Channels.of(cube, mean, std, fill)
    return cube, channels, Marked.of(cube, select, labels, folder), folder


def _loader(feed: Feed, what: str, **options: Any) -> Loader:
    if not feed.counts.sum():
        raise InputError(
            f"There is no {what} that is wanted. Look at `select` or `rows`, and at the labels."
        )
    return Loader(feed, **options)
