"""A data set that others can use: series, chips with masks, splits, a data sheet, a collection."""

from geocube_ml.export.dataset.write import export_dataset

__all__ = ["export_dataset"]
