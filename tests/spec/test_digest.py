from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

# every module that defines a spec, so that none is overlooked
from geocube_ml.spec import (
    areas,
    augment,
    composite,
    dataset,
    doctor,
    evaluate,
    grid,
    labels,
    models,
    networks,
    period,
    recipe,
    samples,
    sensor,
    simulate,
    source,
    tables,
    training,
    tune,
)
from geocube_ml.spec.base import EXECUTION, Spec, digest
from geocube_ml.spec.recipe import Recipe

MODULES = (
    areas, augment, composite, dataset, doctor, evaluate, grid, labels, models, networks, period,
    recipe, samples, sensor, simulate, source, tables, training, tune,
)  # fmt: skip

EXECUTION_FIELDS = {
    "AreasSpec.interpreted",
    "ClusterSpec.ahead",
    "ClusterSpec.attempts",
    "ClusterSpec.patience",
    "ClusterSpec.pause",
    "ClusterSpec.where",
    "ClusterSpec.workers",
    "EvaluateSpec.bound",
    "EvaluateSpec.reference",
    "GridSpec.boundary",
    "GridSpec.boundary_layer",
    "ItemsSpec.catalog",
    "ItemsSpec.files",
    "ItemsSpec.geoparquet",
    "ItemsSpec.page_size",
    "ItemsSpec.stac_api",
    "LabelSource.path",
    "Recipe.cluster",
    "Recipe.out",
    "Recipe.storage",
    "Recipe.unreadable",
    "S3Spec.anonymous",
    "S3Spec.encryption",
    "S3Spec.endpoint_url",
    "S3Spec.kms_key",
    "S3Spec.profile",
    "S3Spec.region",
    "S3Spec.requester_pays",
    "SimSpec.folder",
    "StorageSpec.attempts",
    "StorageSpec.deadline_s",
    "StorageSpec.lease_s",
    "StorageSpec.requests",
    "StorageSpec.s3",
    "TrainingSpec.device",
    "TrainingSpec.mixed",
}
"""What may differ without making another map.  A field is a result field unless it stands here."""

FULL = {
    "name": "a",
    "out": "out",
    "simulate": {"folder": "archive"},
    "sources": {
        "s2": {
            "sensor": {
                "bands": {"red": "B04", "nir": "B08"},
                "mask": {"asset": "SCL", "clear": [4, 5]},
            },
            "items": {"catalog": "items", "collections": ["c"]},
        }
    },
    "grid": {"crs": "EPSG:32633", "resolution": 10, "bounds": [0, 0, 100, 100]},
    "period": {"start": "2022-01", "end": "2022-12"},
    "labels": {"path": "l.gpkg", "class_column": "crop", "classes": [{"name": "maize"}]},
    "models": {"forest": {}, "tempcnn": {}},
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def specs():
    found, open_ = set(), [Spec]
    while open_:
        below = open_.pop().__subclasses__()
        found.update(below)
        open_ += below
    return sorted(
        (s for s in found if s.__module__.startswith("geocube_ml.spec")), key=lambda s: s.__name__
    )


def changed(place, value):
    """The digest of the full recipe with the value at a place changed."""
    values = copy.deepcopy(FULL)
    *path, last = place.split(".")
    at = values
    for part in path:
        at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
    if value is None:
        del at[last]
    else:
        at[last] = value
    return Recipe.read(values, where="here").digest()


WHOLE = Recipe.read(FULL, where="here").digest()


def test_every_field_is_consciously_one_of_result_or_execution():
    found = {
        f"{spec.__name__}.{name}"
        for spec in specs()
        for name, field in spec.model_fields.items()
        if field.json_schema_extra == EXECUTION and name in spec.__annotations__
    }
    assert found == EXECUTION_FIELDS


def test_no_field_carries_another_mark():
    for spec in specs():
        for name, field in spec.model_fields.items():
            assert field.json_schema_extra in (None, EXECUTION), f"{spec.__name__}.{name}"


def test_every_spec_is_frozen_strict_and_documented():
    assert len(specs()) >= 15
    for spec in specs():
        assert spec.model_config["frozen"]
        assert spec.model_config["extra"] == "forbid"
        for name, field in spec.model_fields.items():
            assert field.description or name in ("kind", "method"), f"{spec.__name__}.{name}"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("out", "elsewhere"),
        ("cluster", "processes"),
        ("storage", {"s3": {"s3://maps": {"anonymous": True}}}),
        ("unreadable", "leave-out"),
        ("simulate.folder", "elsewhere"),
        ("sources.s2.items.catalog", "elsewhere"),
        ("sources.s2.items", {"geoparquet": "elsewhere", "collections": ["c"]}),
        ("sources.s2.items", {"stac_api": "https://host", "collections": ["c"]}),
        ("labels.path", "elsewhere.gpkg"),
    ],
)
def test_where_things_lie_and_who_works_changes_no_digest(place, value):
    assert changed(place, value) == WHOLE


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("name", "b"),
        ("simulate", None),
        ("simulate.seed", 1),
        ("sources", {"s3": FULL["sources"]["s2"]}),
        ("sources.s2.sensor.bands.red", "B05"),
        ("sources.s2.sensor.bands.red", {"asset": "B04", "resampling": "nearest"}),
        ("sources.s2.sensor.bands", {"nir": "B08", "red": "B04"}),  # the cube's order of bands
        ("sources.s2.bands", ["red"]),
        ("sources.s2.bands", ["nir", "red"]),
        ("sources.s2.sensor.mask", None),
        ("sources.s2.sensor.mask.clear", [4]),
        ("sources.s2.sensor.nodata", 1),
        ("sources.s2.sensor.offset", "sentinel-2-boa"),
        ("sources.s2.items.collections", ["d"]),
        ("sources.s2.items.max_cloud_cover", 50),
        ("grid.crs", "EPSG:32634"),
        ("grid.resolution", 20),
        ("grid.bounds", [0, 0, 100, 110]),
        ("period.end", "2022-11"),
        ("store.chunk", 64),
        ("labels", None),
        ("labels.class_column", "use"),
        ("labels.classes", ["wheat"]),
        ("labels.classes.0.values", ["m"]),
        ("labels.inset_m", 20),
        ("labels.background", "other"),
        ("samples.seed", 1),
        ("models.forest.trees", 100),
        ("models.oak", {"kind": "forest"}),
        ("evaluate.splits", ["block"]),
        ("predict.model", "tempcnn"),
    ],
)
def test_what_decides_the_map_changes_the_digest(place, value):
    assert changed(place, value) != WHOLE


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("sources.s2.sensor.nodata", 0),
        ("sources.s2.sensor.scale", 1),
        ("sources.s2.sensor.bands.red", {"asset": "B04", "coarsening": "average"}),
        ("sources.s2.items.max_cloud_cover", 100),
        ("sources.s2.bands", ["red", "nir"]),
        ("grid.resolution", 10.0),
        ("labels.inset_m", 10),
        ("labels.classes", ["maize"]),
        ("samples.block_m", 1000),
        ("store", {"chunk": 256, "shard": 512, "tile": 1024}),
        ("models.forest", {"kind": "forest", "trees": 200}),
        ("models", None),  # the two of the recipe are those by default
        ("simulate.cloud_cover", 0.5),
    ],
)
def test_to_state_a_default_changes_no_digest(place, value):
    assert changed(place, value) == WHOLE


def test_equal_recipes_in_two_folders_have_equal_digests(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    one, other = (Recipe.read(FULL, where="here", folder=tmp_path / f) for f in ("a", "b"))
    assert one.out != other.out
    assert one.digest() == other.digest()


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_the_order_of_keys_changes_no_digest(value):
    assert digest(dict(reversed(value.items()))) == digest(value)


def test_a_digest_stays_what_it_was():
    """Stored with every result: were it to change, no run could be taken up again."""
    assert digest({"b": [1, 2.5, None], "a": "ä"}) == "4b12564ba8344d19"
