"""Planning a small country, as the benchmark does it with a large one."""

import pytest

from benchmarks.planning import measured


@pytest.fixture(scope="module")
def found():
    return measured(items=520, tiles=25)


def test_a_small_country_is_planned_from_its_pin(found):
    assert (found["items"], found["tiles"]) == (520, 25)
    assert found["tasks"] == 25 * 5  # five years in blocks of twelve months
    # a tile is seen by one granule of ten at least, and by all their assets
    assert found["windows"] > 520 * 11
    assert found["lines"][0].startswith("s2: 520 items of ")
    assert any("33 headers of 3 items" in line for line in found["lines"])
    assert found["peak_bytes"] < 1e9


def test_a_small_country_is_planned_where_no_two_items_share_a_grid(found):
    own = measured(items=520, tiles=25, shifted=True)
    assert own["windows"] == pytest.approx(found["windows"], rel=0.1)
    assert " decoded in " in own["lines"][1]
    assert ["about" in each["lines"][1] for each in (found, own)] == [False, True]
