"""Finding items in a folder, a catalog, a GeoParquet; pinning them; saying why none is left."""

import copy
import json
import shutil

import pystac
import pytest
from odc.geo.geom import box

from geocube_ml.cube import catalog
from geocube_ml.cube.catalog import find_items, items_digest, pin_items, read_items
from geocube_ml.cube.items import boa_offset, footprint_bounds, solar_day, stated_geobox
from geocube_ml.errors import InputError, MissingError, NoItemsError
from geocube_ml.spec.recipe import PeriodSpec
from geocube_ml.spec.source import ItemsSpec, SensorSpec, SourceSpec

YEAR = PeriodSpec(start="2022-01", end="2022-12")
AREA = box(14.99, 45.0, 15.02, 45.2, "EPSG:4326")  # around the tiny archive

PROCESSED = ("created", "updated", "datetime", "start_datetime", "end_datetime")
"""Times that come back with more digits."""


def source_of(*bands, **items):
    names = bands or ("B10", "SCL")
    return SourceSpec(
        sensor=SensorSpec(bands={name: name for name in names}), items=ItemsSpec(**items)
    )


@pytest.fixture
def folder(tiny):
    return tiny.folder / "items"


@pytest.fixture
def items(folder):
    return find_items(source_of(catalog=str(folder)), YEAR)


def ids(found):
    return [item.id for item in found]


# -- places ---------------------------------------------------------------------------------


def test_a_folder_gives_items_in_order_with_absolute_hrefs(tiny, items):
    assert ids(items) == ["E0105", "W0105", "W0115", "E0125", "W0125", "E0310", "E0310again"]
    for item in items:
        assert item.assets["B10"].href == str(tiny.folder / "cogs" / item.id / "B10.tif")


def test_a_relative_folder_is_found_too(tiny, monkeypatch):
    monkeypatch.chdir(tiny.folder.parent)
    source = source_of(catalog=f"{tiny.folder.name}/items")
    found = find_items(source, YEAR)
    assert found[0].assets["B10"].href.startswith(str(tiny.folder))


def test_subfolders_are_searched_and_other_json_is_passed_over(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "a" / "2022")
    (tmp_path / "collection.json").write_text('{"type": "Collection", "id": "x"}')
    (tmp_path / "list.json").write_text("[1, 2]")
    assert len(find_items(source_of(catalog=str(tmp_path)), YEAR)) == 7


def test_a_static_catalog_and_its_collections_give_the_same_items(items, tmp_path, folder):
    root = pystac.Catalog("root", "all")
    extent = pystac.Extent(
        pystac.SpatialExtent([[14, 45, 16, 46]]), pystac.TemporalExtent([[None, None]])
    )
    for month in ("2022-01", "2022-03"):
        child = pystac.Collection(month, month, extent)
        child.add_items([i.clone() for i in items if solar_day(i).startswith(month)])
        root.add_child(child)
    root.normalize_and_save(str(tmp_path / "static"), pystac.CatalogType.SELF_CONTAINED)
    found = find_items(source_of(catalog=str(tmp_path / "static" / "catalog.json")), YEAR)
    assert ids(found) == ids(items)
    assert [i.assets["B20"].href for i in found] == [i.assets["B20"].href for i in items]
    part = find_items(
        source_of(catalog=str(tmp_path / "static" / "2022-03" / "collection.json")), YEAR
    )
    assert ids(part) == ["E0310", "E0310again"]
    one = find_items(source_of(catalog=str(folder / "W0115.json")), YEAR)
    assert ids(one) == ["W0115"]


def test_a_geoparquet_gives_the_same_items(items, tmp_path):
    pin_items(items, tmp_path / "items.parquet")
    found = find_items(source_of(geoparquet=str(tmp_path / "items.parquet")), YEAR)
    assert ids(found) == ids(items)
    assert [i.assets["SCL"].href for i in found] == [i.assets["SCL"].href for i in items]


def test_relative_hrefs_in_a_geoparquet_start_at_its_folder(items, tmp_path):
    relative = [item.clone() for item in items]
    for item in relative:
        item.assets["B10"].href = f"./cogs/{item.id}/B10.tif"
    pin_items(relative, tmp_path / "there" / "items.parquet")
    found = read_items(tmp_path / "there" / "items.parquet")
    assert found[0].assets["B10"].href == str(tmp_path / "there" / "cogs" / "E0105" / "B10.tif")


# -- filters --------------------------------------------------------------------------------


def test_months_go_by_the_suns_day(tmp_path, write_item, tiny):
    """Filed in May by UTC, in June where it was seen."""
    item = json.loads((tiny.folder / "items" / "W0105.json").read_text())
    item["properties"]["datetime"] = "2022-05-31T23:30:00Z"  # an hour ahead at 15 degrees east
    (tmp_path / "x.json").write_text(json.dumps(item))
    source = source_of(catalog=str(tmp_path))
    assert ids(find_items(source, PeriodSpec(start="2022-06", end="2022-06"))) == ["W0105"]
    with pytest.raises(NoItemsError):
        find_items(source, PeriodSpec(start="2022-05", end="2022-05"))


@pytest.mark.parametrize(
    ("more", "period", "area", "said"),
    [
        ({}, ("2021-01", "2021-12"), None, "7 outside the period 2021-01 to 2021-12"),
        ({"collections": ["other"]}, None, None, "7 of another collection than other"),
        ({"max_cloud_cover": 40}, None, None, "7 cloudier than max_cloud_cover 40 %"),
        ({}, None, box(0, 0, 1, 1, "EPSG:4326"), "7 outside the grid"),
        (
            {"max_cloud_cover": 40},
            ("2022-03", "2022-12"),
            AREA,
            "5 outside the period 2022-03 to 2022-12, then 2 cloudier than max_cloud_cover 40 %",
        ),
    ],
)
def test_when_nothing_is_left_each_filter_says_how_many_it_removed(
    folder, more, period, area, said
):
    source = source_of(catalog=str(folder), **more)
    with pytest.raises(NoItemsError) as caught:
        find_items(source, YEAR if period is None else PeriodSpec(start=period[0], end=period[1]),
                   area)  # fmt: skip
    text = str(caught.value)
    assert said in text
    assert "None of the 7 items" in text
    assert str(folder) in text
    assert ("that filter" if ", then" not in said else "one of these filters") in text


def test_filters_keep_what_they_should(folder):
    source = source_of(catalog=str(folder), collections=["tiny", "x"], max_cloud_cover=50)
    assert len(find_items(source, YEAR, AREA)) == 7
    west = box(14.9, 44.9, 15.0005, 45.2, "EPSG:4326")
    assert {i.id[0] for i in find_items(source, YEAR, west)} == {"W"}


def test_cloud_cover_that_is_not_given_passes(tmp_path, tiny):
    item = json.loads((tiny.folder / "items" / "W0105.json").read_text())
    item["properties"]["eo:cloud_cover"] = None
    (tmp_path / "x.json").write_text(json.dumps(item))
    assert ids(find_items(source_of(catalog=str(tmp_path), max_cloud_cover=0), YEAR)) == ["W0105"]


# -- what is wrong with the input -----------------------------------------------------------


def test_an_asset_that_items_lack_is_named_with_the_nearest(folder):
    with pytest.raises(InputError) as caught:
        find_items(source_of("B10", "B21", catalog=str(folder)), YEAR)
    text = str(caught.value)
    assert "7 of 7 items" in text
    assert "no asset 'B21'" in text
    assert "(E0105, E0125, E0310, ...)" in text
    assert "Did you mean 'B20'?" in text
    assert "B10, B20, SCL" in text


def test_only_the_items_that_lack_an_asset_are_counted(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "items")
    file = tmp_path / "items" / "W0115.json"
    item = json.loads(file.read_text())
    del item["assets"]["SCL"]
    file.write_text(json.dumps(item))
    with pytest.raises(InputError, match=r"1 of 7 items in .* no asset 'SCL' \(W0115\)"):
        find_items(source_of(catalog=str(tmp_path / "items")), YEAR)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"type": "Feature", "id": "x', "is not JSON"),
        ("", "is not JSON"),
        ("\ufffe\x00", "is not JSON"),
        ('{"type": "Feature"}', "is not a STAC item"),
        ('{"type": "Feature", "id": "x", "properties": {}}', "is not a STAC item"),
    ],
)
def test_a_damaged_item_is_named(tmp_path, text, said):
    (tmp_path / "bad.json").write_text(text, encoding="utf-16" if "\x00" in text else "utf-8")
    with pytest.raises(InputError, match=said) as caught:
        find_items(source_of(catalog=str(tmp_path)), YEAR)
    assert str(tmp_path / "bad.json") in str(caught.value)


@pytest.mark.parametrize("child", ['{"type": "Fea', "{}", '{"type": "Feature"}', None])
def test_a_catalog_that_links_to_damage_is_an_input_error(tmp_path, child):
    link = {"rel": "item", "href": "./child.json"}
    root = {"type": "Catalog", "stac_version": "1.0.0", "id": "x", "description": "x"}
    (tmp_path / "catalog.json").write_text(json.dumps(root | {"links": [link]}))
    if child is not None:
        (tmp_path / "child.json").write_text(child)
    with pytest.raises((InputError, MissingError), match=r"catalog.json") as caught:
        find_items(source_of(catalog=str(tmp_path / "catalog.json")), YEAR)
    assert "child.json" in str(caught.value)


@pytest.mark.parametrize("content", [[], {}, {"type": "FeatureCollection", "links": []}])
def test_json_that_is_no_catalog_is_an_input_error(tmp_path, content):
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"x.json is n"):
        find_items(source_of(catalog=str(tmp_path / "x.json")), YEAR)


def test_places_that_are_not_there_are_missing(tmp_path):
    with pytest.raises(MissingError, match=r"no folder or catalog .*nowhere.*items.catalog"):
        find_items(source_of(catalog=str(tmp_path / "nowhere")), YEAR)
    with pytest.raises(MissingError, match=r"no file .*nowhere.parquet"):
        find_items(source_of(geoparquet=str(tmp_path / "nowhere.parquet")), YEAR)


def test_an_empty_folder_and_an_empty_catalog_hold_no_items(tmp_path):
    with pytest.raises(NoItemsError, match=r'No items in .*"type": "Feature"'):
        find_items(source_of(catalog=str(tmp_path)), YEAR)


@pytest.mark.parametrize("content", [b"", b"PAR1 cut short", b"not Parquet at all, but long"])
def test_a_file_that_is_no_geoparquet_of_items_is_an_input_error(tmp_path, content):
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"x.parquet is not a GeoParquet of STAC items"):
        read_items(tmp_path / "x.parquet")


# -- pinning --------------------------------------------------------------------------------


def real_items(folder, *names):
    found = []
    for file in sorted(folder.glob("*.json")):
        content = json.loads(file.read_text())
        if content.get("type") == "Feature" and any(part in file.name for part in names):
            with catalog._quiet():
                found.append(catalog._parsed(content, file))
    return found


KINDS = {
    "planetary computer": ("planetary_computer", ("S2",), 7),
    "earth search v1": ("earth_search", ("33TWN", "12RWT"), 9),
    "earth search c1": ("earth_search", ("_T24M",), 3),
    "earth search l1c": ("earth_search", ("L1C",), 4),
    "earth search v0": ("earth_search", ("28QCH", "20EPT", "T01WCR"), 3),
    "earth search, all versions": ("earth_search", ("",), 19),
    "landsat": ("other", ("LC08",), 1),
    "geoscience australia": ("other", ("ga_",), 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pinned_real_items_lose_nothing_that_is_needed(data, tmp_path, kind):
    where, names, n = KINDS[kind]
    items = real_items(data / "stac_items" / where, *names)
    assert len(items) == n
    pin_items(items, tmp_path / "items.parquet")
    check_kept(items, read_items(tmp_path / "items.parquet"))


@pytest.mark.parametrize("where", ["slovenia_s2_ndvi/items", "croatia_s2_scenes/items"])
def test_pinned_items_of_real_pixels_lose_nothing(data, tmp_path, where):
    items = real_items(data / where, "")
    pin_items(items, tmp_path / "items.parquet")
    check_kept(items, read_items(tmp_path / "items.parquet"))


def test_pinned_simulated_items_lose_nothing(archive, tmp_path):
    items = real_items(archive.items, "")
    assert len(items) == 48
    pin_items(items, tmp_path / "items.parquet")
    check_kept(items, read_items(tmp_path / "items.parquet"))


def check_kept(items, back):
    assert ids(back) == ids(items)
    for was, now in zip(items, back, strict=True):
        assert now.datetime == was.datetime
        assert now.collection_id == was.collection_id
        assert solar_day(now) == solar_day(was)
        assert footprint_bounds(now) == footprint_bounds(was)
        assert set(now.assets) == set(was.assets)
        for key, asset in was.assets.items():
            assert now.assets[key].href == asset.href
            assert stated_geobox(now, key) == stated_geobox(was, key)
            for name, value in asset.extra_fields.items():
                assert now.assets[key].extra_fields.get(name) == catalog._without_nulls(value)
        kept = {k: v for k, v in was.properties.items() if k not in PROCESSED}
        # a field of the item itself may come back as a property
        assert now.properties.items() >= catalog._without_nulls(kept).items()
        try:
            offset = boa_offset(was)
        except InputError:
            with pytest.raises(InputError):
                boa_offset(now)
        else:
            assert boa_offset(now) == offset


@pytest.mark.parametrize(
    "change",
    [
        lambda item: item["properties"].update(
            datetime=None,
            start_datetime="2022-01-01T00:00:00Z",
            end_datetime="2022-01-09T00:00:00Z",
        ),
        lambda item: item["properties"].update(note=None),
        lambda item: item["properties"].update(software={}),
        lambda item: item["assets"]["B10"].update(alternate={}),
        lambda item: item["assets"]["B10"].update({"proj:shape": [44.0, 64.0]}),
        lambda item: item["assets"].update(extra={"href": "x.tif", "roles": []}),
        lambda item: item.update(bbox=[14.9, 44.9, 0, 15.1, 45.2, 900]),
        lambda item: item.pop("bbox"),
        lambda item: item.update(geometry=None),
        lambda item: item.pop("collection"),
    ],
    ids=[
        "datetime is null", "a null", "an empty mapping", "an empty mapping in an asset",
        "whole numbers with a point", "an asset more", "3D bbox", "no bbox", "no geometry",
        "no collection",
    ],
)  # fmt: skip
def test_items_that_differ_in_shape_are_pinned_together(tiny, tmp_path, change):
    plain = json.loads((tiny.folder / "items" / "W0105.json").read_text())
    odd = copy.deepcopy(plain) | {"id": "odd"}
    change(odd)
    items = [pystac.Item.from_dict(item) for item in (plain, odd)]
    pin_items(items, tmp_path / "items.parquet")
    back = read_items(tmp_path / "items.parquet")
    assert ids(back) == ["W0105", "odd"]
    for was, now in zip(items, back, strict=True):
        assert solar_day(now) == solar_day(was)
        assert footprint_bounds(now) == footprint_bounds(was)
        assert stated_geobox(now, "B10") == stated_geobox(was, "B10")
        assert set(now.assets) == set(was.assets)


def test_items_whose_properties_are_of_two_types_are_refused(items, tmp_path):
    items[0].properties["path"] = "028"
    items[1].properties["path"] = 28
    with pytest.raises(InputError, match=r"7 items do not fit into one table"):
        pin_items(items, tmp_path / "items.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "landsat"])
def test_pinning_does_not_change_the_digest_of_real_items(data, tmp_path, kind):
    where, names, _ = KINDS[kind]
    items = real_items(data / "stac_items" / where, *names)
    pin_items(items, tmp_path / "a.parquet")
    once = read_items(tmp_path / "a.parquet")
    assert items_digest(once) == items_digest(items)
    pin_items(once, tmp_path / "b.parquet")
    assert items_digest(read_items(tmp_path / "b.parquet")) == items_digest(items)


def test_pins_do_not_lead_back_to_the_catalogue(items, tmp_path):
    items[0].add_link(pystac.Link("parent", "http://127.0.0.1:9/"))
    pin_items(items, tmp_path / "items.parquet")
    again = read_items(tmp_path / "items.parquet")
    assert {link.rel for item in again for link in item.links} <= {"self"}


# -- the digest -----------------------------------------------------------------------------


def test_the_digest_depends_on_neither_place_nor_order_nor_signature(items, tiny, tmp_path):
    digest = items_digest(items)
    shutil.copytree(tiny.folder / "items", tmp_path / "moved" / "items")
    moved = find_items(source_of(catalog=str(tmp_path / "moved" / "items")), YEAR)
    assert moved[0].assets["B10"].href != items[0].assets["B10"].href
    assert items_digest(moved) == digest
    assert items_digest(items[::-1]) == digest
    for item in moved:
        item.assets["B10"].href += "?sig=a/b"
    assert items_digest(moved) == digest


def test_the_digest_changes_with_whatever_items_say(items):
    def changed(change):
        clones = [item.clone() for item in items]
        change(clones[2])
        return items_digest(clones)

    digests = [
        items_digest(items),
        items_digest(items[1:]),
        changed(lambda i: i.properties.update({"s2:processing_baseline": "04.00"})),
        changed(lambda i: i.properties.update(datetime="2022-01-16T10:00:00Z")),
        changed(lambda i: i.assets["B10"].extra_fields.update({"proj:shape": [1, 1]})),
        changed(lambda i: setattr(i.assets["B10"], "href", "/x/B11.tif")),
        changed(lambda i: i.assets.pop("SCL")),
        changed(lambda i: setattr(i, "bbox", [0, 0, 1, 1])),
        changed(lambda i: setattr(i, "id", "other")),
    ]
    assert len(set(digests)) == len(digests)


def test_two_items_of_one_name_have_one_digest_in_either_order(items):
    twin = items[0].clone()
    twin.properties["s2:processing_baseline"] = "05.09"
    assert items_digest([items[0], twin]) == items_digest([twin, items[0]])
