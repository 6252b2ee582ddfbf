"""The steps of a recipe: each binds functions of the package to the files of a run."""

NAMES = (
    "cube", "labels", "samples", "tune", "train", "evaluate", "predict", "sample-map", "areas",
    "export", "report", "doctor", "decide", "export-dataset", "export-model",
)  # fmt: skip
"""In the order in which they run; each is a module of this package, - being _ there."""

ASKED_FOR = (
    "tune", "sample-map", "areas", "doctor", "decide", "export-dataset", "export-model",
)  # fmt: skip
"""Those that run only where they are named."""


def module_of(step: str) -> str:
    """The module of a step.

    Examples
    --------
    >>> module_of("export-dataset")
    'geocube_ml.steps.export_dataset'
    """
    return f"geocube_ml.steps.{step.replace('-', '_')}"
