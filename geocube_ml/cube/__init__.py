"""STAC items become a lazy cube, and the cube a Zarr group."""
