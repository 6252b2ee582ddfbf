"""The demo, made small, on an object store, with items from anywhere, on a cluster."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from geocube_ml.run import main
from geocube_ml.sim import Archive
from geocube_ml.steps import runner
from tests.servers.dask import DaskCluster, dask_cluster
from tests.servers.s3 import S3
from tests.small import SMALL

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def demo(small_archive: Archive) -> dict[str, Any]:
    """The demo's recipe with smaller numbers; `out` and where files are is left to the test."""
    recipe = yaml.safe_load((ROOT / "catalogs/demo.yaml").read_text())
    recipe["simulate"] = SMALL | {"folder": str(small_archive.folder)}
    source = recipe["sources"]["s2"]
    source["sensor"] = str(ROOT / "catalogs" / source["sensor"])
    source["bands"] = ["red", "nir", "swir16"]
    source["items"] = {
        "catalog": str(small_archive.items),
        "collections": ["sentinel-2-l2a"],
        "max_cloud_cover": 90,
    }
    recipe["grid"]["bounds"] = list(small_archive.bounds)
    recipe["store"] = {"chunk": 32, "shard": 64, "tile": 64}
    recipe["labels"] |= {"path": str(small_archive.labels), "empty_class": "drop"}
    recipe["samples"] = {"per_polygon": 20, "block_m": 200}
    recipe["models"] = {"tempcnn": {"epochs": 2, "width": 16}, "forest": {"trees": 20}}
    recipe["evaluate"] |= {"reference": str(small_archive.truth), "bound": str(small_archive.best)}
    return recipe


@pytest.fixture(autouse=True)
def _simulated_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few scenes are made sooner than processes for them begin."""
    make = runner.make_archive
    monkeypatch.setattr(
        runner, "make_archive", lambda spec, **options: make(spec, **options | {"workers": 1})
    )


@pytest.fixture(scope="session")
def local_run(demo: dict[str, Any], once: Callable[..., Path]) -> dict[str, str]:
    """Every file of an undisturbed run on disk, and the digest of what it holds."""

    def run(folder: Path) -> None:
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(demo | {"out": str(folder / "out")}))
        assert main([str(path)]) == 0

    out = once("demo", run) / "out"
    return digests({str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()})


@pytest.fixture(scope="session")
def _cluster(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with dask_cluster(tmp_path_factory.mktemp("dask"), env=s3.env) as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: DaskCluster) -> DaskCluster:
    """Two workers that reach the store; any process of it may be killed."""
    if not _cluster.schedulers[-1].running:
        _cluster.restart()
    _cluster.wait_for_workers(2)
    return _cluster


@pytest.fixture
def write_recipe(demo: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """Write a recipe with other values at the top level."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(demo | changes))
        return path

    return write


def digests(objects: dict[str, bytes]) -> dict[str, str]:
    """The digest of what each object holds."""
    return {key: hashlib.sha256(content).hexdigest() for key, content in objects.items()}


def results(found: dict[str, str]) -> dict[str, str]:
    """Those that are a result: not the records, and no zip, which says when it was made."""
    kept = ("cube.zarr/", "samples.zarr/", "export/", "models/", "scores.json", "labels_lost.csv")
    return {k: v for k, v in found.items() if k.startswith(kept) and not k.endswith(".skops")}


def start(recipe: Path, *steps: str, env: dict[str, str]) -> subprocess.Popen[str]:
    """A run in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "geocube_ml.run", str(recipe), *steps],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=os.environ | env,
    )
