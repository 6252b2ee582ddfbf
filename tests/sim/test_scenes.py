"""One scene: offset, clouds, what the classification misses."""

import numpy as np
import pytest

from geocube_ml.sim.grids import coarse, map_geobox, outline, tiles
from geocube_ml.sim.passes import passes
from geocube_ml.sim.scenes import make_scene
from geocube_ml.spec.simulate import SimSpec


@pytest.fixture(scope="module")
def scenes():
    """The eastern tile's year of 24 dates."""
    spec = SimSpec(folder="unused", size=96, revisit_days=15)
    return [make_scene(spec, passage, 1) for passage in passes(spec)]


def test_reflectance_is_continuous_over_the_change_of_baseline():
    spec = SimSpec(folder="unused", size=64, cloud_cover=0)
    before, after = (p for p in passes(spec) if p.when.strftime("%m%d") in ("0123", "0128"))
    assert (before.offset, after.offset) == (0, 1000)
    old, new = make_scene(spec, before, 1), make_scene(spec, after, 1)
    for band in ("B02", "B08", "B11"):
        change = new.assets[band] - 1000.0 - old.assets[band]
        assert abs(np.median(change)) < 60  # five days in January
        assert np.abs(change).max() < 800


def test_the_classification_catches_most_cloud_and_misses_some(scenes):
    cloud = np.stack([scene.cloud for scene in scenes])
    shadow = np.stack([scene.shadow for scene in scenes])
    scl = np.stack([scene.assets["SCL"] for scene in scenes])
    passed = np.isin(scl, (4, 5))
    assert 0.02 < passed[cloud].mean() < 0.2
    assert 0.05 < passed[shadow].mean() < 0.5
    assert 0 < (~passed[~cloud & ~shadow]).mean() < 0.05
    assert set(np.unique(scl)) >= {3, 4, 5, 7, 8, 9, 10}


def test_thick_cloud_is_bright_and_shadow_is_dark(scenes):
    scene = next(s for s in scenes if 30 < s.cloud_cover < 70 and s.shadow.mean() > 0.02)
    clear = ~scene.cloud & ~scene.shadow
    nir = scene.assets["B8A"].astype(float) - scene.passage.offset
    swir = scene.assets["B11"].astype(float) - scene.passage.offset
    assert nir[scene.assets["SCL"] == 9].mean() > 1.5 * nir[clear].mean()
    assert swir[scene.assets["SCL"] == 3].mean() < 0.8 * swir[clear].mean()


@pytest.mark.parametrize("cover", [0.0, 0.3, 0.6, 0.9])
def test_mean_cover_follows_the_parameter_and_varies_by_date(cover):
    spec = SimSpec(folder="unused", size=96, revisit_days=15, cloud_cover=cover)
    spoiled = []
    for passage in passes(spec):
        pair = [make_scene(spec, passage, tile) for tile in range(2)]
        seen = sum(scene.seen.sum() for scene in pair)
        spoiled.append(sum((s.cloud | s.shadow).sum() for s in pair) / seen)
    assert np.mean(spoiled) == pytest.approx(cover, abs=0.06)
    if 0 < cover < 0.9:
        assert min(spoiled) < 0.05
        assert max(spoiled) > 0.9


def test_winter_is_cloudier_than_summer():
    all_passes = passes(SimSpec(folder="unused"))
    winter = [p.cover for p in all_passes if p.when.month in (11, 12, 1, 2)]
    summer = [p.cover for p in all_passes if p.when.month in (5, 6, 7, 8)]
    assert np.mean(winter) > np.mean(summer) + 0.1


def test_a_year_has_73_passes_on_two_orbits():
    all_passes = passes(SimSpec(folder="unused"))
    assert len(all_passes) == 73
    assert {p.orbit for p in all_passes} == {22, 122}
    assert {p.platform for p in all_passes} == {"S2A", "S2B"}
    assert [p.edge is None for p in all_passes[:4]] == [True, False, True, False]


@pytest.mark.parametrize("size", [64, 384, 2048])
def test_tiles_overlap_by_a_quarter_and_their_grids_nest(size):
    west, east = (tile.geobox for tile in tiles(size))
    overlap = outline(west) & outline(east)
    assert overlap.area / outline(east).area == pytest.approx(0.25, abs=0.05)
    for geobox in (west, east, map_geobox(size)):
        assert all(edge % 20 == 0 for edge in geobox.boundingbox)
    assert coarse(east).boundingbox == east.boundingbox
    assert (outline(west) | outline(east)).covers(outline(map_geobox(size)))
