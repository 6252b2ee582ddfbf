"""Models are fitted: to arrays, to sample tables, to patches of a cube."""

from geocube_ml.train.arrays import Fitted, fit_model
from geocube_ml.train.samples import train_model

__all__ = ["Fitted", "fit_model", "train_model"]
