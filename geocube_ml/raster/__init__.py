"""Reading a raster wherever it lies, and writing one GeoTIFF."""

from geocube_ml.raster.azure import signed_when_read
from geocube_ml.raster.read import read_onto
from geocube_ml.raster.remote import distrust, from_raster, opened
from geocube_ml.raster.write import hex_to_rgb, write_cog

__all__ = [
    "distrust",
    "from_raster",
    "hex_to_rgb",
    "opened",
    "read_onto",
    "signed_when_read",
    "write_cog",
]
