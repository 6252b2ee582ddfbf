"""How to compute it: plain numpy, shapely and rasterio.features, one block at a time."""
