import contextlib
import json
import os
import sqlite3
from datetime import UTC, datetime

import geopandas as gpd
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import pytest
from geopandas.testing import assert_geodataframe_equal
from shapely.geometry import box

from geocube_ml.doctor.columns import COLUMNS
from geocube_ml.doctor.decisions import read_decisions, record_decisions
from geocube_ml.doctor.table import file_digest
from geocube_ml.errors import InputError, MissingError
from geocube_ml.files import forget_clients, place
from geocube_ml.labels.values import texts
from geocube_ml.labels.vector import read_features
from geocube_ml.spec.labels import LabelsSpec
from geocube_ml.spec.storage import StorageSpec

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
CLASSES = ("wheat", "maize", "grass")


@pytest.fixture
def fields():
    return gpd.GeoDataFrame(
        {
            "crop": ["wheat", "maize", "wheat", "grass"],
            "äcker": ["Süd", None, "Nord", "x"],
            "size": [1.5, 2.0, 3.25, 4.0],
        },
        geometry=[box(10 * k, 0, 10 * k + 5, 5) for k in range(4)],
        crs="EPSG:32633",
    )


def spec_of(path, **more):
    return LabelsSpec(path=str(path), class_column="crop", **more)


def decide(spec, rows):
    """Rows of the table as a person filled them: feature, class, decision, class of it."""
    digest = file_digest(spec.sources[0], StorageSpec())
    return pd.DataFrame(
        [
            {"source": "0", "feature": str(feature), "class": name, "doubt": "0.9",
             "decision": decision, "decision_class": target, "decided_by": "",
             "file_digest": digest}
            for feature, name, decision, target in rows
        ]
    )  # fmt: skip


SOME = [(2, "wheat", "relabel", "maize"), (0, "wheat", "drop", ""), (3, "grass", "keep", "")]


def geopackage(fields, folder):
    path = folder / "labels.gpkg"
    fields.to_file(path, layer="fields")
    fields.iloc[:2].to_file(path, layer="roads")
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE notes (text TEXT)")
        database.execute("INSERT INTO notes VALUES ('mine')")
        # a gap in the numbers of the features: they are not the rows
        database.create_function("ST_IsEmpty", 1, lambda _: 0)
        database.execute("DELETE FROM fields WHERE fid = 2")
    database.close()
    return spec_of(path, layer="fields")


def geojson(fields, folder):
    path = folder / "labels.geojson"
    fields.to_crs("EPSG:4326").drop(index=1).to_file(path)
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"licence": "CC-BY-4.0"}))
    return spec_of(path)


def geoparquet(fields, folder):
    path = folder / "labels.parquet"
    fields.drop(index=1).to_parquet(path, row_group_size=2, compression="zstd")
    return spec_of(path)


def test_a_table_that_is_not_in_utf_8_says_how_to_save_it(tmp_path):
    path = tmp_path / "labels_doubtful.csv"
    path.write_bytes("source;feature;class\n0;1;Grünland\n".encode("cp1252"))
    with pytest.raises(InputError, match=r"Save it as CSV UTF-8, or decide in .*doubtful\.gpkg"):
        read_decisions(path)


@pytest.mark.parametrize("made", [geopackage, geojson, geoparquet])
def test_decisions_go_into_the_file_and_all_else_stays(made, fields, tmp_path):
    spec = made(fields, tmp_path)
    path = tmp_path / os.path.basename(spec.sources[0].path)
    os.chmod(path, 0o640)

    def read(layer=spec.sources[0].layer):
        return gpd.read_parquet(path) if path.suffix == ".parquet" else gpd.read_file(
            path, layer=layer
        )  # fmt: skip

    before, seen = read(), read_features(spec.sources[0], StorageSpec())
    rows = [(1, "wheat", "relabel", "maize"), (0, "wheat", "drop", ""), (2, "grass", "keep", "")]
    done = record_decisions(decide(spec, rows), spec, CLASSES, who="Ana", now=NOON)

    after = read()
    assert (done.written, done.unchanged, done.files) == (3, 0, (str(path),))
    assert_geodataframe_equal(after.drop(columns=list(COLUMNS)), before)
    assert after["decision"].tolist() == ["drop", "relabel", "keep"]
    assert after["decision_class"].tolist() == ["", "maize", ""]
    assert json.loads(after["decision_history"].iloc[1]) == [
        {"when": "2024-05-01T12:00:00+00:00", "who": "Ana", "decision": "relabel",
         "class_before": "wheat", "class_after": "maize", "doubt": 0.9}
    ]  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]
    again = read_features(spec.sources[0], StorageSpec())
    assert again.geometry.equals(seen.geometry)
    assert again["decision"].tolist() == after["decision"].tolist()


@pytest.mark.parametrize("made", [geopackage, geojson, geoparquet])
def test_the_same_decisions_again_change_not_a_byte(made, fields, tmp_path):
    spec = made(fields, tmp_path)
    path = tmp_path / os.path.basename(spec.sources[0].path)
    table = decide(spec, SOME[1:2])
    record_decisions(table, spec, CLASSES)
    held, when = path.read_bytes(), path.stat().st_mtime_ns

    done = record_decisions(table, spec, CLASSES)
    assert (done.written, done.unchanged, done.files) == (0, 1, ())
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (held, when)

    # another decision of the same feature: the history grows
    done = record_decisions(decide(spec, [(0, "wheat", "relabel", "grass")]), spec, CLASSES)
    history = json.loads(read_back(path, spec)["decision_history"][0])
    assert [entry["decision"] for entry in history] == ["drop", "relabel"]


def read_back(path, spec):
    if path.suffix == ".parquet":
        return gpd.read_parquet(path)
    return gpd.read_file(path, layer=spec.sources[0].layer)


def test_other_layers_and_tables_of_a_geopackage_stay(fields, tmp_path):
    spec = geopackage(fields, tmp_path)
    path = tmp_path / "labels.gpkg"
    roads = gpd.read_file(path, layer="roads")
    record_decisions(decide(spec, [(1, "wheat", "drop", "")]), spec, CLASSES)

    assert [name for name, _ in pyogrio.list_layers(path)] == ["fields", "roads", "notes"]
    assert_geodataframe_equal(gpd.read_file(path, layer="roads"), roads)
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT text FROM notes").fetchall() == [("mine",)]
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        # the spatial index still finds what it found
    database.close()
    assert len(pyogrio.read_dataframe(path, layer="fields", bbox=(19, 0, 21, 1))) == 1


def test_what_json_and_parquet_hold_beside_columns_stays(fields, tmp_path):
    spec = geojson(fields, tmp_path)
    record_decisions(decide(spec, [(0, "wheat", "keep", "")]), spec, CLASSES)
    whole = json.loads((tmp_path / "labels.geojson").read_text())
    assert whole["licence"] == "CC-BY-4.0"
    assert whole["features"][0]["properties"]["äcker"] == "Süd"

    spec = geoparquet(fields, tmp_path)
    before = pq.ParquetFile(tmp_path / "labels.parquet").metadata
    record_decisions(decide(spec, [(2, "grass", "keep", "")]), spec, CLASSES)
    after = pq.ParquetFile(tmp_path / "labels.parquet").metadata
    assert after.num_row_groups == before.num_row_groups == 2
    assert after.metadata[b"geo"] == before.metadata[b"geo"]
    assert after.row_group(0).column(0).compression == "ZSTD"


def test_a_link_to_a_label_file_stays_a_link(fields, tmp_path):
    real = tmp_path / "real.geojson"
    fields.to_crs("EPSG:4326").to_file(real)
    link = tmp_path / "labels.geojson"
    link.symlink_to(real)
    record_decisions(decide(spec_of(link), [(0, "wheat", "drop", "")]), spec_of(link), CLASSES)
    assert link.is_symlink()
    assert gpd.read_file(real)["decision"][0] == "drop"


def test_to_keep_what_was_relabelled_keeps_the_new_class(fields, tmp_path):
    spec = geoparquet(fields, tmp_path)
    record_decisions(decide(spec, [(0, "wheat", "relabel", "maize")]), spec, CLASSES)
    done = record_decisions(decide(spec, [(0, "maize", "keep", "")]), spec, CLASSES)
    assert done.written == 0
    assert gpd.read_parquet(tmp_path / "labels.parquet")["decision"][0] == "relabel"
    done = record_decisions(decide(spec, [(0, "maize", "relabel", "grass")]), spec, CLASSES)
    assert done.written == 1
    found = gpd.read_parquet(tmp_path / "labels.parquet")
    assert found["decision_class"][0] == "grass"
    assert json.loads(found["decision_history"][0])[1]["class_before"] == "maize"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(0, "wheat", "remove", "")], "'remove' is none of keep, drop, relabel"),
        ([(0, "wheat", "relabel", "rye")], "and has 'rye'"),
        ([(0, "wheat", "relabel", "")], "and has ''"),
        ([(0, "wheat", "relabel", "wheat")], "it is wheat already"),
        ([(0, "wheat", "drop", "maize")], "drop contradicts"),
        ([(0, "wheat", "", "maize")], "the decision '' is none of"),
        ([(0, "wheat", "drop", ""), (0, "wheat", "keep", "")], "decided twice: drop, and keep"),
        ([(9, "wheat", "drop", "")], "feature 9 is not there: it has 4 features"),
        ([("x", "wheat", "drop", "")], "'x', which is no number"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(rows, said, fields, tmp_path):
    path = tmp_path / "labels.gpkg"
    fields.to_file(path)
    held = path.read_bytes()
    good = (1, "maize", "drop", "")
    with pytest.raises(InputError, match=said):
        record_decisions(decide(spec_of(path), [good, *rows]), spec_of(path), CLASSES)
    assert path.read_bytes() == held


def test_a_file_that_was_changed_since_is_refused(fields, tmp_path):
    path = tmp_path / "labels.gpkg"
    fields.to_file(path)
    table = decide(spec_of(path), SOME)
    fields.iloc[::-1].to_file(path)
    held = path.read_bytes()
    with pytest.raises(InputError, match=r"changed since the doctor looked.*doctor again"):
        record_decisions(table, spec_of(path), CLASSES)
    assert path.read_bytes() == held


def test_a_fault_of_one_file_leaves_the_other_unwritten(fields, tmp_path):
    good, bad = tmp_path / "good.gpkg", tmp_path / "bad.shp"
    fields.to_file(good)
    fields.drop(columns="äcker").to_file(bad)
    spec = LabelsSpec.model_validate({"sources": [
        {"path": str(path), "class_column": "crop"} for path in (good, bad)
    ]})  # fmt: skip
    held = good.read_bytes()
    table = decide(spec_of(good), SOME)
    other = decide(spec_of(bad), SOME).assign(source="1")
    with pytest.raises(InputError, match="Shapefile, whose columns have names of 10 letters"):
        record_decisions([table, other], spec, CLASSES)
    assert good.read_bytes() == held


def test_what_cannot_be_written_is_refused(fields, tmp_path):
    flat = tmp_path / "labels.fgb"
    fields.to_file(flat)
    with pytest.raises(InputError, match="Save the labels as a GeoPackage"):
        record_decisions(decide(spec_of(flat), SOME), spec_of(flat), CLASSES)

    path = tmp_path / "labels.gpkg"
    fields.to_file(path)
    table = decide(spec_of(path), SOME)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE notes (text TEXT)")
        with pytest.raises(InputError, match="open in another program"):
            record_decisions(table, spec_of(path), CLASSES)

    fields.assign(decision="approved").to_file(path)
    with pytest.raises(InputError, match="a column `decision` of its own, with approved"):
        record_decisions(decide(spec_of(path), SOME), spec_of(path), CLASSES)


def test_a_read_only_file_is_refused(fields, tmp_path, monkeypatch):
    path = tmp_path / "labels.geojson"
    fields.to_crs("EPSG:4326").to_file(path)
    path.chmod(0o444)
    # who runs as root may write all the same
    may = os.access
    monkeypatch.setattr(
        os, "access", lambda at, how: may(at, how) and bool(os.stat(at).st_mode & 0o200)
    )
    with pytest.raises(InputError, match=r"is read-only\. Change its rights"):
        record_decisions(decide(spec_of(path), SOME), spec_of(path), CLASSES)


def test_decisions_of_rasters_and_background_are_left_out_and_said(fields, tmp_path):
    path = tmp_path / "labels.gpkg"
    fields.to_file(path)
    spec = LabelsSpec.model_validate({"sources": [
        {"path": str(path), "class_column": "crop"}, {"path": str(tmp_path / "classes.tif")},
    ]})  # fmt: skip
    table = decide(spec_of(path), [SOME[0], (-1, "wheat", "drop", ""), (-1, "grass", "drop", "")])
    table["source"], table["file"] = ["0", "1", "-1"], ["labels.gpkg", "classes.tif", ""]
    done = record_decisions(table, spec, CLASSES)
    assert done.written == 1
    assert [why.partition(":")[0] for why in done.left_out] == ["classes.tif", "background"]


def test_a_table_is_read_as_programs_of_tables_write_it(fields, tmp_path):
    path = tmp_path / "labels.gpkg"
    fields.to_file(path)
    table = decide(spec_of(path), [SOME[0], (1, "maize", "", "")]).assign(reason="a; b, c")
    for sep in ",;\t":
        table.to_csv(tmp_path / "filled.csv", sep=sep, index=False, encoding="utf-8-sig")
        (row,) = read_decisions(tmp_path / "filled.csv").to_dict("records")
        assert (row["feature"], row["decision"], row["reason"]) == ("2", "relabel", "a; b, c")
    gpd.GeoDataFrame(table, geometry=fields.geometry[:2], crs=fields.crs).to_file(
        tmp_path / "filled.gpkg"
    )
    (row,) = read_decisions(tmp_path / "filled.gpkg").to_dict("records")
    assert (row["feature"], row["decision_class"]) == ("2", "maize")

    table.drop(columns="decision").to_csv(tmp_path / "filled.csv", index=False)
    with pytest.raises(InputError, match="lacks the column decision"):
        read_decisions(tmp_path / "filled.csv")
    with pytest.raises(MissingError, match="Run the step `doctor`"):
        read_decisions(tmp_path / "none.csv")


def test_decisions_go_into_a_file_in_a_store(fields, tmp_path, s3, monkeypatch):
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    forget_clients()
    geopackage(fields, tmp_path)
    there = place(f"s3://{s3.bucket()}/labels.gpkg")
    there.write_bytes((tmp_path / "labels.gpkg").read_bytes())
    spec = spec_of(there, layer="fields")
    table = decide(spec, [(1, "wheat", "drop", "")])
    assert record_decisions(table, spec, CLASSES).written == 1
    held = there.read_bytes()
    assert record_decisions(table, spec, CLASSES).unchanged == 1
    assert there.read_bytes() == held
    found = read_features(spec.sources[0], StorageSpec())
    assert texts(found["decision"]).tolist() == ["", "drop", ""]
    forget_clients()
