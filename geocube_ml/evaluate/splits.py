"""How good models are on spatial blocks that none has seen, and how flattering other splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import xarray as xr

from geocube_ml.evaluate.gather import gather_scores
from geocube_ml.evaluate.tasks import fold_tasks, judge_fold
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.spec.evaluate import EvaluateSpec
from geocube_ml.spec.models import ModelSpec

Note = Callable[[int, int], None]
_DEFAULT = EvaluateSpec()


def evaluate_models(
    samples: xr.Dataset,
    bundles: Mapping[str, ModelBundle],
    models: Mapping[str, ModelSpec],
    spec: EvaluateSpec = _DEFAULT,
    *,
    cube: xr.Dataset | None = None,
    seed: int = 0,
    workers: int = 1,
    note: Note | None = None,
) -> dict[str, Any]:
    """Score models on held-out samples, beside the majority class.

    Parameters
    ----------
    samples : xarray.Dataset
        From `gather_samples`.
    bundles : mapping of name to ModelBundle
        Trained on all but the hold-out (of spatial blocks, or of the given split); they are judged
        on it as they are.
    models : mapping of name to spec
        Fitted anew for the other splits.
    spec : EvaluateSpec
        Which splits, and how often groups are drawn again for intervals.
    cube : xarray.Dataset, optional
        That the samples were taken from; for models that see what lies around a pixel.
    seed : int
        Of the random split and of the resamples.
    workers : int
        Threads of a fit.
    note : callable, optional
        Told how many fits are done.

    Returns
    -------
    dict
        JSON-able: ``classes``; ``scores``, one a model and split; ``early``, one a model and number
        of steps (``steps``, ``until``: the day on which the last of them starts); ``without``, one
        a model and source (``without``, and ``how``: "fitted anew" or "as it is"); ``whole``, the
        scores that these are compared with where `scores` lacks them, one a model; ``baseline``,
        the model that others are compared with; ``notes``: how far the tested samples lie from
        those that were trained on, and what weakens a figure.

        A score has ``model``, ``split``, ``n_train``, ``n_test``, ``train_polygons``,
        ``test_polygons``, ``confusion`` (rows reference, columns map); of each class ``f1``,
        ``iou``, ``users``, ``producers`` (None for a class without a test pixel); ``overall``,
        ``balanced``, ``macro_f1``, ``kappa``, and before and after the temperature ``log_loss``,
        ``log_loss_softened``, ``ece``, ``ece_softened``; ``temperature`` (the median of the
        folds'), ``reliability``; ``resampled`` (``unit``, ``n``, ``resamples``, ``level``) and
        ``interval`` (figure to its ends), or None where there are too few groups; an interval is
        None too where more than one resample in twenty lacks a class that its figure is of;
        ``difference``
        (``to``, and figure to ``value`` and ``interval``) from the baseline, or in ``early`` and
        ``without`` from the same model with everything; ``n_unseen`` and ``notes``; of the split
        ``group`` also ``left_out``: ``group`` and the figures of each that was left out.

        Of samples with a ``value`` models estimate that number: ``quantity`` says its ``column``
        and ``units`` (None of classes), and a score has ``rmse``, ``mae``, ``bias`` (estimate minus
        label), ``r2`` (None where all labels are equal) and ``pairs`` (label and estimate of at
        most 2,000 test rows) in place of the figures of classes.  Beside the models stands the
        ``training mean`` in place of the majority class.

    Raises
    ------
    InputError
        The samples have no groups, no given split, no such source or step, but the spec names it.

    Notes
    -----
    Test rows without any observation (after a cut, or without a source) are judged too: their
    answer is how the training rows are shared among the classes, or their mean.
    """
    tasks = fold_tasks(samples, models, spec, seed)
    found = {}
    for done, task in enumerate(tasks, start=1):
        found[task] = judge_fold(
            task, samples, bundles, models, seed=seed, workers=workers, cube=cube
        )
        if note is not None:
            note(done, len(tasks))
    return gather_scores(samples, models, spec, found, seed=seed)
