from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from geocube_ml.errors import GeocubeError, MissingError, SpecError
from geocube_ml.spec.recipe import Recipe, read_recipe

CATALOGS = Path(__file__).parents[2] / "catalogs"


def values():
    """A recipe that uses every kind of nesting."""
    return {
        "name": "plain",
        "out": "out",
        "sources": {
            "s2": {
                "sensor": {
                    "bands": {"red": "B04", "nir": {"asset": "B08"}},
                    "mask": {"asset": "SCL", "clear": [4, 5]},
                },
                "items": {"catalog": "items"},
            }
        },
        "grid": {"crs": "EPSG:32633", "resolution": 10, "bounds": [0, 0, 100, 100]},
        "period": {"start": "2022-01", "end": "2022-12"},
        "labels": {
            "path": "labels.gpkg",
            "class_column": "crop",
            "classes": ["maize", {"name": "wheat", "values": [3, "4"]}],
        },
        "models": {"forest": {"trees": 10}, "wide": {"kind": "tempcnn", "width": 128}},
    }


def put(recipe, place, value):
    """Set the value at a place such as ``models.forest.trees``."""
    *path, last = place.split(".")
    for part in path:
        recipe = recipe[int(part)] if isinstance(recipe, list) else recipe.setdefault(part, {})
    recipe[last] = value


@pytest.fixture
def write(tmp_path):
    def write(content, name="recipe.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        )
        return path

    return write


@pytest.fixture
def refused(write):
    """The text of the error that a recipe ends in."""

    def refused(content, error=SpecError):
        with pytest.raises(error) as caught:
            read_recipe(write(content))
        assert isinstance(caught.value, GeocubeError)
        return str(caught.value)

    return refused


@pytest.mark.parametrize(
    ("place", "near"),
    [
        ("soures", "sources"),
        ("grid.resoluton", "resolution"),
        ("period.strat", "start"),
        ("store.chunks", "chunk"),
        ("simulate.cloud_covr", "cloud_cover"),
        ("sources.s2.sensr", "sensor"),
        ("sources.s2.items.catalogue", "catalog"),
        ("sources.s2.sensor.band", "bands"),
        ("sources.s2.sensor.bands.nir.resample", "resampling"),
        ("labels.class_colum", "class_column"),
        ("labels.classes.1.colour", "color"),
        ("labels.background.valuess", "values"),
        ("models.forest.tres", "trees"),
        ("models.wide.learning_rat", "learning_rate"),
        ("evaluate.split", "splits"),
    ],
)
def test_an_unknown_key_is_told_its_place_and_its_nearest_known_key(refused, place, near):
    recipe = values()
    put(recipe, place, 1)
    said = refused(recipe)
    key = place.rpartition(".")[2]
    assert f"{place}: unknown key {key!r}; did you mean {near!r}?" in said
    assert said.startswith("recipe.yaml: ")


def test_the_keys_of_a_model_are_those_of_its_kind_and_not_of_its_name(refused):
    recipe = values() | {"models": {"tempcnn": {"kind": "forest", "tres": 1}}}
    assert "models.tempcnn.tres: unknown key 'tres'; did you mean 'trees'?" in refused(recipe)


def test_an_unknown_key_of_a_mask_is_told_as_of_the_first_of_several(refused):
    recipe = values()
    recipe["sources"]["s2"]["sensor"]["mask"]["cleer"] = [4]
    assert "sources.s2.sensor.mask.0.cleer: unknown key 'cleer'; did you mean 'clear'?" in refused(
        recipe
    )


def test_an_unknown_composite_is_told_the_known_ones(refused):
    recipe = values()
    recipe["composite"] = "maximum"
    assert "composite: the method 'maximum' is not one of 'median', 'mean'" in refused(recipe)
    recipe["composite"] = {"method": "best", "cloud_distances": 3}
    assert "composite.cloud_distances: unknown key" in refused(recipe)


def test_a_key_like_no_other_is_told_all_known_keys(refused):
    recipe = values()
    recipe["period"]["xyzzy"] = 1
    assert "period.xyzzy: unknown key 'xyzzy'; known keys: end, start, step." in refused(recipe)


@pytest.mark.parametrize("place", ["name", "grid", "sources.s2.items", "labels.path", "period.end"])
def test_a_missing_key_is_named(refused, place):
    recipe = values()
    parent = recipe
    *path, last = place.split(".")
    for part in path:
        parent = parent[part]
    del parent[last]
    assert f"{place}: this key is missing; add it." in refused(recipe)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("models.forest.trees", 0, "models.forest.trees: Input should be greater"),
        ("models.forest.trees", "many", "got 'many'"),
        (
            "models.big",
            {"trees": 5},
            "models.big: the kind 'big' is not one of 'tempcnn', 'tempcnn-attention', 'ltae'",
        ),
        ("models.big", 5, "models.big: Input should be a valid dictionary"),
        ("models", [1], "models: Input should be a valid dictionary"),
        ("labels.classes.1.color", "red", "labels.classes.1.color: String should match"),
        (
            "labels.classes",
            ["a", "b", "a"],
            "labels: class names must differ, got a more than once",
        ),
        ("labels.background", "maize", "labels: class names must differ, got maize"),
        (
            "labels.classes",
            [{"name": "a", "values": ["3"]}, {"name": "b", "values": [3]}],
            "labels: the value 3 belongs to more than one class",
        ),
        ("labels.classes", [{"name": "a", "values": ["b"]}, "b"], "the value b belongs to more"),
        ("labels.classes", [str(n) for n in range(255)], "at most 254 classes fit into one byte"),
        ("sources.s2.sensor.nodata", -1, "uint16 cannot hold the nodata -1; take a whole number"),
        ("sources.s2.sensor.nodata", 0.5, "uint16 cannot hold the nodata 0.5"),
        ("sources.s2.sensor.bands", {"B-4": "B04"}, "band names must be identifiers"),
        (
            "sources.s2.sensor.bands",
            {},
            "sources.s2.sensor: a sensor has at least one band",
        ),
        ("sources.s2.bands", ["red", "blue"], "the sensor has no band blue; it has red, nir"),
        ("sources.s2.bands", ["red", "red"], "each band may be named once"),
        ("sources.s2.items", {}, "name one place to find items"),
        ("sources.s2.items", {"catalog": "a", "geoparquet": "b"}, "got catalog, geoparquet"),
        ("sources.s2.items", {"stac_api": "https://x.org"}, "needs `collections`"),
        ("sources", {}, "sources: Dictionary should have at least 1 item"),
        ("predict.model", "oak", "predict.model is 'oak', but models has forest, wide"),
        ("samples", {"group_column": "year"}, "is 'year', but the labels keep no columns"),
        ("samples", {"split_column": "part"}, "samples.split_column is 'part', but the labels"),
        ("evaluate", {"splits": ["group"]}, "add `samples.group_column`"),
        ("name", "a b", "name: String should match"),
        ("cluster", {"workers": 0}, "workers: Input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_value_is_told_its_place(refused, place, value, said):
    recipe = values()
    put(recipe, place, value)
    assert said in refused(recipe)


def test_an_offset_of_counts_needs_whole_counts(refused):
    recipe = values()
    recipe["sources"]["s2"]["sensor"] |= {"dtype": "float32", "offset": "sentinel-2-boa"}
    assert "the dtype is float32" in refused(recipe)


def test_every_fault_is_named_at_once(refused):
    recipe = values()
    recipe["store"] = {"chunk": 1}
    recipe["samples"] = {"n_fold": 1}
    said = refused(recipe)
    assert "store.chunk" in said
    assert "samples.n_fold" in said


@pytest.mark.parametrize("month", ["2022-13", "2022-00", "2022-1", "2022", "January", ""])
@pytest.mark.parametrize("end", ["start", "end"])
def test_a_month_is_a_month(refused, month, end):
    """As it stands in a file, where 2022 is a number and 2022-01-01 a date."""
    text = yaml.safe_dump(values())
    stated = f"{end}: {values()['period'][end]}"
    assert text.count(stated) == 1
    text = text.replace(stated, f"{end}: {month}")
    assert f"period.{end}: a month is written YYYY-MM" in refused(text)


def test_a_month_may_have_quotes(write):
    text = yaml.safe_dump(values()).replace("2022-01", "'2022-01'")
    assert read_recipe(write(text)).period.start == "2022-01"


def test_a_period_does_not_end_before_it_starts(refused):
    recipe = values()
    recipe["period"] = {"start": "2022-02", "end": "2022-01"}
    assert "the period ends (2022-01) before it starts (2022-02)" in refused(recipe)


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({"like": "red", "resolution": 10}, "resolution is given too"),
        ({"like": "red", "crs": "EPSG:32633", "bbox": [0, 0, 1, 1]}, "crs, bbox is given too"),
        ({"resolution": 10, "bounds": [0, 0, 1, 1]}, "the CRS is missing"),
        ({"crs": "EPSG:32633", "bounds": [0, 0, 1, 1]}, "the resolution is missing"),
        ({"crs": "EPSG:32633"}, "the resolution is missing"),
        ({"resolution": 10, "boundary_layer": "a"}, "`boundary_layer: a` is a layer of `boundary`"),
        (
            {"crs": "EPSG:32633", "resolution": 10, "bounds": [0, 0, 1, 1], "bbox": [0, 0, 1, 1]},
            "got both",
        ),
        ({"crs": "EPSG:32633", "resolution": 10, "bounds": [9, 0, 1, 1]}, "the extent is empty"),
        ({"crs": "EPSG:32633", "resolution": 10, "bbox": [0, 1, 1, 1]}, "the extent is empty"),
        ({"crs": "EPSG:32633", "resolution": 0, "bounds": [0, 0, 1, 1]}, "grid.resolution: "),
        ({"crs": "EPSG:32633", "resolution": 10, "bounds": [0, 0, 1]}, "grid.bounds.3: "),
    ],
)
def test_a_grid_that_contradicts_itself_is_refused(refused, grid, said):
    message = refused(values() | {"grid": grid})
    assert said in message
    assert "grid" in message


def test_a_grid_covers_the_boundary_or_the_labels_or_says_what_it_lacks(write, refused):
    recipe = values() | {"grid": {"resolution": 10}}
    assert read_recipe(write(recipe)).grid.covers_area
    del recipe["labels"]
    assert "where the map lies is not said" in refused(recipe)
    recipe["grid"]["boundary"] = "area.gpkg"
    grid = read_recipe(write(recipe)).grid
    assert grid.covers_area
    assert grid.boundary.startswith("/")
    assert "boundary" not in grid.result()


@given(st.integers(16, 600), st.integers(16, 600), st.integers(16, 1200))
def test_a_store_is_cut_into_whole_pieces(chunk, shard, tile):
    recipe = values() | {"store": {"chunk": chunk, "shard": shard, "tile": tile}}
    whole = shard % chunk == 0 and tile % shard == 0
    if whole:
        Recipe.read(recipe, where="here")
        return
    with pytest.raises(SpecError, match=r"store: a (shard|tile) of") as caught:
        Recipe.read(recipe, where="here")
    advised = int(str(caught.value).rstrip(".").rpartition("take ")[2])
    assert advised % (chunk if shard % chunk else shard) == 0


def test_models_are_a_network_and_a_forest_by_default(write):
    for given_models in ({}, {"models": {}}, {"models": None}):
        recipe = read_recipe(
            write({k: v for k, v in values().items() if k != "models"} | given_models)
        )
        assert {name: m.kind for name, m in recipe.models.items()} == {
            "tempcnn": "tempcnn",
            "forest": "forest",
        }
        assert recipe.map_model == "tempcnn"


def test_a_model_named_as_a_kind_is_of_that_kind(write):
    recipe = read_recipe(write(values() | {"models": {"forest": None, "oak": {"kind": "forest"}}}))
    assert [m.kind for m in recipe.models.values()] == ["forest", "forest"]
    assert recipe.map_model == "forest"


def test_a_class_is_its_name_and_its_values_are_text(write):
    classes = read_recipe(write(values())).labels.classes
    assert (classes[0].name, classes[0].values) == ("maize", ())
    assert (classes[1].name, classes[1].values) == ("wheat", ("3", "4"))


def test_the_bands_are_those_asked_for_in_that_order(write):
    recipe = values()
    recipe["sources"]["s2"]["bands"] = ["nir", "red"]
    source = read_recipe(write(recipe)).sources["s2"]
    assert list(source.chosen) == ["nir", "red"]
    assert source.assets == ("B08", "B04", "SCL")


# -- locations ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("x", "{folder}/x"),
        ("./a/../x", "{folder}/x"),
        ("../x", "{parent}/x"),
        ("/data/x", "/data/x"),
        ("~/x", "{home}/x"),
        ("${PLACE}/x", "/place/x"),
        ("${PLACE:-/other}/x", "/place/x"),
        ("${NOWHERE:-other}/x", "{folder}/other/x"),
        ("${NOTHING:-other}/x", "{folder}/other/x"),
        ("${NOWHERE:-}x", "{folder}/x"),
        ("${NOWHERE:-${x}", "{folder}/${{x"),
        ("s3://host/a/../x", "s3://host/a/../x"),
        ("s3://${NOTHING:-b}/x", "s3://b/x"),
    ],
)
def test_locations_are_taken_from_the_recipes_folder(write, tmp_path, monkeypatch, text, want):
    monkeypatch.setenv("PLACE", "/place")
    monkeypatch.setenv("NOTHING", "")
    monkeypatch.delenv("NOWHERE", raising=False)
    monkeypatch.chdir("/")
    folder = tmp_path / "sub"
    recipe = read_recipe(write(values() | {"out": text}, "sub/recipe.yaml"))
    home = Path.home()
    assert recipe.out == want.format(folder=folder, parent=tmp_path, home=home)


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set_is_named(refused, monkeypatch, value):
    monkeypatch.delenv("NOWHERE", raising=False)
    if value is not None:
        monkeypatch.setenv("NOWHERE", value)
    said = refused(values() | {"out": "${NOWHERE}/x"})
    assert "out: the environment variable NOWHERE in '${NOWHERE}/x' is not set" in said
    assert "${NOWHERE:-a default}" in said


def test_a_recipe_read_by_a_relative_name_has_absolute_locations(write, tmp_path, monkeypatch):
    write(values())
    monkeypatch.chdir(tmp_path)
    assert read_recipe("recipe.yaml").out == os.path.realpath(tmp_path / "out")


# -- files ----------------------------------------------------------------------------------


def with_sensor(name):
    recipe = values()
    sensor = recipe["sources"]["s2"]["sensor"]
    recipe["sources"]["s2"]["sensor"] = name
    return recipe, sensor


def test_a_sensor_may_be_a_file_beside_the_recipe(write):
    recipe, sensor = with_sensor("sensors/s2.yaml")
    write(sensor, "sensors/s2.yaml")
    assert read_recipe(write(recipe)).result() == read_recipe(write(values())).result()


def test_a_fault_in_a_sensors_file_names_that_file(write, refused):
    recipe, sensor = with_sensor("sensors/s2.yaml")
    sensor["bands"]["nir"]["aset"] = "B08"
    write(sensor, "sensors/s2.yaml")
    said = refused(recipe)
    assert said.startswith("sensors/s2.yaml: bands.nir.aset: unknown key 'aset'")
    assert "recipe.yaml" not in said


def test_a_sensors_file_that_contradicts_itself_is_named(write, refused):
    recipe, sensor = with_sensor("s2.yaml")
    write(sensor | {"nodata": 70_000}, "s2.yaml")
    assert refused(recipe).startswith("s2.yaml: uint16 cannot hold the nodata 70000")


def test_a_sensors_file_that_is_not_there_is_named(refused):
    assert "s2.yaml" in refused(with_sensor("s2.yaml")[0], MissingError)


def test_a_band_that_the_sensors_file_lacks_is_the_recipes_fault(write, refused):
    recipe, sensor = with_sensor("s2.yaml")
    write(sensor, "s2.yaml")
    recipe["sources"]["s2"]["bands"] = ["blue"]
    assert refused(recipe).startswith("recipe.yaml: sources.s2: the sensor has no band blue")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "got nothing"),
        ("# only a remark\n", "got nothing"),
        ("- a\n- b\n", "got list"),
        ("just words", "got str"),
        ("a: [1, 2", "is not YAML"),
        ("a: b: c", "is not YAML"),
        ("a: !!python/object:os.system {}", "is not YAML"),
        ("? [a, b]\n: c", "is not YAML"),
        ("1: a\n", "1: Keys should be strings"),
    ],
)
def test_a_file_without_keys_and_values_is_refused(refused, text, said):
    message = refused(text)
    assert said in message
    assert "recipe.yaml" in message


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xff\xfe\x00name: x")
    with pytest.raises(SpecError, match="is not YAML"):
        read_recipe(path)


def test_a_file_that_is_not_there_or_a_folder_is_missing(tmp_path):
    with pytest.raises(MissingError, match=r"There is no file .*nothing\.yaml"):
        read_recipe(tmp_path / "nothing.yaml")
    with pytest.raises(MissingError, match="is a folder"):
        read_recipe(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nout: b\nname: c\n", "'name' stands in line 1 and again in line 3"),
        (
            "store:\n  chunk: 16\n  shard: 32\n  chunk: 32\n",
            "'chunk' stands in line 2 and again in line 4",
        ),
        ("models: {forest: {}, forest: {}}", "'forest' stands in line 1 and again in line 1"),
        ("labels:\n  classes:\n  - {name: a, name: b}\n", "'name' stands in line 3"),
        ("a: 1\n'a': 2\n", "'a' stands in line 1 and again in line 2"),
    ],
)
def test_a_key_that_stands_twice_is_refused(refused, text, said):
    message = refused(text)
    assert said in message
    assert "recipe.yaml" in message


def test_a_key_may_stand_beside_one_that_is_merged(write):
    text = yaml.safe_dump(values()) + (
        "evaluate: {}\n"
        "predict: {model: wide}\n"
        "samples: &s {seed: 3, n_fold: 4}\n"
        "store: {chunk: 16, shard: 16, tile: 16}\n"
    )
    text = text.replace(
        "forest:\n    trees: 10",
        "forest: &f\n    trees: 10\n  oak:\n    <<: *f\n    kind: forest\n    trees: 20",
    )
    recipe = read_recipe(write(text))
    assert (recipe.models["forest"].trees, recipe.models["oak"].trees) == (10, 20)


@pytest.mark.parametrize("path", sorted(CATALOGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_that_come_along_are_valid(path):
    recipe = read_recipe(path)
    assert recipe.name == path.stem


def test_editors_can_have_a_schema():
    schema = json.loads(json.dumps(Recipe.model_json_schema()))
    assert set(schema["properties"]) == set(Recipe.model_fields)
    assert schema["additionalProperties"] is False
    said = schema["properties"]["store"]["description"]
    assert said == "How the cube is cut."


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("s3:/maps/x", "two slashes after its colon"),
        ("s3://", "write s3://bucket/prefix"),
        ("s3:///x", "write s3://bucket/prefix"),
        ("s3://maps//x", "without empty parts"),
        ("gs://maps/x", "a folder of this machine or to s3://bucket/prefix"),
        ("s3://key:word@maps/x", "holds a name or password"),
    ],
)
def test_an_address_that_cannot_be_is_refused(refused, place, said):
    recipe = values()
    put(recipe, "out", place)
    assert said in refused(recipe)


def test_an_endpoint_says_how_it_is_spoken_to(refused):
    recipe = values()
    put(recipe, "storage", {"s3": {"s3://maps": {"endpoint_url": "127.0.0.1:9000"}}})
    assert "begins with http:// or https://" in refused(recipe)


def test_a_key_that_has_moved_is_told_its_new_place(refused):
    recipe = values()
    put(recipe, "workers", 3)
    assert "cluster: {workers: 3}" in refused(recipe)
