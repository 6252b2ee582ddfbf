"""What the documents show works."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml

from geocube_ml.run import main
from geocube_ml.spec.models import ModelSpec
from geocube_ml.spec.recipe import Recipe, read_recipe
from geocube_ml.steps import NAMES, module_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*/*.md")]


HOW_TO = ROOT / "docs" / "how-to"


def blocks(language: str, path: Path = ROOT / "README.md") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), flags=re.DOTALL)


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
    assert recipe.sources["s2"].bands == ("blue", "green", "red", "nir", "swir16")


def test_what_else_the_readme_writes_into_a_recipe_fits_into_it(tmp_path):
    (tmp_path / "sources").symlink_to(ROOT / "catalogs" / "sources")
    first, *parts = map(yaml.safe_load, blocks("yaml"))
    assert {key for part in parts for key in part} >= {"out", "storage", "cluster", "sources"}
    plain = {"recipe": first, **{str(n): first | part for n, part in enumerate(parts)}}
    all_at_once = first | {key: value for part in parts for key, value in part.items()}
    for name, values in (plain | {"all": all_at_once}).items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values))
        recipe = read_recipe(path)
        for key in values:
            default = Recipe.model_fields[key].get_default()
            assert getattr(recipe, key) != default, f"{key} says what is so anyway"


@pytest.mark.parametrize("page", ["labels", "dataset", "models", "numbers", "accuracy"])
def test_what_a_how_to_writes_into_a_recipe_fits_into_it(page, tmp_path):
    (tmp_path / "sources").symlink_to(ROOT / "catalogs" / "sources")
    first = yaml.safe_load(blocks("yaml")[0])
    parts = [yaml.safe_load(text) for text in blocks("yaml", HOW_TO / f"{page}.md")]
    assert parts
    for number, part in enumerate(parts):
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump(first | part))
        assert read_recipe(path).labels is not None
        for source in read_recipe(path).labels.sources:
            assert source.path.startswith("/data/")


def test_the_arrays_of_the_page_on_models_are_learnt():
    (block,) = blocks("python", HOW_TO / "models.md")
    found = {}
    exec(compile(block, "models.md", "exec"), found)
    assert found["prob"].shape == (100, 3)
    assert (found["prob"].argmax(axis=1) == found["label"][200:]).mean() > 0.8


def test_the_arrays_of_the_page_on_numbers_are_learnt():
    (block,) = blocks("python", HOW_TO / "numbers.md")
    found = {}
    exec(compile(block, "numbers.md", "exec"), found)
    assert np.corrcoef(found["found"], found["label"][200:])[0, 1] > 0.6


def test_the_page_on_models_names_every_kind():
    page = (HOW_TO / "models.md").read_text()
    kinds = {
        kind
        for spec in get_args(get_args(ModelSpec)[0])
        for kind in get_args(spec.model_fields["kind"].annotation)
    }
    assert len(kinds) == 13
    assert {kind for kind in kinds if f"`{kind}`" in page} == kinds


def test_the_steps_that_a_how_to_names_exist():
    for page in ("labels", "dataset", "models"):
        for block in blocks("bash", HOW_TO / f"{page}.md"):
            for line in block.splitlines():
                words = line.partition("#")[0].split()
                named = [word for word in words[4:] if not word.startswith("--")]
                assert words[:3] == ["python", "-m", "geocube_ml.run"]
                assert set(named) <= set(NAMES)
                assert named


def test_the_readmes_exit_codes_are_those_of_the_command():
    said = re.findall(r"^\| (\d+) \|", README, re.MULTILINE)
    assert said == re.findall(r"\b\d+\b", str(main.__doc__))


@pytest.mark.parametrize("path", sorted((ROOT / "catalogs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_recipe_is_valid(path, monkeypatch):
    monkeypatch.setenv("GEOCUBE_ML_DATA", "/data")
    assert read_recipe(path).name == path.stem


def test_the_make_targets_that_are_named_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = {
        a or b
        for path in DOCUMENTS
        for a, b in re.findall(r"`make ([a-z]+)`|^make (\w+)$", path.read_text(), re.M)
    }
    assert {"demo", "test", "bench"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_files_that_the_documents_name_exist():
    for path in DOCUMENTS:
        for name in re.findall(r"`((?:catalogs|notebooks|benchmarks|docs|tests)/[\w/.-]+\.\w+)`",
                               path.read_text()):  # fmt: skip
            assert (ROOT / name).exists() or "results" in name, f"{path.name}: {name}"


def test_links_lead_to_files():
    for path in DOCUMENTS:
        for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
            if "://" not in link:
                assert (path.parent / link.partition("#")[0]).exists(), f"{path.name}: {link}"


def test_modules_and_names_of_the_architecture_exist():
    package = ROOT / "geocube_ml"
    for name in re.findall(r"`(\w+/\w+\.py)`", ARCHITECTURE):
        assert (package / name).exists(), name
    for name in re.findall(r"`(\w+)\.py`", ARCHITECTURE):
        assert list(package.rglob(f"{name}.py")), name
    dotted = re.findall(r"`(\w+)\.(\w+)(?:\.(\w+))?(?:\.\w+)*`", ARCHITECTURE)
    for layer, module, name in dotted:
        if not (package / layer).is_dir() or module == "py":
            continue
        file = package / layer / f"{module}.py"
        if file.exists():
            assert not name or re.search(rf"\b{name}\b", file.read_text()), (layer, module, name)
        else:
            assert module in (package / layer / "__init__.py").read_text(), (layer, module)


def test_the_layers_of_the_architecture_are_those_that_are_checked():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(c["layers"] for c in contracts["contracts"] if c["type"] == "layers")
    table = ARCHITECTURE.partition("## Layers")[2].partition("##")[0]
    rows = re.findall(r"^\| ((?:`\w+`(?: \\\| )?)+) \|", table, re.MULTILINE)
    assert [re.findall(r"\w+", row) for row in rows] == [re.findall(r"\w+", r) for r in layers]


def test_decisions_are_numbered_and_say_when_they_would_be_reversed():
    pages = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text()
        assert text.startswith(f"# {int(page.name[:4])}. ")
        for part in ("Context", "Decision", "Turned down", "What would reverse it"):
            assert f"\n## {part}\n" in text, (page.name, part)
    for path in DOCUMENTS:
        for number in re.findall(r"\bADR (\d+)", path.read_text()):
            assert int(number) <= len(pages)


def test_every_step_is_a_module():
    for name in NAMES:
        file = f"{module_of(name).replace('.', '/')}.py"
        assert (ROOT / file).exists()
