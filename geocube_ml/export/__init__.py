"""Variables of the cube as files that a GIS opens."""
