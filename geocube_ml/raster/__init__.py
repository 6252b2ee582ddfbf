"""Reading a raster wherever it lies, and writing one GeoTIFF."""

from geocube_ml.raster.azure import signed_when_read
from geocube_ml.raster.count import Counts, counted
from geocube_ml.raster.header import Cost, cost, read_header
from geocube_ml.raster.join import read_joined
from geocube_ml.raster.read import read_onto, read_overview
from geocube_ml.raster.remote import distrust, from_raster, opened
from geocube_ml.raster.wanted import Wanted
from geocube_ml.raster.window import Header
from geocube_ml.raster.write import hex_to_rgb, write_cog

__all__ = [
    "Cost",
    "Counts",
    "Header",
    "Wanted",
    "cost",
    "counted",
    "distrust",
    "from_raster",
    "hex_to_rgb",
    "opened",
    "read_header",
    "read_joined",
    "read_onto",
    "read_overview",
    "signed_when_read",
    "write_cog",
]
