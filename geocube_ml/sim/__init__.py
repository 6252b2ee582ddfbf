"""A simulated Sentinel-2 archive whose true map, and best possible map, are known."""

from geocube_ml.sim.archive import Archive, make_archive, open_archive

__all__ = ["Archive", "make_archive", "open_archive"]
