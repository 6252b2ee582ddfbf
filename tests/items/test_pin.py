"""Pinned items are read lightly, and say what they said."""

import json

import pyarrow as pa
import pystac
import pytest

from geocube_ml.cube.mosaic import make_mosaic
from geocube_ml.errors import InputError, MissingError
from geocube_ml.grid import Grid
from geocube_ml.items.catalog import find_items, items_digest, pin_items, read_items
from geocube_ml.items.pin import PinnedItems, whole_items
from geocube_ml.items.rows import shared, without_nulls
from geocube_ml.items.stored import quiet
from geocube_ml.spec.period import PeriodSpec
from tests.archives import sensor_of

YEARS = PeriodSpec(start="2016-01", end="2025-12", step="quarter")


@pytest.mark.parametrize("kind", ["earth_search", "planetary_computer"])
def test_real_items_make_the_same_scenes_read_lightly_or_whole(data, tmp_path, tiny, kind):
    name = {"earth_search": "earth-search", "planetary_computer": "planetary-computer"}[kind]
    source = tiny.source().model_copy(
        update={"sensor": sensor_of(f"{name}-sentinel-2-l2a.yaml"), "bands": ()}
    )
    said = [json.loads(path.read_text()) for path in sorted((data / "stac_items" / kind).iterdir())]
    with quiet():
        items = [pystac.Item.from_dict(one) for one in said if one["type"] == "Feature"]
    items = [item for item in items if set(source.assets) <= set(item.assets)]
    assert len(items) > 5
    path = tmp_path / "items.parquet"
    pin_items(items, path)
    whole = make_mosaic(read_items(path), source, tiny.grid, YEARS)
    light = make_mosaic(PinnedItems(path, source.assets), source, tiny.grid, YEARS)
    assert light == whole
    assert [g.grids for g in light.granules] == [g.grids for g in whole.granules]
    assert light.digest() == whole.digest()


def test_layers_without_a_date_and_relative_files_are_read_lightly(tiny, tmp_path):
    source = tiny.source(static=True, offset="none")
    items = find_items(source, None)
    for item in items[:3]:
        item.datetime = None
        item.properties.pop("datetime", None)
    for item in items:
        for asset in item.assets.values():
            asset.href = asset.href.rsplit("/", 1)[-1]
    pin_items(items, tmp_path / "items.parquet")
    path = tmp_path / "items.parquet"
    whole = make_mosaic(read_items(path), source, tiny.grid, None)
    light = make_mosaic(PinnedItems(path, source.assets), source, tiny.grid, None)
    assert light == whole
    assert {href.rpartition("/")[0] for g in light.granules for href in g.hrefs.values()} == {
        str(tmp_path)
    }


def test_an_asset_that_an_item_lacks_is_not_there(tiny, tmp_path):
    source = tiny.source()
    period = PeriodSpec(start="2022-01", end="2022-03")
    items = find_items(source, period)
    del items[2].assets["B20"]
    pin_items(items, tmp_path / "items.parquet")
    light = list(PinnedItems(tmp_path / "items.parquet", source.assets))
    assert [set(item.assets) for item in light] == [set(item.assets) for item in items]
    with pytest.raises(InputError, match="has no asset 'B20'"):
        make_mosaic(light, source, tiny.grid, period)


def test_items_are_read_anew_each_time_and_a_few_at_a_time(tiny, tmp_path, monkeypatch):
    source = tiny.source()
    items = find_items(source, PeriodSpec(start="2022-01", end="2022-03"))
    path = tmp_path / "items.parquet"
    pin_items(items, path)
    monkeypatch.setattr("geocube_ml.items.pin._ROWS", 2)
    light = PinnedItems(path, source.assets)
    assert [item.id for item in light] == [item.id for item in light] == [i.id for i in items]
    assert items_digest(whole_items(path)) == items_digest(items)
    path.write_text("no parquet")
    with pytest.raises(InputError, match="not a GeoParquet"):
        list(light)
    path.unlink()
    with pytest.raises(MissingError):
        list(light)


def test_a_country_has_few_grids_in_memory(tiny, tmp_path):
    source, period = tiny.source(), PeriodSpec(start="2022-01", end="2022-03")
    pin_items(find_items(source, period), tmp_path / "items.parquet")
    light = PinnedItems(tmp_path / "items.parquet", source.assets)
    mosaic = make_mosaic(light, source, Grid(tiny.grid.geobox, tiny.grid.store), period)
    granules = list(mosaic.granules)
    assert len(granules) == 7
    assert len({id(granule.outline) for granule in granules}) == 2
    assert len({id(granule.grids) for granule in granules}) == 2


@pytest.mark.parametrize(
    "rows",
    [
        [[1.0, 2.0], [1.0, 2.0], [2.0, 1.0], [], None, [1.0]],
        [{"a": 1, "b": [{"c": "x"}]}, {"a": 1, "b": [{"c": "y"}]}, {"a": 1, "b": []}, None],
        [{"a": [[1], [2]]}, {"a": [[1, 2]]}, {"a": [[1], [2]]}],
    ],
)
def test_rows_that_are_shared_are_those_that_are_equal(rows):
    found = shared(pa.array(rows))
    assert found == [without_nulls(row) for row in pa.array(rows).to_pylist()]
    for i, one in enumerate(rows):
        for j, other in enumerate(rows):
            assert (found[i] is found[j]) == (one == other) or found[i] is None
