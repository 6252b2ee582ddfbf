"""Sample tables of real series, and labels that are flipped on purpose."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import cross_val_predict

from geocube_ml.spec.labels import ClassScheme, ClassSpec


def table(series, label, names, polygon=None):
    """A sample table as `gather_samples` makes it, of (n, time, band) physical values."""
    n, steps, bands = series.shape
    polygon = np.arange(1, n + 1) if polygon is None else polygon
    flags = ClassScheme.of(tuple(ClassSpec(name=str(name)) for name in names)).attrs()
    return xr.Dataset(
        {
            "s2": (("sample", "time", "s2_band"), series.astype("f4"), {"nodata": np.nan}),
            "label": ("sample", label.astype("u1"), flags),
            "polygon": ("sample", polygon.astype("i4")),
            "x": ("sample", np.arange(n) * 10.0),
            "y": ("sample", np.zeros(n)),
            "block": ("sample", np.arange(n) // 10),
        },
        coords={
            "time": pd.date_range("2022-01-01", periods=steps, freq="16D").to_numpy(),
            "s2_band": np.array([f"b{k}" for k in range(bands)], object),
        },
    )


def read(folder, by_place=False):
    """The samples of a set of real series, each a label; or each place, at all its years."""
    held = np.load(folder / "samples.npz")
    kept = held["in_sitsbook_subset"].astype(bool) if "in_sitsbook_subset" in held else ...
    series, classes = held["X"][kept], held["classes"]
    names, label = np.unique(classes[held["y"][kept]], return_inverse=True)
    if not by_place:
        places = np.arange(len(label))
    elif "group" in held:
        places = held["group"][kept]
    elif "lon" in held:
        places = np.stack([held["lon"][kept], held["lat"][kept]], axis=1)
    else:
        places = np.arange(len(label))
    polygon = 1 + np.unique(places, axis=0, return_inverse=True)[1].ravel()
    # a place that has another class in another year is as many polygons
    pairs = np.stack([polygon, label], axis=1)
    return table(series, label, names, 1 + np.unique(pairs, axis=0, return_inverse=True)[1].ravel())


def flipped(samples, how, share=0.1, seed=0):
    """The table with a share of its labels (polygons) of another class, and which those are.

    how : "random", or "similar": to the class that a forest takes each class for most often.
    """
    rng = np.random.default_rng(seed)
    label = samples["label"].values.astype(int)
    n_class = len(samples["label"].attrs["class_names"])
    polygon, at = np.unique(samples["polygon"].values, return_inverse=True)
    wrong = np.zeros(len(polygon), bool)
    wrong[rng.choice(len(polygon), round(share * len(polygon)), replace=False)] = True
    if how == "random":
        other = (label + rng.integers(1, n_class, len(polygon))[at]) % n_class
    else:
        other = similar(samples)[label]
    changed = samples.copy()
    changed["label"] = samples["label"].copy(data=np.where(wrong[at], other, label).astype("u1"))
    return changed, polygon[wrong]


def similar(samples):
    """(class,) the class that a forest, out of folds, takes each class for most often."""
    label = samples["label"].values.astype(int)
    flat = np.nan_to_num(samples["s2"].values.reshape(len(label), -1))
    forest = ExtraTreesClassifier(50, random_state=0, n_jobs=2)
    share = cross_val_predict(forest, flat, label, cv=3, method="predict_proba")
    confused = np.stack([share[label == code].mean(axis=0) for code in np.unique(label)])
    np.fill_diagonal(confused, -1)
    return confused.argmax(axis=1)


def found(doubts, wrong, share=0.15):
    """Share of the wrong polygons that are among the most doubtful."""
    worst = doubts.labels["polygon"].to_numpy()[: round(share * len(doubts.labels))]
    return np.isin(wrong, worst).mean()
