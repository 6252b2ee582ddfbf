"""A small simulated archive, and recipes on it."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from geocube_ml.run import main
from geocube_ml.sim import Archive

SENSOR = Path(__file__).parents[2] / "catalogs/sources/planetary-computer-sentinel-2-l2a.yaml"


@pytest.fixture(scope="session")
def archive(small_archive: Archive) -> Archive:
    return small_archive


@pytest.fixture(scope="session")
def values(archive: Archive) -> dict[str, Any]:
    """A recipe that runs in seconds; `out` is left to the test."""
    return {
        "name": "small",
        "sources": {
            "s2": {
                "sensor": str(SENSOR),
                "items": {"catalog": str(archive.items)},
                "bands": ["red", "nir", "swir16"],
            }
        },
        "grid": {"crs": archive.crs, "resolution": 10, "bounds": list(archive.bounds)},
        "period": {"start": "2022-01", "end": "2022-12"},
        "store": {"chunk": 32, "shard": 64, "tile": 64},
        "labels": {
            "path": str(archive.labels),
            "class_column": "class",
            "inset_m": 10,
            "empty_class": "drop",
            "classes": [{"name": name} for name in archive.classes.names],
        },
        "samples": {"per_polygon": 20, "block_m": 200},
        "models": {"tempcnn": {"epochs": 2, "width": 16}, "forest": {"trees": 20}},
        "evaluate": {
            "splits": ["block", "random"],
            "reference": str(archive.truth),
            "bound": str(archive.best),
        },
    }


@pytest.fixture
def recipe(values: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """Write a recipe; a key such as ``labels.inset_m`` is changed, or removed with None."""

    def write(changes: dict[str, Any] | None = None, name: str = "recipe.yaml") -> Path:
        changed = copy.deepcopy(values) | {"out": str(tmp_path / "out")}
        for key, value in (changes or {}).items():
            *parents, last = key.split(".")
            at = changed
            for parent in parents:
                at = at[parent]
            if value is None:
                del at[last]
            else:
                at[last] = value
        path = tmp_path / name
        path.write_text(yaml.safe_dump(changed, sort_keys=False))
        return path

    return write


@pytest.fixture(scope="session")
def run_once(values: dict[str, Any], once: Callable[..., Path]) -> Callable[..., Path]:
    """What the steps of the recipe write; to be left as it is."""

    def run(name: str, *steps: str) -> Path:
        def fill(folder: Path) -> None:
            path = folder / "recipe.yaml"
            path.write_text(yaml.safe_dump(values | {"out": str(folder / "out")}, sort_keys=False))
            assert main([str(path), *steps]) == 0

        return once(name, fill) / "out"

    return run


@pytest.fixture(scope="session")
def undisturbed(run_once: Callable[..., Path]) -> Path:
    """What all steps write, once for all tests; to be left as it is."""
    return run_once("finished")


@pytest.fixture(scope="session")
def cube_alone(run_once: Callable[..., Path]) -> Path:
    """What the step `cube` writes, once for all tests; to be left as it is."""
    return run_once("cube", "cube")


@pytest.fixture
def with_cube(recipe: Callable[..., Path], cube_alone: Path, tmp_path: Path) -> Path:
    """A recipe whose cube is made; its folder is a copy that the test may change."""
    shutil.copytree(cube_alone, tmp_path / "out")
    return recipe()


@pytest.fixture
def finished(recipe: Callable[..., Path], undisturbed: Path, tmp_path: Path) -> Path:
    """A recipe whose run is done; its folder is a copy that the test may change."""
    shutil.copytree(undisturbed, tmp_path / "out")
    return recipe()


@pytest.fixture
def copied(archive: Archive, tmp_path: Path) -> Path:
    """An archive that a test may damage."""
    folder = tmp_path / "archive"
    shutil.copytree(archive.folder, folder)
    return folder


def cut_short(path: Path) -> bytes:
    """Take the second half of a file away; returns what it held."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return whole


def by_size(folder: Path, asset: str) -> list[Path]:
    """The files of an asset in an archive, those that show the most ground first."""
    return sorted(folder.glob(f"cogs/*/{asset}.tif"), key=lambda path: -path.stat().st_size)


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder and the digest of what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def stamps(folder: Path) -> dict[str, int]:
    """Every file below a folder and when it was written, in nanoseconds."""
    return {
        str(path.relative_to(folder)): os.stat(path).st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
