"""Steps `sample-map` and `areas` on a small map that is there already."""

from __future__ import annotations

import json
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pytest

from geocube_ml.errors import InputError, MissingError
from geocube_ml.spec.areas import AreasSpec
from geocube_ml.spec.base import digest
from geocube_ml.steps import areas, report, sample_map
from tests.seasons import NAMES, make_cube, scheme, stored

# odc-geo multiplies transforms in the way that affine 3 is giving up
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")


@pytest.fixture
def job(tmp_path, mapped):
    """What the two steps ask of a run."""
    digests = {"predict": "map", "sample-map": "points"}
    return SimpleNamespace(
        out=tmp_path, cube_path=mapped, note=lambda *_: None, digest_of=digests.get,
        needs_classes=lambda _: None,
        place=lambda path: tmp_path / path,
        recipe=SimpleNamespace(areas=AreasSpec(points=40, fewest=5, seed=2)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """A cube whose map is its labels."""
    path = tmp_path_factory.mktemp("map") / "cube.zarr"
    cube = make_cube((41, 53))
    cube["class"] = cube["label"].assign_attrs(scheme().attrs())
    stored(cube, path)
    return path


def look(path, keep=None):
    """Somebody says that the map is right, at all points or at some."""
    table = gpd.read_file(path)
    rows = np.ones(len(table), bool) if keep is None else keep(table)
    table["reference"] = np.where(rows, table["stratum"], "")
    path.unlink()
    table.to_file(path, driver="GPKG")


def test_points_are_drawn_looked_at_and_summed_up(job):
    facts = sample_map.run(job)
    path = sample_map.points_path(job)
    assert facts["points"] == sum(one["points"] for one in facts["strata"].values())
    assert facts["unmapped_pixels"] > 0
    assert sample_map.outputs(job) == [path]
    with pytest.raises(InputError, match="says its `reference` yet"):
        areas.run(job)
    look(path)
    found = areas.run(job)
    assert found["overall"]["value"] == 1
    for name in NAMES:
        assert found["hectares"][name]["value"] == pytest.approx(
            facts["strata"][name]["pixels"] / 100, rel=1e-3
        )  # a UTM zone is not true to areas
    written = json.loads(areas.areas_path(job).read_text())
    assert written["points"] == facts["points"]


def test_what_people_saw_is_never_thrown_away(job):
    sample_map.run(job)
    path = sample_map.points_path(job)
    sample_map.discard(job)
    assert not path.exists()  # nobody wrote anything
    assert list(job.out.iterdir()) == []
    sample_map.run(job)
    look(path, lambda table: table.index < 3)
    content = path.read_bytes()
    sample_map.discard(job)
    assert not path.exists()
    assert (job.out / "map_sample_1.gpkg").read_bytes() == content


def test_a_draw_does_not_write_over_what_people_saw(job):
    """The records of a run may be gone, the file is not."""
    sample_map.run(job)
    path = sample_map.points_path(job)
    look(path, lambda table: table.index < 3)
    content = path.read_bytes()
    sample_map.run(job)
    assert (job.out / "map_sample_1.gpkg").read_bytes() == content
    assert (gpd.read_file(path)["reference"].fillna("") == "").all()


def test_points_of_another_map_are_refused(job, tmp_path_factory):
    sample_map.run(job)
    look(sample_map.points_path(job))
    other = make_cube((41, 52))
    other["class"] = other["label"].assign_attrs(scheme().attrs())
    job.cube_path = tmp_path_factory.mktemp("other") / "cube.zarr"
    stored(other, job.cube_path)
    with pytest.raises(InputError, match=r"was drawn from another map.*areas\.interpreted"):
        areas.run(job)


def test_further_points_are_welcome_and_other_ones_are_not(job):
    sample_map.run(job)
    before = areas.inputs(job)
    look(sample_map.points_path(job))
    now = areas.inputs(job)
    assert before != now
    assert areas.grows(before, now)
    assert not areas.grows(before, now | {"sample-map": "others"})
    job.recipe.areas = AreasSpec(interpreted="/nowhere/points.gpkg")
    assert areas.inputs(job)["points"] is None
    with pytest.raises(MissingError, match=r"correct `areas\.interpreted`"):
        areas.run(job)


def test_the_page_shows_areas_of_its_own_map_alone(job):
    sample_map.run(job)
    look(sample_map.points_path(job))
    areas.run(job)
    sampled = {"predict": "map"}
    begun = {"sample-map": sampled, "areas": {"sample-map": digest(sampled)}}
    job.records = SimpleNamespace(begun=begun.get, facts=lambda _: {})
    assert report._areas(job)["points"] > 30
    begun["sample-map"] = {"predict": "another map"}
    assert report._areas(job) is None
    begun.clear()
    assert report._areas(job) is None
