"""Errors the package raises on purpose.

    GeocubeError
    |- SpecError        (also a ValueError)        a recipe does not make sense
    |- InputError       (also a ValueError)        an input is there, but is not what it must be
    |  '- TrainingStopped  (also an ArithmeticError) a loss is not a number
    |- NoItemsError     (also a LookupError)       a search found nothing
    |- MissingError     (also a FileNotFoundError) a file, or an earlier step's result, is not there
    |- ReadError        (also an OSError)          a raster could not be read
    |- UnplacedError    (also an InputError and a ReadError)  a raster does not say where it lies
    |- GridMismatch     (also a ValueError)        two rasters are not on one grid
    |- StaleTarget      (also a RuntimeError)      the target was made by another recipe
    |- FullDisk         (also an OSError)          no room is left to write
    |- StorageError     (also an OSError)          an object store refuses, or cannot be reached
    |- AccessError      (also a ReadError and a StorageError)  access to a raster is refused
    |- ClusterError     (also a ConnectionError)   a cluster cannot be reached, or was lost
    '- TilesFailed      (also a RuntimeError)      some tiles could not be made; the rest are

Catch ``GeocubeError`` at the edge (command line, notebook); let everything else crash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LISTED = 24
"""Names that are written out; of more, the first and the last."""


class GeocubeError(Exception):
    """Base of every deliberate error; its text says what is wrong and what to do next."""


class SpecError(GeocubeError, ValueError):
    """A recipe has an unknown key or values that contradict each other."""


class InputError(GeocubeError, ValueError):
    """An input (items, labels, a raster) is not what it must be."""


class TrainingStopped(InputError, ArithmeticError):
    """The loss of a network is not a number; `network` has the last good weights."""

    def __init__(self, said: Mapping[str, Any], learning_rate: float, network: Any) -> None:
        super().__init__(
            f"The loss of epoch {said['epoch']} is {said['loss']:g}, of validation "
            f"{said['validation_loss']}. Lower the model's `learning_rate` ({learning_rate:g} now),"
            " and look for extreme values in the samples. The weights before that epoch are kept."
        )
        self.network = network
        self._made_of = (said, learning_rate, network)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_of


class NoItemsError(GeocubeError, LookupError):
    """A search for items found none; the text says which filter removed how many."""


class MissingError(GeocubeError, FileNotFoundError):
    """A file that is named, or the result of an earlier step, is not there."""


class ReadError(GeocubeError, OSError):
    """A raster exists but cannot be read (cut short, damaged, refused)."""

    passing = False
    """Whether it may be an outage (throttled, timed out, cut off) and no fault of the raster."""


class UnplacedError(InputError, ReadError):
    """A raster has no CRS: a fault of that file, which is the same however often it is read."""


class GridMismatch(GeocubeError, ValueError):
    """Two rasters that must share a grid do not."""


class StaleTarget(GeocubeError, RuntimeError):
    """The target was made by another recipe or from other inputs."""


class FullDisk(GeocubeError, OSError):
    """A write failed because no room is left."""


class StorageError(GeocubeError, OSError):
    """An object store cannot be reached, refuses access, or has no such bucket."""


class AccessError(ReadError, StorageError):
    """A store refuses access to a raster, or nothing was found to ask for it with.

    Unlike another `ReadError` it is never of one raster alone.
    """


class ClusterError(GeocubeError, ConnectionError):
    """A cluster cannot be reached, has no workers, or was lost in the middle."""


class TilesFailed(GeocubeError, RuntimeError):
    """Some tiles could not be made; the rest of the step is done."""

    names: tuple[str, ...] = ()
    """Of those that are known to fail."""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, then what led to it, each once.

    Examples
    --------
    >>> try:
    ...     {}["a"]
    ... except KeyError as error:
    ...     [type(link).__name__ for link in chain(error)]
    ['KeyError']
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def told_of(error: GeocubeError, where: str) -> GeocubeError:
    """The same error, saying whose it is; what it says of an outage stays.

    Examples
    --------
    >>> str(told_of(MissingError("There is no a.tif."), "Item a, asset B04"))
    'Item a, asset B04: There is no a.tif.'
    """
    told = type(error)(f"{where}: {error}")
    if isinstance(error, ReadError) and isinstance(told, ReadError):
        told.passing = error.passing
    return told


def listed(names: Sequence[str]) -> str:
    """Names in a row; of many the first and the last.

    Examples
    --------
    >>> listed(["red", "nir"]), listed([f"b{n:03d}" for n in range(1, 201)])
    ('red, nir', 'b001, b002, ..., b200 (200 of them)')
    """
    if len(names) <= LISTED:
        return ", ".join(names) or "none"
    return f"{names[0]}, {names[1]}, ..., {names[-1]} ({len(names)} of them)"
