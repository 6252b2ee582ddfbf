"""What is handed out next: each task as often as it may, few at a time, in few messages."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocube_ml.cluster.waves import Waves


def drain(waves, threads, *, fails=lambda _: False, pick=lambda _: 0):
    """Hand out and end everything; what was handed out, in order, and what failed for good."""
    flying, seen, lost = [], [], []
    while True:
        while wave := waves.take(threads()):
            flying += wave
            seen += wave
        if not flying:
            return seen, lost
        tried = flying.pop(pick(flying))
        if not fails(tried):
            waves.succeed()
        elif not waves.fail(tried, again=True):
            lost.append(tried)


@given(st.data(), st.integers(0, 60), st.integers(1, 5), st.integers(1, 4))
def test_each_task_is_tried_until_it_is_done_or_was_tried_enough(data, n, ahead, attempts):
    bad = {i: data.draw(st.integers(0, 5)) for i in range(0, n, 3)}  # fails so often
    threads = data.draw(st.integers(0, 7))
    waves = Waves(range(n), ahead=ahead, attempts=attempts)
    seen, lost = drain(
        waves,
        lambda: threads,
        fails=lambda tried: tried.attempt <= bad.get(tried.task, 0),
        pick=lambda flying: data.draw(st.integers(0, len(flying) - 1)),
    )
    want = Counter({i: min(bad.get(i, 0) + 1, attempts) for i in range(n)})
    assert Counter(tried.task for tried in seen) == want
    assert [t for t in seen if t.attempt == 1] == sorted(
        (t for t in seen if t.attempt == 1), key=lambda t: t.task
    )
    assert {tried.task for tried in lost} == {i for i in bad if bad[i] >= attempts}
    assert waves.succeeded == n - len(lost)
    assert waves.tries == len(seen)
    assert waves.peak <= ahead * max(threads, 1)
    assert waves.in_flight == 0


@given(st.lists(st.integers(0, 9), min_size=1, max_size=50))
def test_workers_come_and_go(counts):
    """No more than `ahead` for each thread is handed out at the time."""
    waves, left = Waves(range(100), ahead=2, attempts=1), iter(counts)
    for threads in left:
        before = waves.in_flight
        while waves.take(threads):
            assert waves.in_flight <= 2 * max(threads, 1)
        if max(threads, 1) * 2 <= before:
            assert waves.in_flight == before
        if waves.in_flight:
            waves.succeed()


def test_tasks_are_made_when_they_are_handed_out():
    made = []
    waves = Waves((made.append(i) or i for i in range(1000)), ahead=2, attempts=3)
    while waves.take(10):
        pass
    assert len(made) == waves.in_flight == waves.peak == 20
    for _ in range(4):
        waves.succeed()
        assert not waves.take(10)
    waves.succeed()  # half of what waits is gone
    assert len(waves.take(10)) == 5
    assert len(made) == 25


@pytest.mark.parametrize(("ahead", "waves_"), [(1, 1000), (2, 100), (4, 34)])
def test_messages_are_few(ahead, waves_):
    """Counted by hand: 1000 tasks, 20 threads, waves of (ahead - 1) * 20 / 2."""
    waves = Waves(range(1000), ahead=ahead, attempts=3)
    drain(waves, lambda: 20)
    assert waves.waves == waves_
    assert waves.peak == ahead * 20


def test_a_task_that_failed_comes_again_behind_the_others_in_line():
    waves = Waves("abcdefgh", ahead=2, attempts=2)
    seen, _ = drain(waves, lambda: 2, fails=lambda tried: tried.task == "a")
    assert "".join(tried.task for tried in seen) == "abcdefgah"  # b, c, d were in line
    assert [tried.attempt for tried in seen if tried.task == "a"] == [1, 2]


def test_tasks_that_wait_to_be_tried_again_are_bounded():
    made = []
    waves = Waves((made.append(i) or i for i in range(10_000)), ahead=2, attempts=2)
    flying = []
    for _ in range(400):
        while wave := waves.take(5):
            flying += wave
        waves.fail(flying.pop(0), again=True)
    assert len(made) <= 200 + 2 * 10


def test_it_is_hopeless_when_the_first_all_fail():
    waves = Waves(range(100), ahead=2, attempts=3)
    flying = []
    while not waves.hopeless(6):
        while wave := waves.take(6):
            flying += wave
        waves.fail(flying.pop(0), again=True, wide=True)
    assert waves.given_up == 12
    assert waves.tries <= 6 * 12  # later ones have their turn between two attempts


def test_one_success_at_the_start_is_hope_for_long():
    waves = Waves(range(100), ahead=10, attempts=1)
    flying = waves.take(6)
    while wave := waves.take(6):
        flying += wave
    waves.succeed()
    for tried in flying[1:48]:  # 4 x 2 x 6 are too many
        waves.fail(tried, again=True, wide=True)
        assert not waves.hopeless(6)
    waves.fail(flying[48], again=True, wide=True)
    assert waves.hopeless(6)


def test_one_damaged_raster_under_many_tiles_is_not_the_end():
    waves = Waves(range(10_000), ahead=2, attempts=1)
    for _ in range(499):
        waves.fail(waves.take(1)[0], again=True)
        assert not waves.hopeless(1)
    waves.fail(waves.take(1)[0], again=True)
    assert waves.hopeless(1)
    waves = Waves(range(10_000), ahead=2, attempts=1)
    waves.take(1)
    waves.succeed()
    for _ in range(2000):
        waves.fail(waves.take(1)[0], again=True)
    assert not waves.hopeless(1)


def test_few_tasks_that_all_fail_are_not_too_many_to_list():
    waves = Waves(range(7), ahead=2, attempts=3)
    _, lost = drain(waves, lambda: 2, fails=lambda _: True)
    assert len(lost) == 7
    assert not waves.hopeless(2)
