"""The simulation of the schedule: counted by hand where it is small, and held against real runs."""

import pytest

from benchmarks.schedule import OneByOne, WhenEmpty, compare, s3_tile, simulate, task_bytes
from benchmarks.simulated import HOP
from geocube_ml.cluster import open_cluster
from geocube_ml.cluster.waves import Waves
from geocube_ml.spec.cluster import ClusterSpec


@pytest.mark.parametrize("ahead", [1, 2, 4])
def test_small_cases_agree_with_real_runs(client, ahead):
    with open_cluster(ClusterSpec(ahead=ahead, pause=0), client) as workers:
        real, simulated = compare(workers)
    for name in ("waves", "ends", "releases"):
        assert simulated.messages[name] == real.messages[name], name
    assert simulated.messages["gathers"] == pytest.approx(real.messages["gathers"], abs=20)
    assert simulated.tries == real.tries == 44  # two once more, one twice
    assert simulated.peak == real.peak == 2 * ahead
    assert simulated.failed == real.failed == 1
    assert simulated.bound == pytest.approx(real.bound)
    assert simulated.makespan <= 1.6 * real.makespan  # a busy machine is slower, never faster


def test_tiles_of_a_second_counted_by_hand():
    """6 tiles on 2 workers: 3 rounds of a second and a hop; the last end is gathered in one."""
    f = simulate(6, 2, draw=lambda *_: (1.0, False))
    assert f.makespan == pytest.approx(3 * (1 + HOP) + HOP)
    assert f.efficiency == f.of_present == pytest.approx(6 / 2 / f.makespan)
    assert f.bound == 3
    assert f.messages["waves"] == f.messages["ends"] == f.tries == 6
    assert f.messages["gathers"] == 3


def test_with_one_ahead_each_end_waits_for_the_client():
    f = simulate(6, 2, ahead=1, draw=lambda *_: (1.0, False))
    assert f.makespan == pytest.approx(3 * (1 + 2 * HOP))


def test_a_lost_worker_costs_time_and_no_tile():
    quiet = simulate(400, 20)
    f = simulate(400, 20, lost_every=20, replaced_after=60, seed=1)
    assert f.lost > 10
    assert f.tries == quiet.tries  # dask's own doing, not another attempt
    assert f.failed == quiet.failed == 0
    assert f.makespan > quiet.makespan
    assert f.efficiency < f.of_present < quiet.efficiency


def test_a_tile_that_is_lost_too_often_is_an_attempt_that_failed():
    f = simulate(1, 1, draw=lambda *_: (1000.0, False), lost_every=10, replaced_after=1)
    assert (f.failed, f.tries) == (1, 3)
    assert f.lost == 3 * 4  # allowed-failures, and the one that is too many


@pytest.mark.parametrize(("policy", "waves"), [(OneByOne, 200), (Waves, 20), (WhenEmpty, 10)])
def test_the_refill_decides_how_many_messages(policy, waves):
    f = simulate(200, 20, draw=lambda *_: (1.0, False), policy=policy)
    assert f.messages["waves"] == waves
    assert f.peak == 40


def test_tiles_are_drawn_as_assumed():
    seconds, fails = zip(*(s3_tile(tile, 1) for tile in range(2000)), strict=True)
    assert 35 < sum(seconds) / 2000 < 42
    assert 2 <= sum(fails) <= 25  # 1 in 200
    assert s3_tile(5, 1) == s3_tile(5, 1) != s3_tile(5, 2)


def test_the_schedulers_memory_does_not_grow_with_the_area():
    size = task_bytes()
    assert 10_000 < size < 200_000
    few, many = simulate(200, 10), simulate(800, 10)
    assert few.peak == many.peak == 20
    assert few.memory(size) == many.memory(size)
