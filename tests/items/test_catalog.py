"""Finding items in a folder, a catalog, a GeoParquet; pinning them; saying why none is left."""

import copy
import json
import os
import shutil

import pystac
import pytest
import s3fs
from odc.geo.geom import box

from geocube_ml.errors import InputError, MissingError, NoItemsError, StorageError
from geocube_ml.files import place
from geocube_ml.items.catalog import find_items, items_digest, pin_items, read_items
from geocube_ml.items.item import boa_offset, footprint_bounds, solar_day, stated_geobox
from geocube_ml.items.rows import without_nulls
from geocube_ml.items.stored import parse_item, quiet
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.spec.source import ItemsSpec, SourceSpec
from geocube_ml.spec.storage import StorageSpec
from tests.servers.faults import Plan

YEAR = PeriodSpec(start="2022-01", end="2022-12")
AREA = box(14.99, 45.0, 15.02, 45.2, "EPSG:4326")  # around the tiny archive

PROCESSED = ("created", "updated", "datetime", "start_datetime", "end_datetime")
"""Times that come back with more digits."""


ALL = ["E0105", "W0105", "W0115", "E0125", "W0125", "E0310", "E0310again"]


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


@pytest.mark.parametrize(
    ("period", "found"),
    [
        ({"start": "2022-01-11", "end": "2022-01-20", "step": "dekad"}, ["W0115"]),
        ({"start": "2022-01-05", "end": "2022-01-15", "step": "10 days"}, ALL[:3]),
        ({"start": "2022-01-05", "end": "2022-01-25", "step": "10 days"}, ALL[:5]),
        ({"start": "2022-01-06", "end": "2022-01-24", "step": "19 days"}, ["W0115"]),
        ({"start": "2022-01-06", "end": "2022-01-25", "step": "1 day"}, ALL[2:5]),
        ({"start": "2022-01", "end": "2022-03", "step": "quarter"}, ALL),
    ],
)
def test_items_of_the_steps_are_found_the_last_step_whole(folder, period, found):
    assert ids(find_items(source_of(catalog=str(folder)), PeriodSpec(**period))) == found


def test_a_static_source_takes_items_of_all_dates_and_of_none(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "items")
    path = tmp_path / "items" / "W0115.json"
    content = json.loads(path.read_text())
    content["properties"]["datetime"] = None
    path.write_text(json.dumps(content))
    series = source_of(catalog=str(tmp_path / "items"))
    sensor = series.sensor.model_copy(update={"static": True})
    static = series.model_copy(update={"sensor": sensor})
    for period in (None, PeriodSpec(start="1999-01", end="1999-01")):
        found = find_items(static, period)
        assert ids(found) == ["W0115", *[name for name in ALL if name != "W0115"]]
        assert found[0].datetime is None
    pin_items(found, tmp_path / "items.parquet")
    again = read_items(tmp_path / "items.parquet")
    assert items_digest(again) == items_digest(found)
    assert again[0].datetime is None
    with pytest.raises(InputError, match=r"W0115 has neither datetime nor start_datetime"):
        find_items(series, YEAR)


def test_without_a_period_a_series_takes_all_dates(folder):
    assert ids(find_items(source_of(catalog=str(folder)), None)) == ALL


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


# -- stores and sites -----------------------------------------------------------------------


@pytest.fixture
def keys(s3, monkeypatch):
    """The environment of somebody who may use the server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()  # each keeps the keys it found


def storage_of(server, bucket, **more):
    spec = {"endpoint_url": server.endpoint_url, "region": "us-east-1"}
    return StorageSpec(s3={f"s3://{bucket}": spec | more}, attempts=2, deadline_s=5)


def static_catalog(items, folder):
    """A catalog of two collections, with relative links and asset hrefs."""
    extent = pystac.Extent(
        pystac.SpatialExtent([[14, 45, 16, 46]]), pystac.TemporalExtent([[None, None]])
    )
    root = pystac.Catalog("root", "all")
    for month in ("2022-01", "2022-03"):
        child = pystac.Collection(month, month, extent)
        child.add_items([i.clone() for i in items if solar_day(i).startswith(month)])
        root.add_child(child)
    root.normalize_hrefs(str(folder))
    for item in root.get_items(recursive=True):
        for key, asset in item.assets.items():
            asset.href = f"./{key}.tif"
    root.save(pystac.CatalogType.SELF_CONTAINED)


def upload(folder, to, storage):
    root = place(to, storage)
    for file in sorted(folder.rglob("*.json")):
        (root / file.relative_to(folder).as_posix()).write_bytes(file.read_bytes())


def test_a_folder_in_a_store_is_listed_once_and_each_file_is_read_once(
    s3, s3_faults, keys, folder, items
):  # fmt: skip
    bucket = s3.bucket()
    upload(folder, f"s3://{bucket}/a/items", storage_of(s3, bucket))
    (place(f"s3://{bucket}/a/items/2022/x.json", storage_of(s3, bucket))).write_text("[1]")
    behind = storage_of(s3.behind(s3_faults.url), bucket)
    found = find_items(source_of(catalog=f"s3://{bucket}/a/items"), YEAR, storage=behind)
    assert ids(found) == ids(items)
    assert found[0].assets["B10"].href == f"s3://{bucket}/a/cogs/E0105/B10.tif"
    assert (s3_faults.count(kind="list"), s3_faults.count(kind="get")) == (1, 8)
    assert s3_faults.count() == 9
    assert items_digest(found) == items_digest(items)


def test_a_store_that_is_busy_is_asked_again(s3, s3_faults, keys, folder, items):
    bucket = s3.bucket()
    upload(folder, f"s3://{bucket}/items", storage_of(s3, bucket))
    s3_faults.plan = Plan(probability=1, faults=("slow_down", "reset"), at_most=1)
    behind = storage_of(s3.behind(s3_faults.url), bucket)
    found = find_items(source_of(catalog=f"s3://{bucket}/items"), YEAR, storage=behind)
    assert ids(found) == ids(items)
    assert s3_faults.count() == 16


def test_a_static_catalog_in_a_store_gives_the_same_items(
    s3, keys, items, tmp_path
):  # fmt: skip
    static_catalog(items, tmp_path)
    bucket = s3.bucket()
    storage = storage_of(s3, bucket)
    upload(tmp_path, f"s3://{bucket}/static", storage)
    source = source_of(catalog=f"s3://{bucket}/static/catalog.json")
    found = find_items(source, YEAR, storage=storage)
    assert ids(found) == ids(items)
    there = found[0].assets["B10"].href
    assert there == f"s3://{bucket}/static/2022-01/E0105/B10.tif"
    (place(f"s3://{bucket}/static/2022-03/E0310/E0310.json", storage)).unlink()
    with pytest.raises(MissingError, match=r"links to s3://.*E0310.json, which is not there"):
        find_items(source, YEAR, storage=storage)


def test_items_are_pinned_in_a_store(s3, keys, items):
    bucket = s3.bucket()
    storage = storage_of(s3, bucket)
    relative = [item.clone() for item in items]
    for item in relative:
        item.assets["B10"].href = f"./cogs/{item.id}/B10.tif"
    path = place(f"s3://{bucket}/out/items.parquet", storage)
    pin_items(relative, path)
    back = read_items(path)
    assert ids(back) == ids(items)
    assert back[0].assets["B10"].href == f"s3://{bucket}/out/cogs/E0105/B10.tif"
    source = source_of(geoparquet=f"s3://{bucket}/out/items.parquet")
    assert ids(find_items(source, YEAR, storage=storage)) == ids(items)
    with pytest.raises(MissingError, match=r"no file s3://.*/other.parquet"):
        read_items(path.parent / "other.parquet")


def test_a_catalog_on_a_site_gives_the_same_items(serve_files, items, tmp_path):
    static_catalog(items, tmp_path)
    pin_items(items, tmp_path / "items.parquet")
    site = serve_files(tmp_path)
    found = find_items(source_of(catalog=f"{site.url}/catalog.json"), YEAR)
    assert ids(found) == ids(items)
    assert found[0].assets["B10"].href == f"{site.url}/2022-01/E0105/B10.tif"
    one = find_items(source_of(catalog=f"{site.url}/2022-01/W0115/W0115.json"), YEAR)
    assert ids(one) == ["W0115"]
    table = find_items(source_of(geoparquet=f"{site.url}/items.parquet"), YEAR)
    assert ids(table) == ids(items)


@pytest.mark.parametrize(
    ("where", "error", "said"),
    [
        ("index.html", InputError, "cannot be listed there: name its catalog.json"),
        ("nowhere", MissingError, "no folder or catalog http.*items.catalog"),
        ("api.json", InputError, "is a STAC API. Name it as `stac_api`"),
        ("list.json", InputError, "neither a STAC catalog nor an item"),
    ],
)
def test_what_a_site_cannot_give_is_told(serve_files, tmp_path, where, error, said):
    (tmp_path / "index.html").write_text("<html><a href='x.json'>x.json</a></html>")
    (tmp_path / "list.json").write_text("[1]")
    api = {"type": "Catalog", "links": [], "conformsTo": ["https://x/v1.0.0/item-search"]}
    (tmp_path / "api.json").write_text(json.dumps(api))
    site = serve_files(tmp_path)
    with pytest.raises(error, match=said):
        find_items(source_of(catalog=f"{site.url}/{where}"), YEAR)


def test_a_geoparquet_that_is_not_on_a_site_is_missing(serve_files, tmp_path):
    with pytest.raises(MissingError, match=r"no file http.*x.parquet"):
        find_items(source_of(geoparquet=f"{serve_files(tmp_path).url}/x.parquet"), YEAR)


@pytest.mark.parametrize("kind", ["catalog", "geoparquet"])
def test_a_site_that_nobody_runs_is_a_storage_error(kind):
    storage = StorageSpec(attempts=1)
    with pytest.raises(StorageError, match=r"127.0.0.1:9/x cannot be read.*Check the"):
        find_items(source_of(**{kind: "http://127.0.0.1:9/x"}), YEAR, storage=storage)


NEXT_STEPS = {
    "no bucket": ("no such bucket here.*Correct its name", {}),
    "refused": ("access is refused.*storage.s3", {"anonymous": True}),
    "no profile": (r"profile \(nobody\) could not be found", {"profile": "nobody"}),
    "nobody there": ("does not answer.*endpoint", {"endpoint_url": "http://127.0.0.1:9"}),
}


@pytest.mark.parametrize("kind", NEXT_STEPS)
@pytest.mark.parametrize("where", ["items", "catalog.json", "items.parquet"])
def test_what_is_wrong_with_a_store_is_told_with_the_next_step(s3, keys, kind, where):
    said, more = NEXT_STEPS[kind]
    bucket = "not-there" if kind == "no bucket" else s3.bucket()
    key = "geoparquet" if where.endswith(".parquet") else "catalog"
    source = source_of(**{key: f"s3://{bucket}/{where}"})
    with pytest.raises(StorageError, match=said):
        find_items(source, YEAR, storage=storage_of(s3, bucket, **more))


def test_without_keys_a_store_says_where_they_come_from(s3, keys, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    bucket = s3.bucket()
    with pytest.raises(StorageError, match=r"credentials.*AWS_PROFILE.*anonymous"):
        find_items(source_of(catalog=f"s3://{bucket}"), YEAR, storage=storage_of(s3, bucket))


def test_an_empty_place_of_a_store_is_missing(s3, keys):
    bucket = s3.bucket()
    for where in ("items", "catalog.json"):
        source = source_of(catalog=f"s3://{bucket}/{where}")
        with pytest.raises(MissingError, match=r"no folder or catalog s3://"):
            find_items(source, YEAR, storage=storage_of(s3, bucket))


# -- signatures -----------------------------------------------------------------------------

BLOB = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/B10.tif"
SAS = "st=2026-01-01T00%3A00%3A00Z&se=2026-01-02&sp=rl&sv=2024-05-04&sr=c&sig=SECRET%3D"
ENDING = [
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=K&X-Amz-Expires=9&X-Amz-Signature=SECRET",
    "X-Goog-Algorithm=GOOG4&X-Goog-Credential=K&X-Goog-Signature=SECRET",
    "AWSAccessKeyId=K&Expires=9&Signature=SECRET",
    SAS.replace("SECRET%3D", "SECRET"),  # of another host than Azure's
]


def signed(folder, to, **hrefs):
    shutil.copytree(folder, to)
    file = to / "W0115.json"
    item = json.loads(file.read_text())
    for key, href in hrefs.items():
        item["assets"].setdefault(key, {})["href"] = href
    file.write_text(json.dumps(item))
    return source_of(catalog=str(to))


def test_signatures_that_are_renewed_are_left_off(folder, items, tmp_path):
    source = signed(folder, tmp_path / "items", B10=f"{BLOB}?{SAS}")
    found = find_items(source, YEAR)
    assert found[ids(found).index("W0115")].assets["B10"].href == BLOB
    assert items_digest(found) == items_digest(items)


def test_what_is_pinned_has_no_signature(items, tmp_path):
    other = {"href": f"{BLOB}?{SAS}"}
    items[0].assets["B10"].href = f"{BLOB}?{SAS}"
    items[0].assets["B10"].extra_fields["alternate"] = {"other": other}
    before = items_digest(items)
    pin_items(items, tmp_path / "items.parquet")
    back = read_items(tmp_path / "items.parquet")
    assert back[0].assets["B10"].href == BLOB
    assert back[0].assets["B10"].extra_fields["alternate"]["other"]["href"] == BLOB
    assert "SECRET" not in json.dumps([item.to_dict() for item in back])
    assert items[0].assets["B10"].href.endswith("SECRET%3D")  # what was given is left as it was
    assert items_digest(back) == before


@pytest.mark.parametrize("query", ENDING)
def test_signatures_that_end_are_refused_and_not_shown(folder, tmp_path, query):
    href = f"https://bucket.s3.amazonaws.com/B10.tif?{query}"
    with pytest.raises(InputError, match=r"W0115, asset B10.*signature.*which ends") as caught:
        find_items(signed(folder, tmp_path / "items", B10=href), YEAR)
    assert "SECRET" not in str(caught.value)
    item = json.loads((tmp_path / "items" / "W0115.json").read_text())
    with pytest.raises(InputError, match="which ends") as caught:
        pin_items([pystac.Item.from_dict(item)], tmp_path / "items.parquet")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("query", ENDING)
def test_an_asset_that_is_not_read_may_be_signed(folder, tmp_path, query):
    href = f"https://bucket.s3.amazonaws.com/thumb.png?{query}&size=9"
    found = find_items(signed(folder, tmp_path / "items", thumbnail=href), YEAR)
    kept = found[ids(found).index("W0115")].assets["thumbnail"].href
    assert kept == "https://bucket.s3.amazonaws.com/thumb.png?size=9"
    pin_items(found, tmp_path / "items.parquet")


def test_two_items_of_one_name_are_refused_unless_they_say_the_same(folder, tmp_path, items):
    shutil.copytree(folder, tmp_path / "a")
    shutil.copytree(folder, tmp_path / "b")
    source = source_of(catalog=str(tmp_path))
    assert ids(find_items(source, YEAR)) == ids(items)
    file = tmp_path / "b" / "W0115.json"
    item = json.loads(file.read_text())
    item["properties"]["s2:processing_baseline"] = "05.09"
    file.write_text(json.dumps(item))
    with pytest.raises(InputError, match=r"two items W0115 of the collection tiny"):
        find_items(source, YEAR)


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
        (
            {}, ("2021-01", "2021-12"), None,
            "7 outside the period 2021-01 to 2021-12 (theirs: 2022-01-05 to 2022-03-10)",
        ),
        (
            {"collections": ["other"]}, None, None,
            "7 of another collection than other (theirs: tiny)",
        ),
        (
            {"max_cloud_cover": 40}, None, None,
            "7 cloudier than max_cloud_cover 40 % (theirs: 50 %)",
        ),
        (
            {}, None, box(0, 0, 1, 1, "EPSG:4326"),
            (
                "7 outside the grid (west 0.0000, south 0.0000, east 1.0000, north 1.0000) "
                "(theirs: west 14.9990, south 45.1495, east 15.0132, north 45.1535)"
            ),
        ),
        (
            {"max_cloud_cover": 40},
            ("2022-03", "2022-12"),
            AREA,
            (
                "5 outside the period 2022-03 to 2022-12 (theirs: 2022-01-05 to 2022-01-25), then "
                "2 cloudier than max_cloud_cover 40 % (theirs: 50 %). Widen one of these filters "
                "in the recipe (`period`, `items.max_cloud_cover`)"
            ),
        ),
    ],
)  # fmt: skip
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


def test_items_are_left_out_by_their_ids(folder):
    some = source_of(catalog=str(folder), exclude=["W0105", "E0310", "another"])
    assert len(find_items(some, YEAR)) == 5
    assert not {"W0105", "E0310"} & {item.id for item in find_items(some, YEAR)}
    every = [item.id for item in find_items(source_of(catalog=str(folder)), YEAR)]
    with pytest.raises(NoItemsError, match="7 named in `exclude`"):
        find_items(source_of(catalog=str(folder), exclude=every), YEAR)


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
            with quiet():
                found.append(parse_item(content, str(file)))
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
                assert now.assets[key].extra_fields.get(name) == without_nulls(value)
        kept = {k: v for k, v in was.properties.items() if k not in PROCESSED}
        # a field of the item itself may come back as a property
        assert now.properties.items() >= without_nulls(kept).items()
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
