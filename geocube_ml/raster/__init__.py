"""Reading and writing one GeoTIFF."""

from geocube_ml.raster.read import read_onto
from geocube_ml.raster.write import hex_to_rgb, write_cog

__all__ = ["hex_to_rgb", "read_onto", "write_cog"]
