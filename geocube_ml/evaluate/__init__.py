"""How good models are: on splits of the samples, and against a raster that is true everywhere."""

from geocube_ml.evaluate.gather import gather_scores
from geocube_ml.evaluate.reference import (
    HeldOut,
    evaluate_reference,
    judge_window,
    reference_scores,
)
from geocube_ml.evaluate.scores import BOUND, MAJORITY
from geocube_ml.evaluate.splits import evaluate_models
from geocube_ml.evaluate.tasks import FoldTask, Found, fold_tasks, judge_fold

__all__ = [
    "BOUND",
    "MAJORITY",
    "FoldTask",
    "Found",
    "HeldOut",
    "evaluate_models",
    "evaluate_reference",
    "fold_tasks",
    "gather_scores",
    "judge_fold",
    "judge_window",
    "reference_scores",
]
