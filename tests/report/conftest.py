"""A small run's results, drawn from a seed."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

NAMES = ("winter wheat", '<b>&"', "grassland", "forest $x_1$", "water")
COLORS = ("#e8c547", "#c2703d", "#7fb069", "#2f7d4f", "#4a7fb5")
BANDS = ("blue", "green", "red", "nir")
_PEAK = np.array([5.0, 7.5, 6.5, 6.8, 6.0])
_LEVEL = np.array(  # of reflectance in percent, (class, band)
    [[5, 8, 7, 24], [6, 8, 10, 20], [4, 8, 5, 30], [2, 4, 3, 25], [4, 4, 3, 1]]
)


def make_cube(shape=(90, 120), months=12, names=NAMES, bands=BANDS, seed=0, lit=True):
    """A map of stripes with noise, as a run leaves it: counts, dask-backed."""
    rng = np.random.default_rng(seed)
    rows, cols = shape
    n = len(names)
    grid = GeoBox.from_bbox(
        (399_960, 5_000_040, 399_960 + 10 * cols, 5_000_040 + 10 * rows),
        "EPSG:32633",
        resolution=10,
    )
    y, x = np.mgrid[:rows, :cols]
    field = (y // 18 * 7 + (x + 4 * (y // 18)) // 22 * 3) % n
    classes = np.where(rng.random(shape) < 0.03, rng.integers(0, n, shape), field).astype("uint8")
    label = np.where(
        (y % 18 > 4) & (x % 22 > 7) & (field * 7 + y // 18 + x // 22) % 3 == 0, field, 255
    )
    classes[: rows // 12, : cols // 6] = 255
    prob = rng.dirichlet(np.full(n, 0.3), shape).transpose(2, 0, 1)
    prob = np.sort(prob, axis=0)[::-1] if n > 1 else prob
    packed = np.where(classes == 255, 255, np.rint(250 * prob)).astype("uint8")
    clear = rng.poisson(2 + 2 * np.sin(np.arange(months) / 2)[:, None, None] ** 2, (months, *shape))
    s2 = counts_of(field.ravel(), months, bands, rng).reshape(rows, cols, months, len(bands))
    s2 = np.where(clear[..., None] > 0, s2.transpose(2, 0, 1, 3), 0).transpose(0, 3, 1, 2)
    if not lit:
        classes[:], packed[:], clear[:], s2[:] = 255, 255, 0, 0
    flags = {
        "flag_values": list(range(n)),
        "flag_meanings": " ".join("_".join(name.split()) for name in names),
        "flag_colors": " ".join(COLORS[:n]),
        "nodata": 255,
    }
    data = xr.Dataset(
        {
            "class": (("y", "x"), classes, flags),
            "prob": (
                ("class_name", "y", "x"),
                packed,
                {"scale_factor": 1 / 250, "nodata": 255, "units": "1"},
            ),
            "label": (("y", "x"), label.astype("uint8"), flags),
            "s2": (("time", "s2_band", "y", "x"), s2.astype("uint16"), counts_attrs()),
            "s2_clear": (("time", "y", "x"), clear.astype("uint8"), {"units": "1"}),
        },
        coords={
            **xr_coords(grid),
            "time": pd.date_range("2023-10-01", periods=months, freq="MS").to_numpy(),
            "s2_band": list(bands),
            "class_name": list(names),
        },
    )
    return data.chunk(y=64, x=64, time=6)


def make_samples(cube, n=400, seed=1):
    """Series of random pixels, two months of which nobody saw."""
    rng = np.random.default_rng(seed)
    bands = [str(band) for band in cube.s2_band.to_numpy()]
    n_class = cube.sizes["class_name"]
    label = rng.integers(0, n_class, n)
    s2 = counts_of(label, cube.sizes["time"], bands, rng)
    s2[rng.random(s2.shape[:2]) < 0.2] = 0
    s2[:, 2:3] = 0
    s2[:, 5:6] = 0
    return xr.Dataset(
        {
            "s2": (("sample", "time", "s2_band"), s2.astype("uint16"), counts_attrs()),
            "label": ("sample", label.astype("uint8"), dict(cube["label"].attrs)),
        },
        coords={"time": cube.time, "s2_band": bands},
        attrs={
            "drawn": json.dumps(
                {
                    name: {"labelled": 900, "asked": 80, "got": int((label == code).sum())}
                    for code, name in enumerate(NAMES[:n_class])
                }
            ),
            "left_out": json.dumps({"no time step is valid": {"labels": 2, "samples": 31}}),
            "fold_distances": json.dumps(
                {
                    "random": {"0": {"n": 200, "min_m": 10.0, "median_m": 14.14}},
                    "block": {
                        "0": {"n": 150, "min_m": 510.0, "median_m": 1730.5},
                        "1": {"n": 250, "min_m": None, "median_m": None},
                    },
                }
            ),
        },
    )


def add_static(cube, bands=("elevation", "slope"), name="dem", seed=3):
    """The cube with a source that has no time axis, of which each class has its own level."""
    rng = np.random.default_rng(seed)
    code = cube["class"].to_numpy().astype(int)
    wave = 40 * np.sin(np.arange(len(bands))[:, None, None] / 20 + code % 9)
    values = 300 + 25 * (code % 9) + wave + rng.normal(0, 5, (len(bands), *code.shape))
    attrs = {"nodata": -32768, "units": "m", "long_name": f"Layer {name}"}
    return cube.assign(
        {name: ((f"{name}_band", "y", "x"), np.rint(values).astype("int16"), attrs)}
    ).assign_coords({f"{name}_band": list(bands)})


def still_samples(cube, n=300, seed=1):
    """Random pixels of a cube without a time axis."""
    rng = np.random.default_rng(seed)
    row, col = (rng.integers(0, cube.sizes[dim], n) for dim in ("y", "x"))
    label = cube["class"].to_numpy()[row, col] % cube.sizes["class_name"]
    sources = {
        name: (("sample", f"{name}_band"), cube[name].to_numpy()[:, row, col].T, cube[name].attrs)
        for name in ("dem", "enmap")
        if name in cube
    }
    bands = {f"{name}_band": cube[f"{name}_band"] for name in sources}
    return xr.Dataset(
        {**sources, "label": ("sample", label, dict(cube["label"].attrs))}, coords=bands
    )


def counts_of(codes, months, bands, rng):
    """(pixel, time, band) reflectance x 10 000 with a season and noise."""
    season = np.exp(-((np.arange(months)[None] - _PEAK[codes][:, None] - 1) ** 2) / 8)
    base = np.resize(_LEVEL, (5, len(bands)))[codes][:, None]
    swing = np.where(np.array(bands) == "nir", 1.2, -0.4) * season[..., None]
    noise = rng.normal(1, 0.09, (*season.shape, len(bands)))
    return np.clip(np.rint(100 * base * (1 + swing) * noise), 1, 9999)


def counts_attrs():
    return {"nodata": 0, "scale_factor": 1e-4, "add_offset": 0.0, "units": "1"}


def score_of(confusion, model, split, **more):
    """A score whose figures follow from its confusion matrix."""
    matrix = np.array(confusion)
    hit, rows, cols, total = matrix.diagonal(), matrix.sum(1), matrix.sum(0), matrix.sum()
    f1 = [2 * h / (r + c) if r else None for h, r, c in zip(hit, rows, cols, strict=True)]
    chance = float(rows @ cols) / total**2
    overall = float(hit.sum() / total)
    return {
        "model": model, "split": split, "n_train": 4000, "n_test": int(total),
        "train_polygons": 160, "test_polygons": 40, "confusion": matrix.tolist(),
        "overall": overall, "macro_f1": float(np.mean([f for f in f1 if f is not None])),
        "kappa": (overall - chance) / (1 - chance) if chance < 1 else None, "f1": f1, "notes": [],
    } | more  # fmt: skip


def make_scores(names=NAMES, seed=2):
    """Two models and the majority class on three splits, and a reference."""
    rng = np.random.default_rng(seed)
    n = len(names)
    size = np.linspace(900, 200, n).astype(int)

    def drawn(right):
        share = right * np.eye(n) + (1 - right) * rng.dirichlet(np.ones(n), n)
        return np.stack([rng.multinomial(s, p) for s, p in zip(size, share, strict=True)])

    scores = []
    for split, right in (
        ("block", (0.72, 0.6)),
        ("random", (0.86, 0.84)),
        ("polygon", (0.74, 0.65)),
    ):
        scores += [
            score_of(drawn(r), m, split) for m, r in zip(("tempcnn", "forest"), right, strict=True)
        ]
        majority = np.zeros((n, n), int)
        majority[:, 0] = size
        scores.append(score_of(majority, "majority class", split))
    reference = [
        score_of(40 * drawn(right), model, "reference")
        for model, right in (("tempcnn", 0.75), ("forest", 0.64), ("best possible", 0.9))
    ]
    scores[0]["notes"] = ["training stopped after 12 epochs"]
    return {
        "classes": {"names": list(names), "colors": list(COLORS[:n])},
        "scores": scores,
        "reference": reference,
        "notes": ["Spatial hold-out: only 2 test polygons of water"],
    }


@pytest.fixture(scope="session")
def scores():
    return make_scores()


@pytest.fixture(scope="session")
def cube(tmp_path_factory):
    """Read from Zarr, as a run's cube is."""
    path = tmp_path_factory.mktemp("cube") / "cube.zarr"
    made = make_cube()
    names = {dim: made[dim] for dim in ("s2_band", "class_name")}  # Zarr v3 has no texts yet
    made.drop_vars(names).to_zarr(path, consolidated=False)
    return xr.open_zarr(path, mask_and_scale=False, consolidated=False).assign_coords(names)


@pytest.fixture(scope="session")
def problems():
    return pd.DataFrame(
        [
            ("a.gpkg", 3, "winter wheat", "no pixel is 10 m inside", "left out", 812.5),
            ("a.gpkg", 9, '<b>&"', "no pixel is 10 m inside", "left out", 400.0),
            ("b.gpkg", 17, "water", "self-intersection", "mended", 25_000.0),
            ("b.gpkg", 4, "water", "disputed by feature 5 (grassland)", "unlabelled", 700.0),
            ("b.gpkg", 5, "grassland", "disputed by feature 4 (water)", "unlabelled", 500.0),
            ("b.gpkg", 8, "", "no geometry", "left out", np.nan),
            ("b.gpkg", 2, "water", "no pixel of its own has its centre inside", "left out", 99.0),
        ],
        columns=["source", "feature", "class", "reason", "done", "area_m2"],
    )


@pytest.fixture(scope="session")
def labels():
    """Two polygons a class, and a raster."""
    rows = [(at + 1, NAMES[at % 5], 10_000.0 * (at + 1)) for at in range(10)]
    return pd.DataFrame([*rows, (-2, "", 0.0)], columns=["polygon", "class", "area_m2"])


@pytest.fixture(scope="session")
def doubtful():
    return pd.DataFrame(
        {
            "polygon": range(1, 13),
            "file": ["b.gpkg"] * 11 + [""],
            "feature": [*range(20, 31), -1],
            "class": "water",
            "suggested": "forest $x_1$",
            "doubt": np.linspace(0.99, 0.5, 12),
            "reason": "the data say forest $x_1$ (0.93); 14 of 15 neighbours are forest $x_1$",
        }
    )


@pytest.fixture(scope="session")
def everything(cube, scores, labels, problems, doubtful):
    """All arguments of a whole page."""
    return {
        "title": "Demo & valley",
        "cube": cube,
        "samples": make_samples(cube),
        "scores": scores,
        "labels": labels,
        "problems": problems,
        "doubtful": doubtful,
        "facts": [
            ("Period", "2023-10 to 2024-09"),
            ("Items", "72 of 24 days"),
            ("Labels", "203 polygons, 4210 pixels"),
            ("Digest of `cube`", "5f1c" * 16),
        ],
        "notes": ["No item in 2 months, which stay missing: 2023-12, 2024-03."],
    }
