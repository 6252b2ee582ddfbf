from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import geocube_ml

HEAVY = {"numpy", "pandas", "xarray", "dask", "torch", "pydantic", "rasterio", "zarr", "geopandas"}


def loaded(code):
    """Top-level packages in sys.modules after some code ran in a new interpreter."""
    code += "\nimport sys; print('loaded:', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    return set(done.stdout.rpartition("loaded:")[2].split())


def test_importing_the_package_costs_nothing():
    assert not loaded("import geocube_ml; dir(geocube_ml); geocube_ml.__version__") & HEAVY


def test_help_costs_nothing():
    names = loaded(
        "import runpy, sys\n"
        "sys.argv = ['run', '--help']\n"
        "try: runpy.run_module('geocube_ml.run', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0"
    )
    assert "argparse" in names
    assert not names & HEAVY


def test_a_typo_in_a_recipe_is_told_before_anything_slow_is_loaded(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("nam: x\n")
    names = loaded(f"from geocube_ml.run import main; assert main([{str(recipe)!r}]) == 2")
    assert not names & (HEAVY - {"pydantic"})


@pytest.mark.parametrize("name", geocube_ml.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(geocube_ml, name)
    if name != "__version__":
        assert inspect.getdoc(value)
        assert value.__module__.startswith("geocube_ml.")


def test_the_public_names_are_sorted_listed_and_typed():
    assert list(geocube_ml.__all__) == sorted(geocube_ml.__all__)
    assert dir(geocube_ml) == sorted(geocube_ml.__all__)
    tree = ast.parse(Path(geocube_ml.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: node.module for node in guarded.body for alias in node.names}
    assert typed == {name: f"geocube_ml.{at}" for name, at in geocube_ml._WHERE.items()}
    assert {*typed, "__version__"} == set(geocube_ml.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'geocube_ml' has no attribute 'nothing'"):
        _ = geocube_ml.nothing


def test_the_version_is_that_of_the_distribution():
    assert re.fullmatch(r"\d+\.\d+\.\d+", geocube_ml.__version__)
    assert version("geocube-ml") == geocube_ml.__version__
