"""Labelled pixels of the cube become a sample table."""
