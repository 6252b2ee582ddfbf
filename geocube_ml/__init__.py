"""Land-cover maps from satellite time series, on xarray and dask.

The names below are loaded when they are first used, so that ``import geocube_ml`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "AugmentSpec": "spec.augment",
    "ModelBundle": "models.bundle",
    "Recipe": "spec.recipe",
    "StorageSpec": "spec.storage",
    "as_bands": "views.bands",
    "cube_loader": "data.loader",
    "doubtful_labels": "doctor.doubt",
    "evaluate_models": "evaluate",
    "export_dataset": "export.dataset",
    "fill_gaps": "views.gaps",
    "find_items": "items.catalog",
    "fit_model": "train",
    "gather_samples": "data.samples",
    "indices": "views.indices",
    "lazy_cube": "cube.lazy",
    "make_archive": "sim",
    "make_grid": "grid",
    "make_mosaic": "cube.mosaic",
    "model_spec": "spec.models",
    "open_cube": "store.cube",
    "patch_loader": "data.loader",
    "pin_items": "items.catalog",
    "predict_map": "predict",
    "rasterize_labels": "labels.raster",
    "read_items": "items.catalog",
    "read_labels": "labels.polygons",
    "read_recipe": "spec.recipe",
    "read_samples": "data.table",
    "record_decisions": "doctor.decisions",
    "run_recipe": "steps.runner",
    "standard_scaling": "data.loader",
    "sample_loader": "data.loader",
    "to_cog": "export.cog",
    "to_decibel": "views.bands",
    "to_physical": "views.bands",
    "to_power": "views.bands",
    "train_model": "train",
    "write_report": "report.page",
    "write_samples": "data.table",
}


if TYPE_CHECKING:
    from geocube_ml.cube.lazy import lazy_cube as lazy_cube
    from geocube_ml.cube.mosaic import make_mosaic as make_mosaic
    from geocube_ml.data.loader import cube_loader as cube_loader
    from geocube_ml.data.loader import patch_loader as patch_loader
    from geocube_ml.data.loader import sample_loader as sample_loader
    from geocube_ml.data.loader import standard_scaling as standard_scaling
    from geocube_ml.data.samples import gather_samples as gather_samples
    from geocube_ml.data.table import read_samples as read_samples
    from geocube_ml.data.table import write_samples as write_samples
    from geocube_ml.doctor.decisions import record_decisions as record_decisions
    from geocube_ml.doctor.doubt import doubtful_labels as doubtful_labels
    from geocube_ml.evaluate import evaluate_models as evaluate_models
    from geocube_ml.export.cog import to_cog as to_cog
    from geocube_ml.export.dataset import export_dataset as export_dataset
    from geocube_ml.grid import make_grid as make_grid
    from geocube_ml.items.catalog import find_items as find_items
    from geocube_ml.items.catalog import pin_items as pin_items
    from geocube_ml.items.catalog import read_items as read_items
    from geocube_ml.labels.polygons import read_labels as read_labels
    from geocube_ml.labels.raster import rasterize_labels as rasterize_labels
    from geocube_ml.models.bundle import ModelBundle as ModelBundle
    from geocube_ml.predict import predict_map as predict_map
    from geocube_ml.report.page import write_report as write_report
    from geocube_ml.sim import make_archive as make_archive
    from geocube_ml.spec.augment import AugmentSpec as AugmentSpec
    from geocube_ml.spec.models import model_spec as model_spec
    from geocube_ml.spec.recipe import Recipe as Recipe
    from geocube_ml.spec.recipe import read_recipe as read_recipe
    from geocube_ml.spec.storage import StorageSpec as StorageSpec
    from geocube_ml.steps.runner import run_recipe as run_recipe
    from geocube_ml.store.cube import open_cube as open_cube
    from geocube_ml.train import fit_model as fit_model
    from geocube_ml.train import train_model as train_model
    from geocube_ml.views.bands import as_bands as as_bands
    from geocube_ml.views.bands import to_decibel as to_decibel
    from geocube_ml.views.bands import to_physical as to_physical
    from geocube_ml.views.bands import to_power as to_power
    from geocube_ml.views.gaps import fill_gaps as fill_gaps
    from geocube_ml.views.indices import indices as indices

__all__ = [
    "AugmentSpec",
    "ModelBundle",
    "Recipe",
    "StorageSpec",
    "__version__",
    "as_bands",
    "cube_loader",
    "doubtful_labels",
    "evaluate_models",
    "export_dataset",
    "fill_gaps",
    "find_items",
    "fit_model",
    "gather_samples",
    "indices",
    "lazy_cube",
    "make_archive",
    "make_grid",
    "make_mosaic",
    "model_spec",
    "open_cube",
    "patch_loader",
    "pin_items",
    "predict_map",
    "rasterize_labels",
    "read_items",
    "read_labels",
    "read_recipe",
    "read_samples",
    "record_decisions",
    "run_recipe",
    "sample_loader",
    "standard_scaling",
    "to_cog",
    "to_decibel",
    "to_physical",
    "to_power",
    "train_model",
    "write_report",
    "write_samples",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
