"""Planning a small country, as the benchmark does it with a large one."""

from benchmarks.planning import measured


def test_a_small_country_is_planned_from_its_pin():
    found = measured(items=300, tiles=25)
    assert (found["items"], found["tiles"]) == (300, 25)
    assert found["tasks"] == 25 * 5  # five years in blocks of twelve months
    # a tile is seen by one granule of ten at least, and by all their assets
    assert found["windows"] > 300 * 11
    assert found["lines"][0].startswith("s2: 300 items of ")
    assert any("33 headers of 3 items" in line for line in found["lines"])
    assert found["peak_bytes"] < 1e9
