"""The steps of a recipe: each binds functions of the package to the files of a run."""

NAMES = ("cube", "labels", "samples", "train", "evaluate", "predict", "export", "report")
"""In the order in which they run; each is a module of this package."""
