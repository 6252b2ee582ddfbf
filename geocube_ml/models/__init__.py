"""Classifiers of pixel series, and the bundle that carries one to the map."""
