from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from geocube_ml.errors import InputError, MissingError
from geocube_ml.evaluate.areas import estimate_areas, estimate_interpreted
from geocube_ml.evaluate.design import (
    allocate,
    class_hectares,
    count_map,
    design_sample,
    draw_points,
    sample_size,
)
from geocube_ml.evaluate.hectares import pixel_hectares
from geocube_ml.evaluate.points import is_interpreted, read_points, write_points
from geocube_ml.spec.areas import AreasSpec
from geocube_ml.spec.labels import UNKNOWN
from tests.seasons import LEFT, NAMES, TOP, make_cube

PIXEL_HA = 0.01 * 1.000554  # of the map's UTM zone, 100 km from its meridian

# odc-geo multiplies transforms in the way that affine 3 is giving up
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

COUNTS = [[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]]
HECTARES = {"deforestation": 18_000, "gain": 13_500, "stable": 288_000, "other": 580_500}


@pytest.fixture(scope="module")
def mapped():
    """A map of fields with unmapped gaps between them."""
    return make_cube((61, 83))["label"].rename("class")


@pytest.fixture(scope="module")
def design(mapped):
    return design_sample(count_map(mapped), NAMES, AreasSpec(points=60, fewest=10))


@pytest.fixture(scope="module")
def points(mapped, design):
    return draw_points(mapped, design, seed=4)


@pytest.fixture
def path(points, tmp_path):
    """As it comes back: what people saw is the map, but for every seventh point."""
    seen = points.copy()
    at = np.array([NAMES.index(name) for name in seen["stratum"]])
    at[::7] = (at[::7] + 1) % len(NAMES)
    seen["reference"] = np.array(NAMES, object)[at]
    write_points(seen, tmp_path / "points.gpkg")
    return tmp_path / "points.gpkg"


def changed(path, **columns):
    """The file with some columns as somebody left them."""
    table = gpd.read_file(path).assign(**columns)
    path.unlink()
    table.to_file(path, driver="GPKG")
    return path


# --- the estimate


def test_areas_have_the_unit_that_they_were_given_in():
    """Olofsson et al. (2014), section 5.2: 21,158 +- 6,158 ha of deforestation."""
    found = estimate_areas(COUNTS, HECTARES)
    first = found["areas"][0]
    assert (first["class"], first["mapped"], first["points"]) == ("deforestation", 18_000, 75)
    assert first["area"]["value"] == pytest.approx(21_158, abs=1)
    assert first["area"]["high"] - first["area"]["value"] == pytest.approx(6158, abs=1)
    assert found["overall"]["value"] == pytest.approx(0.947, abs=1e-3)
    assert (found["points"], found["notes"]) == (640, [])
    json.dumps(found, allow_nan=False)


def test_points_one_by_one_are_as_their_counts():
    names = list(HECTARES)
    rows = [(names[i], names[j]) for i in range(4) for j in range(4) for _ in range(COUNTS[i][j])]
    table = pd.DataFrame(rows, columns=["stratum", "reference"])
    assert estimate_areas(table, HECTARES) == estimate_areas(COUNTS, HECTARES)


def test_strata_need_not_be_the_classes_of_the_map():
    table = pd.DataFrame(
        {"stratum": ["edge"] * 4 + ["core"] * 4, "mapped": list("aabbaaaa"),
         "reference": list("ababaaab")}
    )  # fmt: skip
    found = estimate_areas(table, {"edge": 100, "core": 300}, classes=["a", "b"])
    a, b = found["areas"]
    assert a["area"]["value"] == pytest.approx(100 * 2 / 4 + 300 * 3 / 4)
    assert a["area"]["value"] + b["area"]["value"] == pytest.approx(400)
    assert a["mapped"] is None
    assert found["overall"]["value"] == pytest.approx((100 * 0.5 + 300 * 0.75) / 400)


def test_few_points_of_a_class_are_noted_and_one_has_no_interval():
    found = estimate_areas([[1, 0], [3, 40]], {"a": 10, "b": 100})
    (note,) = found["notes"]
    assert note.startswith("one point of a only: no standard error can be told, but of the user's")
    assert found["areas"][1]["users"]["low"] > 0.8
    assert found["areas"][0]["area"]["low"] is None
    assert found["areas"][0]["users"] == {"value": 1, "error": None, "low": None, "high": None}
    json.dumps(found, allow_nan=False)
    (note,) = estimate_areas([[4, 1], [3, 40]], {"a": 10, "b": 100})["notes"]
    assert note.startswith("only 5 points of a (fewer than 30)")


def test_a_stratum_whose_points_all_agree_is_noted():
    found = estimate_areas([[100, 0], [3, 97]], {"a": 10, "b": 100})
    assert found["areas"][0]["users"] == {"value": 1, "error": 0, "low": 1, "high": 1}
    (note,) = found["notes"]
    assert note.startswith("all 100 points of a agree: an error of 0 says that nothing else was")


def test_no_interval_of_an_area_leaves_the_map():
    found = estimate_areas([[9, 1], [4, 1]], {"a": 100, "b": 10})
    a, b = (one["area"] for one in found["areas"])
    assert (a["high"], b["low"]) == (110, 0)
    assert a["value"] < 110


@pytest.mark.parametrize(
    ("sample", "area", "said"),
    [
        ([[1, 2]], {"a": 1, "b": 2}, "must be 2 x 2, .*; got shape"),
        ([[1, 0], [0, 0]], {"a": 1, "b": 2}, "No point of b was looked at"),
        ([[1, 0], [0, 1]], {"a": -1, "b": 2}, "areas are numbers from 0 on"),
        (pd.DataFrame({"stratum": ["a"], "reference": ["c"]}), {"a": 1, "b": 2},
         "`reference` of the points says c; it must be one of a, b"),
        (pd.DataFrame({"stratum": ["a"]}), {"a": 1}, "lack the column 'reference'"),
    ],
)  # fmt: skip
def test_what_is_no_sample_is_refused(sample, area, said):
    with pytest.raises(InputError, match=said):
        estimate_areas(sample, area)


# --- the design


def test_the_sample_size_is_that_of_the_paper_and_gives_the_error():
    """Olofsson et al. (2014), section 5.1: 641 points for a standard error of 0.01."""
    pixels = np.array([200_000, 150_000, 3_200_000, 6_450_000])
    expected = np.array([0.7, 0.6, 0.9, 0.95])
    assert sample_size(pixels, expected, 0.01) == 641
    names = ("a", "b", "c", "d")
    spec = AreasSpec(
        target_error=0.01, allocation="proportional",
        expected=dict(zip(names, expected, strict=True)),
    )  # fmt: skip
    design = design_sample(pixels, names, spec)
    assert design.points.sum() == pytest.approx(641, abs=2)
    assert design.points.tolist() == [13, 10, 205, 413]
    assert design.error == pytest.approx(0.01, abs=5e-4)


def test_points_are_shared_as_they_are_asked_for():
    pixels = np.array([100, 900, 0, 9000])
    assert allocate(pixels, 100, "proportional").tolist() == [2, 9, 0, 90]
    assert allocate(pixels, 99, "equal").tolist() == [33, 33, 0, 33]
    assert allocate(pixels, 100, "rare", fewest=20).tolist() == [20, 20, 0, 60]
    assert allocate(pixels, 12, "rare", fewest=20).tolist() == [4, 4, 0, 4]
    assert allocate(np.array([1, 5, 0, 9000]), 90, "equal").tolist() == [1, 5, 0, 30]
    assert allocate(np.zeros(2, int), 90).tolist() == [0, 0]


def test_a_design_of_nothing_or_of_other_classes_is_refused():
    with pytest.raises(InputError, match="no pixel of any class"):
        design_sample(np.zeros(2, int), ("a", "b"))
    with pytest.raises(InputError, match=r"`areas\.expected` names c, but the classes are a, b"):
        design_sample(np.array([3, 4]), ("a", "b"), AreasSpec(expected={"c": 0.5}))


# --- the draw


def test_points_are_different_pixels_of_their_class(mapped, design, points):
    col = ((points["x"] - LEFT) / 10 - 0.5).to_numpy()
    row = ((TOP - points["y"]) / 10 - 0.5).to_numpy()
    np.testing.assert_allclose(col, np.rint(col), atol=1e-6)  # the middles of pixels
    row, col = np.rint(row).astype(int), np.rint(col).astype(int)
    codes = mapped.values[row, col]
    assert [NAMES[code] for code in codes] == points["stratum"].tolist()
    assert len(set(zip(row, col, strict=True))) == len(points)
    np.testing.assert_array_equal(np.bincount(codes, minlength=4), design.points)
    assert points["stratum"].tolist() != sorted(points["stratum"])  # in no order of classes
    assert (points.geometry.x == points["x"]).all()
    lonlat = points.to_crs("EPSG:4326").geometry
    np.testing.assert_allclose(lonlat.y, points["lat"], atol=1e-6)


def test_points_stand_for_the_mapped_area(mapped, points):
    assert points["weight"].sum() == pytest.approx(
        PIXEL_HA * (mapped.values != UNKNOWN).sum(), rel=1e-5
    )
    by_class = points.groupby("stratum")["weight"].sum()
    for code, name in enumerate(NAMES):
        assert by_class[name] == pytest.approx(PIXEL_HA * (mapped.values == code).sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("crs", "x", "y", "pixel", "hectares"),
    [
        ("EPSG:3857", 1e6, 6.6e6, 1000, 39.864385),  # what GeographicLib says of its outline
        ("EPSG:3857", 20_037_508.3, 6.6e6, 1000, 39.864385),  # across the 180th meridian
        ("EPSG:3035", 5e6, 4e6, 1000, 100),  # which keeps areas
        ("EPSG:32633", 399_970, 5_000_370, 1000, 100.055417),
        ("EPSG:4326", 10, 50.8, 0.01, 78.426259),
    ],
)
def test_a_pixel_is_as_large_as_on_the_ellipsoid(crs, x, y, pixel, hectares):
    found = pixel_hectares(np.array([x]), np.array([y]), (pixel, -pixel), crs)
    assert found.shape == (1, 1)
    assert found[0, 0] == pytest.approx(hectares, rel=1e-7)


def test_hectares_of_a_class_are_the_sum_of_its_pixels(mapped, monkeypatch):
    """In a projection in which the northern ones are the smaller, whatever is read at a time."""
    rows, cols = mapped.shape
    box = GeoBox.from_bbox((0, 6e6, 1e4 * cols, 6e6 + 1e4 * rows), "EPSG:3857", resolution=1e4)
    wide = xr.DataArray(mapped.values, xr_coords(box), ("y", "x"), attrs=mapped.attrs)
    each = pixel_hectares(wide["x"].values, wide["y"].values, (1e4, -1e4), "EPSG:3857")
    assert each[0, 0] < 0.9 * each[-1, 0]
    found = class_hectares(wide)
    for code, name in enumerate(NAMES):
        assert found[name] == pytest.approx(each[wide.values == code].sum())
    monkeypatch.setattr("geocube_ml.evaluate.design._CELLS", 20)  # cells of 5 x 5 pixels
    coarse = class_hectares(wide)
    assert coarse == class_hectares(wide.chunk(y=7, x=20))
    for name in NAMES:
        assert coarse[name] == pytest.approx(found[name], rel=5e-3)
        assert coarse[name] != found[name]


@pytest.mark.parametrize("chunk", [7, 16, 61])
def test_the_draw_does_not_depend_on_the_chunks(mapped, design, points, chunk):
    again = draw_points(mapped.chunk(y=chunk, x=20), design, seed=4)
    pd.testing.assert_frame_equal(pd.DataFrame(again), pd.DataFrame(points))


def test_every_pixel_of_a_class_is_drawn_as_often_as_another(mapped, design):
    drawn = pd.concat([draw_points(mapped, design, seed=seed) for seed in range(60)])
    own = drawn[drawn["stratum"] == NAMES[0]]
    n = int((mapped.values == 0).sum())
    expected = len(own) / n
    times = own.groupby(["x", "y"]).size().to_numpy()
    squares = ((times - expected) ** 2).sum() + (n - len(times)) * expected**2
    assert squares / expected / n == pytest.approx(1, abs=0.25)  # chi-squared a degree of freedom
    assert own["y"].max() > TOP - 60
    assert own["y"].min() < TOP - 10 * 55


# --- the file


def test_points_come_back_as_people_left_them(path):
    read = read_points(path, NAMES)
    assert (len(read.stratum), read.open, read.gone) == (len(read.reference), 0, {})
    found = estimate_interpreted(read, NAMES)
    total = sum(one["mapped"] for one in found["areas"])
    assert sum(one["area"]["value"] for one in found["areas"]) == pytest.approx(total, abs=3e-4)
    assert found["unit"] == "ha"
    json.dumps(found, allow_nan=False)


def test_points_that_are_not_looked_at_yet_are_counted_and_left_out(path):
    table = gpd.read_file(path)
    some = table["reference"].where(table.index % 3 > 0, None)
    read = read_points(changed(path, reference=some), NAMES)
    assert read.open == int(some.isna().sum())
    found = estimate_interpreted(read, NAMES)
    assert found["points"] == len(table) - read.open
    assert f"{read.open} points are not looked at yet and are left out" in found["notes"]


def test_points_that_are_gone_are_counted(path):
    table = gpd.read_file(path)
    name = table["stratum"][0]
    table.drop(index=0).to_file(path, driver="GPKG")
    read = read_points(path, NAMES)
    assert read.gone == {name: 1}
    assert any(f"1 points of {name} that were drawn" in note
               for note in estimate_interpreted(read, NAMES)["notes"])  # fmt: skip


def test_a_point_that_was_added_or_copied_is_refused(path):
    table = gpd.read_file(path)
    name = table["stratum"][0]
    copied = pd.concat([table, table.iloc[[0, 0, 0]]], ignore_index=True)
    copied.to_file(path, driver="GPKG")
    n = len(table)
    said = f"number again, in row {n + 1}, {n + 2}, {n + 3}; {name} has 3 more than were drawn"
    with pytest.raises(InputError, match=said):
        read_points(path, NAMES)
    added = table.astype({"point": float})
    added.loc[0, "point"] = np.nan  # in the place of one that was removed
    added.to_file(path, driver="GPKG")
    with pytest.raises(InputError, match=r"`point` says nothing, or a number again, in row 1\."):
        read_points(path, NAMES)


def test_points_of_another_map_are_refused(path, mapped):
    hectares = class_hectares(mapped)
    assert read_points(path, NAMES, hectares) == read_points(path, NAMES)
    one, two = NAMES[:2]
    other = hectares | {one: hectares[one] - 0.01, two: hectares[two] + 0.01}
    with pytest.raises(InputError, match=rf"drawn from another map: {one} has .* ha there"):
        read_points(path, NAMES, other)


def test_a_file_without_a_point_is_refused(path):
    gpd.read_file(path).iloc[:0].to_file(path, driver="GPKG")
    with pytest.raises(InputError, match="has no points any more"):
        read_points(path, NAMES)


def test_a_class_that_is_none_is_named_with_its_row_and_the_nearest(path):
    table = gpd.read_file(path)
    wrong = table["reference"].copy()
    wrong[[2, 5]] = "maise"
    with pytest.raises(InputError, match=r"'maise' in row 3, 6 \(did you mean 'maize'\?\)"):
        read_points(changed(path, reference=wrong), NAMES)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("stratum", "water", "`stratum` says 'water'"),
        ("stratum", "", "`stratum` says nothing in row 1"),
        ("stratum_ha", None, "several numbers in `stratum_ha`"),
        ("reference", "", "no point of .* says its `reference` yet"),
    ],
)
def test_a_file_that_was_changed_elsewhere_is_refused(path, column, value, said):
    table = gpd.read_file(path)
    values = np.arange(len(table)) * 1.0 if value is None else value
    with pytest.raises(InputError, match=said):
        read_points(changed(path, **{column: values}), NAMES)


def test_a_file_without_a_class_or_column_or_at_all_is_refused(path):
    table = gpd.read_file(path)
    table[table["stratum"] != NAMES[1]].to_file(path, driver="GPKG")
    with pytest.raises(InputError, match="all points of a class are gone"):
        read_points(path, NAMES)
    table.drop(columns="reference").to_file(path, driver="GPKG")
    with pytest.raises(InputError, match="lacks the columns reference"):
        read_points(path, NAMES)
    path.write_bytes(b"no file of points")
    with pytest.raises(InputError, match="cannot be read as a file of points"):
        read_points(path, NAMES)
    assert is_interpreted(path)  # still a person's
    path.unlink()
    with pytest.raises(MissingError, match="step `sample-map`"):
        read_points(path, NAMES)


@pytest.mark.parametrize("column", ["reference", "certainty", "remark"])
def test_a_fresh_file_is_nobodys_and_one_word_makes_it_somebodys(points, tmp_path, column):
    path = tmp_path / "points.gpkg"
    write_points(points, path)
    assert not is_interpreted(path)
    one = np.array([""] * len(points), object)
    one[3] = NAMES[0]
    assert is_interpreted(changed(path, **{column: one}))
