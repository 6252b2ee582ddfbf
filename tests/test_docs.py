"""What the documents show works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from geocube_ml.spec.recipe import read_recipe
from geocube_ml.steps import NAMES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_readmes_python_runs(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert blocks("python")
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_the_readmes_recipe_is_one(tmp_path):
    (tmp_path / "sources").symlink_to(ROOT / "catalogs" / "sources")
    path = tmp_path / "my-valley.yaml"
    path.write_text(blocks("yaml")[0])
    recipe = read_recipe(path)
    assert list(recipe.models) == ["tempcnn", "forest"]
    assert recipe.source[1].bands == ("blue", "green", "red", "nir", "swir16")


@pytest.mark.parametrize("path", sorted((ROOT / "catalogs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_recipe_is_valid(path, monkeypatch):
    monkeypatch.setenv("GEOCUBE_ML_DATA", "/data")
    assert read_recipe(path).name == path.stem


def test_the_make_targets_that_are_named_exist():
    makefile = (ROOT / "Makefile").read_text()
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/adr/*.md")]
    named = {
        a or b
        for path in documents
        for a, b in re.findall(r"`make ([a-z]+)`|^make (\w+)$", path.read_text(), re.M)
    }
    assert {"demo", "test", "bench"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_files_that_the_documents_name_exist():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/adr/*.md")]:
        for name in re.findall(r"`((?:catalogs|notebooks|benchmarks|docs|tests)/[\w/.-]+\.\w+)`",
                               path.read_text()):  # fmt: skip
            assert (ROOT / name).exists() or "results" in name, f"{path.name}: {name}"


def test_every_step_is_a_module():
    for name in NAMES:
        assert (ROOT / "geocube_ml" / "steps" / f"{name}.py").exists()
