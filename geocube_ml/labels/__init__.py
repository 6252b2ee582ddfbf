"""Vectors become clean polygons, and those the cube's `label` and `polygon` variables."""
