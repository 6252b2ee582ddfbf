"""Errors the package raises on purpose.

    GeocubeError
    |- SpecError        (also a ValueError)        a recipe does not make sense
    |- InputError       (also a ValueError)        an input is there, but is not what it must be
    |- NoItemsError     (also a LookupError)       a search found nothing
    |- MissingError     (also a FileNotFoundError) a file, or an earlier step's result, is not there
    |- ReadError        (also an OSError)          a raster could not be read
    |- GridMismatch     (also a ValueError)        two rasters are not on one grid
    |- StaleTarget      (also a RuntimeError)      the target was made by another recipe
    '- FullDisk         (also an OSError)          no room is left to write

Catch ``GeocubeError`` at the edge (command line, notebook); let everything else crash.
"""

from __future__ import annotations


class GeocubeError(Exception):
    """Base of every deliberate error; its text says what is wrong and what to do next."""


class SpecError(GeocubeError, ValueError):
    """A recipe has an unknown key or values that contradict each other."""


class InputError(GeocubeError, ValueError):
    """An input (items, labels, a raster) is not what it must be."""


class NoItemsError(GeocubeError, LookupError):
    """A search for items found none; the text says which filter removed how many."""


class MissingError(GeocubeError, FileNotFoundError):
    """A file that is named, or the result of an earlier step, is not there."""


class ReadError(GeocubeError, OSError):
    """A raster exists but cannot be read (cut short, damaged, refused)."""


class GridMismatch(GeocubeError, ValueError):
    """Two rasters that must share a grid do not."""


class StaleTarget(GeocubeError, RuntimeError):
    """The target was made by another recipe or from other inputs."""


class FullDisk(GeocubeError, OSError):
    """A write failed because no room is left."""
