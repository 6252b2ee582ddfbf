"""How hard the simulated archive is, before any model of series has been trained on it.

    python benchmarks/difficulty.py [--size 384] [--seed 0] [--year 2022] ...

The options are those of the simulation; the defaults are the demo.  Prints the macro-F1 of the
best possible map, of a random forest on each single month, the shares of mixed pixels and of
cloud that the scene classification misses, and the archive's size and the seconds it took.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import f1_score

from geocube_ml.sim import make_archive
from geocube_ml.sim.best import clear_series, macro_f1, truth_and_best
from geocube_ml.sim.grids import map_geobox
from geocube_ml.sim.labels import labelled_fields
from geocube_ml.sim.landscape import mixing
from geocube_ml.sim.passes import passes
from geocube_ml.sim.phenology import SCHEME
from geocube_ml.sim.scenes import landscape, make_scene
from geocube_ml.spec.simulate import SimSpec

BLOCK = 500  # m, edge of the squares that are held out together
PER_FIELD = 10  # pixels of a field that a forest is trained on


def of_series(spec: SimSpec) -> dict[str, object]:
    """Figures that need no archive, only its clear-sky series."""
    strips = list(clear_series(spec))
    shares = np.concatenate([shares for _, shares, _ in strips])
    series = np.concatenate([series for _, _, series in strips])
    truth, best = truth_and_best(spec)
    mix = mixing(landscape(spec), map_geobox(spec.size))
    pure = np.diff(mix.indptr) == 1
    field = np.where(pure, mix.indices[mix.indptr[:-1]], -1)
    forests = by_month(spec, field, truth.ravel(), series.reshape(truth.size, *series.shape[2:]))
    return {
        "classes": len(SCHEME.names),
        "fields": len(np.unique(mix.indices)),
        "labelled fields": len(labelled_fields(spec)),
        "mixed pixels": round(float((shares.max(axis=-1) < 0.999).mean()), 3),
        "best, all pixels": round(macro_f1(truth, best), 3),
        "best, pure pixels": round(macro_f1(truth.ravel()[pure], best.ravel()[pure]), 3),
        "forest by month": forests,
    }


def by_month(spec: SimSpec, field, truth, series) -> list[float]:
    """Macro-F1 of a random forest on one month's bands, on held-out squares of the map."""
    land, rng = landscape(spec), np.random.default_rng(0)
    wanted = np.flatnonzero(np.isin(field, labelled_fields(spec)))
    wanted = rng.permutation(wanted)
    centre = np.array([[p.centroid.x, p.centroid.y] for p in land.polygons])
    square = np.unique(centre // BLOCK, axis=0, return_inverse=True)[1].ravel()
    held_out = (rng.permutation(square.max() + 1) % 3 == 0)[square]  # (field,)

    train = wanted[~held_out[field[wanted]]]
    train = train[_first_of_each(field[train], PER_FIELD)]
    test = wanted[held_out[field[wanted]]]
    out = []
    for month in range(series.shape[1]):
        forest = RandomForestClassifier(200, random_state=0, n_jobs=2)
        forest.fit(series[train, month], truth[train])
        mapped = forest.predict(series[test, month])
        out.append(round(float(f1_score(truth[test], mapped, average="macro")), 3))
    return out


def of_sky(spec: SimSpec) -> dict[str, object]:
    """What the scene classification makes of cloud and shadow, over all scenes."""
    n_seen = n_cloud = n_shadow = missed_cloud = missed_shadow = n_clear = false = 0
    for passage in passes(spec):
        for tile in range(2):
            scene = make_scene(spec, passage, tile)
            passed = np.isin(scene.assets["SCL"], (4, 5))
            clear = scene.seen & ~scene.cloud & ~scene.shadow
            n_seen += scene.seen.sum()
            n_cloud += scene.cloud.sum()
            n_shadow += scene.shadow.sum()
            n_clear += clear.sum()
            missed_cloud += (scene.cloud & passed).sum()
            missed_shadow += (scene.shadow & passed).sum()
            false += (clear & ~passed).sum()
    missed = missed_cloud + missed_shadow
    return {
        "cloud": round(n_cloud / n_seen, 3),
        "cloud or shadow": round((n_cloud + n_shadow) / n_seen, 3),
        "cloud missed by SCL": round(missed_cloud / max(n_cloud, 1), 3),
        "shadow missed by SCL": round(missed_shadow / max(n_shadow, 1), 3),
        "spoiled among SCL 4 and 5": round(missed / max(missed + n_clear - false, 1), 3),
        "clear called cloud or shadow": round(false / max(n_clear, 1), 3),
    }


def of_archive(spec: SimSpec) -> dict[str, object]:
    """Size and seconds of the files."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        made = make_archive(spec.model_copy(update={"folder": folder}))
        seconds = time.perf_counter() - start
        sizes = [path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()]
        return {
            "best_f1 recorded": round(made.best_f1, 3),
            "files": len(sizes),
            "MB": round(sum(sizes) / 1e6),
            "seconds": round(seconds, 1),
        }


def _first_of_each(group, n):
    """True for the first `n` of each group's members."""
    order = np.argsort(group, kind="stable")
    start = np.searchsorted(group[order], group[order])
    out = np.empty(len(group), bool)
    out[order] = np.arange(len(group)) - start < n
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, field in SimSpec.model_fields.items():
        if name != "folder":
            parser.add_argument(f"--{name}", type=field.annotation, default=field.default)
    spec = SimSpec(folder="unused", **vars(parser.parse_args()))
    print(spec.result())
    for figures in (of_archive, of_series, of_sky):
        for name, value in figures(spec).items():
            print(f"{name:30} {value}", flush=True)


if __name__ == "__main__":
    main()
