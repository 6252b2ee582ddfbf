from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr
from upath import UPath

from geocube_ml.data import table
from geocube_ml.data.samples import gather_samples
from geocube_ml.data.table import read_samples, write_samples
from geocube_ml.errors import InputError, MissingError
from geocube_ml.spec.samples import SamplesSpec
from tests.data.tables import table_of
from tests.seasons import add_radar, add_terrain, make_cube, make_still


@pytest.fixture(scope="module")
def samples():
    """Of every kind: three sources, text, numbers and days that some samples lack."""
    cube = add_terrain(add_radar(make_cube(background=3)))
    n = len(table_of(cube))
    labels = table_of(
        cube, weight=np.linspace(0.5, 2, n).astype("float32"), year=np.arange(n) % 2 + 2020,
        region=["Île-de-France", "Mähren"] * (n // 2) + ["Mähren"],
        split=np.array(["train", "test", "validation"])[np.arange(n) % 3],
        seen=pd.date_range("2023-01-01", periods=n).astype("datetime64[ns]"),
    )  # fmt: skip
    spec = SamplesSpec(
        block_m=100, group_column="region", split_column="split", per_polygon=3, per_class=200
    )
    return gather_samples(cube, spec, labels, provenance={"cube": "0" * 16})


def assert_same(got, want):
    xr.testing.assert_identical(got, want)
    for name in want.variables:
        assert got[name].dtype == want[name].dtype, name
    assert not any(one.chunks for one in got.variables.values())


@pytest.mark.parametrize("name", ["samples.parquet", "samples.zarr"])
def test_a_table_comes_back_as_it_was(samples, name, tmp_path, monkeypatch):
    monkeypatch.setattr(table, "ROWS", 100)  # several row groups, and a last one that is not full
    write_samples(samples, tmp_path / name)
    again = read_samples(str(tmp_path / name))
    assert_same(again, samples)
    write_samples(again, tmp_path / name)
    assert_same(read_samples(tmp_path / name), samples)


@pytest.mark.parametrize("ending", ["parquet", "zarr"])
def test_objects_and_cubes_without_time_come_back_too(ending, tmp_path):
    still, cube = make_still(bands=12), make_cube((20, 33), months=1, dtype="int16")
    objects = SamplesSpec(unit="polygon", block_m=50, n_fold=2)
    for number, one in enumerate(
        (
            gather_samples(still, objects, table_of(still)),
            gather_samples(cube, objects, table_of(cube)),
        )
    ):
        write_samples(one, tmp_path / f"{number}.{ending}")
        assert_same(read_samples(tmp_path / f"{number}.{ending}"), one)


def test_a_geoparquet_lies_in_a_store_as_on_a_disk(samples):
    where = UPath("memory://tables/samples.parquet")
    write_samples(samples, where)
    assert_same(read_samples(where), samples)


def test_others_read_a_geoparquet(samples, tmp_path):
    write_samples(samples, tmp_path / "a.parquet")
    frame = gpd.read_parquet(tmp_path / "a.parquet")
    assert frame.crs.to_epsg() == 32633
    np.testing.assert_array_equal(frame.geometry.x, samples["x"])
    np.testing.assert_array_equal(np.stack(frame["s2_b1"]), samples["s2"].values[:, :, 1])
    np.testing.assert_array_equal(frame["dem_slope"], samples["dem"].values[:, 1])
    names = samples["label"].attrs["class_names"]
    assert frame["class"].tolist() == [names[code] for code in samples["label"].values]
    assert frame["region"].tolist() == samples["region"].values.tolist()
    kind = pq.read_schema(tmp_path / "a.parquet").field("s2_b1").type
    assert str(kind) == "fixed_size_list<element: uint16>[6]"


def test_what_is_no_table_is_refused_with_what_it_is(samples, tmp_path):
    write_samples(samples, tmp_path / "a.parquet")
    frame = gpd.read_parquet(tmp_path / "a.parquet")
    frame.to_parquet(tmp_path / "theirs.parquet")
    with pytest.raises(InputError, match=r"geometry, class, .*lack the key `geocube_ml`"):
        read_samples(tmp_path / "theirs.parquet")
    (tmp_path / "empty.parquet").touch()
    with pytest.raises(InputError, match=r"\(0 bytes\) cannot be read as Parquet"):
        read_samples(tmp_path / "empty.parquet")
    half = (tmp_path / "a.parquet").read_bytes()[:5000]
    (tmp_path / "half.parquet").write_bytes(half)
    with pytest.raises(InputError, match=r"\(5000 bytes\) cannot be read as Parquet"):
        read_samples(tmp_path / "half.parquet")
    for name in ("no.parquet", "no.zarr"):
        with pytest.raises(MissingError, match=r"There are no samples at .*Run the step `samples`"):
            read_samples(tmp_path / name)
    made = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(made.drop_columns(["s2_b1", "weight"]), tmp_path / "less.parquet")
    with pytest.raises(InputError, match=r"lacks the columns s2_b1, weight of the sample table"):
        read_samples(tmp_path / "less.parquet")


def test_what_is_no_zarr_table_is_refused(samples, tmp_path):
    (tmp_path / "nothing.zarr").mkdir()
    (tmp_path / "nothing.zarr" / "zarr.json").touch()
    with pytest.raises(InputError, match=r"cannot be read as a sample table"):
        read_samples(tmp_path / "nothing.zarr")
    cube = make_cube().drop_vars("polygon")
    cube.to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(InputError, match=r"is no sample table: it has (label|s2), "):
        read_samples(tmp_path / "cube.zarr")


def test_an_empty_table_comes_back_empty(samples, tmp_path):
    none = samples.isel(sample=slice(0, 0))
    write_samples(none, tmp_path / "a.parquet")
    assert_same(read_samples(tmp_path / "a.parquet"), none)
    numbers = none.drop_vars(["region", "split"])  # Zarr keeps no type of text that is not there
    write_samples(numbers, tmp_path / "a.zarr")
    assert_same(read_samples(tmp_path / "a.zarr"), numbers)


def test_columns_of_one_name_are_refused(samples, tmp_path):
    twice = samples.assign(s2_b1=samples["x"])
    with pytest.raises(InputError, match=r"the columns s2_b1 twice"):
        write_samples(twice, tmp_path / "a.parquet")
    assert not (tmp_path / "a.parquet").exists()
