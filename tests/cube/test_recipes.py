"""The shipped recipes can be planned as they stand, and as their comments say."""

import errno
import json
import os
import re
import socket
import subprocess
from pathlib import Path

import geopandas
import pystac
import pytest
import yaml

import geocube_ml
from geocube_ml.items.stored import quiet
from geocube_ml.run import main
from geocube_ml.spec.recipe import Recipe, read_recipe

ROOT = Path(__file__).parents[2]
CATALOGS = ROOT / "catalogs"
SHIPPED = sorted(path.stem for path in CATALOGS.glob("*.yaml") if path.stem != "s2-s1-dem")
"""All but the one that searches an API."""
ARCHIVES = {
    "planetary-computer": ("planetary_computer", "https://planetarycomputer.microsoft.com/api/stac/v1"),
    "earth-search": ("earth_search", "https://earth-search.aws.element84.com/v1"),
}  # fmt: skip


@pytest.fixture
def places(real_data, tmp_path, monkeypatch):
    """Where the recipes find data and write to."""
    monkeypatch.setenv("GEOCUBE_ML_DATA", str(real_data("stac_items").parent))
    monkeypatch.setenv("GEOCUBE_ML_OUT", str(tmp_path / "out"))


@pytest.fixture
def alone(monkeypatch):
    """Nobody can be called, not even on this machine."""

    def unreachable(*_):
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, unreachable)
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setenv("GDAL_HTTP_PROXY", "http://127.0.0.1:9")  # discard: nobody listens


def plan_of(path, capsys):
    code = main([str(path), "--dry-run"])
    said = capsys.readouterr()
    assert (code, said.err) == (0, "")
    return said.out


def changed(name, tmp_path, **values):
    """A copy of a recipe in which top-level keys have other values."""
    text = (CATALOGS / f"{name}.yaml").read_text()
    for key, value in values.items():
        text, n = re.subn(rf"^{key}: .*$", f"{key}: {value}", text, flags=re.MULTILINE)
        assert n == 1
    (tmp_path / "sources").symlink_to(CATALOGS / "sources")
    path = tmp_path / f"{name}.yaml"
    path.write_text(text)
    return path


def searching(path, url):
    """Comment signs the other way round, as the recipe says."""
    text = path.read_text()
    text = re.sub(r"^( +)(catalog: )", r"\1# \2", text, flags=re.MULTILINE)
    text = re.sub(r"^( +)# (stac_api: ).*", rf"\1\2{url}", text, flags=re.MULTILINE)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_is_planned_without_a_connection(
    name, places, alone, tmp_path, real_data, capsys
):
    if name == "single-mask":  # as the recipe says
        every = geopandas.read_file(real_data("slovenia_s2_ndvi") / "labels.gpkg")
        (tmp_path / "out").mkdir()
        every[every["LULC_NAME"] == "forest"].to_file(tmp_path / "out" / "forest.gpkg")
    said = plan_of(CATALOGS / f"{name}.yaml", capsys)
    assert said.startswith(f"Plan of {name}; nothing is written.")
    remote = name in ARCHIVES
    told = "what is read cannot be told" if remote else "windows of rasters to read"
    assert ("an archive of" if name == "demo" else told) in said
    assert ("to write" in said) == (name != "demo")
    assert "are not there" not in said


@pytest.mark.parametrize(
    ("name", "items"),
    [
        ("planetary-computer", "1 item of 1 day in 5 time steps"),
        ("earth-search", "2 items of 2 days in 6 time steps"),
    ],
)
def test_the_plan_of_an_archive_counts_its_real_items(name, items, places, alone, tmp_path, capsys):
    said = plan_of(CATALOGS / f"{name}.yaml", capsys)
    assert f"  s2: {items}\n" in said
    assert "  4 tiles, 4 tasks\n" in said
    assert not (tmp_path / "out").exists()


def test_tiles_of_one_pass_in_two_zones_are_one_day(places, alone, tmp_path, capsys):
    path = changed(
        "planetary-computer", tmp_path, period="{start: 2019-01, end: 2019-01}",
        grid='{crs: "EPSG:32659", resolution: 60, bbox: [169.5, 56.8, 173.75, 58.8]}',
    )  # fmt: skip
    assert "  s2: 6 items of 1 day in 1 time step\n" in plan_of(path, capsys)


def test_other_collections_of_a_folder_are_passed_over(places, alone, tmp_path, capsys):
    path = changed(
        "earth-search", tmp_path, period="{start: 2025-07, end: 2025-07}",
        grid='{crs: "EPSG:32724", resolution: 20, bbox: [-40.3, -4.9, -37.8, -4.0]}',
    )  # fmt: skip
    assert main([str(path), "--dry-run"]) == 2
    assert "None of the 19 items" in (said := capsys.readouterr().err)
    assert "10 of another collection than sentinel-2-l2a" in said
    text = path.read_text()
    for collection, items in (("sentinel-2-c1-l2a", 3), ("sentinel-2-l1c", 4)):
        path.write_text(text.replace("[sentinel-2-l2a]", f"[{collection}]"))
        if collection.endswith("l1c"):
            assert main([str(path), "--dry-run"]) == 2
            assert f"{items} of {items} items" in capsys.readouterr().err  # have no mask
        else:
            assert f"  s2: {items} items of 1 day" in plan_of(path, capsys)


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_comment_in_a_recipe_leads_to_the_archive(name, tmp_path):
    _, url = ARCHIVES[name]
    assert f"# stac_api: {url}\n" in (CATALOGS / f"{name}.yaml").read_text()
    source = read_recipe(searching(changed(name, tmp_path), url)).sources["s2"]
    assert source.items.stac_api == url
    assert source.items.catalog is None
    assert source.items.collections == ("sentinel-2-l2a",)


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_api_with_the_same_items_has_the_same_plan(
    name, places, monkeypatch, stac_api, real_data, tmp_path, capsys
):
    monkeypatch.setenv("GDAL_HTTP_PROXY", "http://127.0.0.1:9")
    folder, _ = ARCHIVES[name]
    items = []
    for file in sorted(real_data(f"stac_items/{folder}").glob("*_*.json")):
        content = json.loads(file.read_text())
        if content["collection"] == "sentinel-2-l2a":
            with quiet():
                items.append(pystac.Item.from_dict(content | {"collection": name, "links": []}))
    stac_api.load(items)
    path = searching(changed(name, tmp_path), stac_api.url)
    path.write_text(path.read_text().replace("[sentinel-2-l2a]", f"[{name}]"))
    there = plan_of(path, capsys)
    assert there == plan_of(CATALOGS / f"{name}.yaml", capsys)


# -- how-tos --------------------------------------------------------------------------------

HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
IN_STORES = [path for path in HOW_TO if path.stem in ("batch", "hub")]
"""Pages whose recipes write to a store; those of the others are tested in `test_docs`."""


def blocks(path, language):
    found = re.findall(rf"```{language}\n(.*?)```", path.read_text(), flags=re.DOTALL)
    assert found or language != "yaml"
    return found


@pytest.mark.parametrize("path", IN_STORES, ids=lambda path: path.stem)
def test_recipes_in_a_how_to_are_recipes(path, tmp_path):
    (tmp_path / "sources").symlink_to(CATALOGS / "sources")
    first, *rest = blocks(path, "yaml")
    for part in (first, *rest):
        values = yaml.safe_load(first) | yaml.safe_load(part)
        (tmp_path / "x.yaml").write_text(yaml.safe_dump(values))
        recipe = read_recipe(tmp_path / "x.yaml")
        for key, value in yaml.safe_load(part).items():
            assert key in Recipe.model_fields
            assert value  # nothing is there for show
        assert recipe.out.startswith("s3://")


@pytest.mark.parametrize("path", HOW_TO, ids=lambda path: path.stem)
def test_code_in_a_how_to_can_be_read_and_names_what_there_is(path):
    for block in blocks(path, "python"):
        compile(block, path.name, "exec")
        for name in re.findall(r"\bgm\.(\w+)", block):
            assert name in geocube_ml.__all__
    for block in blocks(path, "json"):
        json.loads(block)
    for block in blocks(path, "bash"):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


def test_exit_codes_in_the_how_to_are_those_of_the_command():
    said = re.findall(r"^\| (\d+) \|", (ROOT / "docs/how-to/batch.md").read_text(), re.MULTILINE)
    assert set(said) == set(re.findall(r"\b\d+\b", str(main.__doc__)))
