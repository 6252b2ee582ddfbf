"""Every composite, mask and derived band against its definition in plain numpy."""

import dataclasses
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from scipy import optimize

from geocube_ml.cube.lazy import lazy_cube
from geocube_ml.cube.mosaic import make_mosaic
from geocube_ml.errors import GridMismatch
from geocube_ml.grid import Grid
from geocube_ml.items.catalog import find_items
from geocube_ml.spec.composite import CompositeSpec
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.spec.source import ItemsSpec, SourceSpec

QUARTER = PeriodSpec(start="2022-01", end="2022-03")
ALL = (slice(0, 64), slice(0, 96))
METHODS = ["median", "mean", "medoid", "geomedian", {"method": "best", "cloud_distance": 5}]


def spec(composite):
    return TypeAdapter(CompositeSpec).validate_python(composite)


def made(tiny, composite, *, period=QUARTER, grid=None, **sensor):
    source = tiny.source(**sensor)
    return make_mosaic(
        find_items(source, period), source, grid or tiny.grid, period, composite=spec(composite)
    )


def observations(mosaic, step):
    """(day, band, y, x) of each day alone, NaN where it does not count; and their days."""
    scenes = mosaic.scenes[step.name]
    planes, masks = [], []
    for scene in scenes:
        alone = dataclasses.replace(
            mosaic, scenes={step.name: (scene,)}, steps=(step,), composite=spec("median")
        )
        values, count = alone.read([0], range(2), *ALL)
        planes.append(np.where(values[0] > 0, values[0].astype(float), np.nan))
        masks.append(count[0] > 0)
    return np.stack(planes), np.stack(masks), [date.fromisoformat(s.day) for s in scenes]


@pytest.fixture(scope="module")
def january(tiny):
    mosaic = made(tiny, "median")
    step = mosaic.steps[0]
    return step, *observations(mosaic, step)


def together(planes):
    """Observations of which all bands are there."""
    return np.where(np.isnan(planes).any(axis=1, keepdims=True), np.nan, planes)


def each_pixel(planes, pick):
    """`pick` of the (n, band) observations of each pixel; 0 where there is none."""
    out = np.zeros(planes.shape[1:])
    for y, x in np.ndindex(*planes.shape[2:]):
        seen = ~np.isnan(planes[:, :, y, x]).any(axis=1)
        if seen.any():
            out[:, y, x] = pick(planes[seen, :, y, x], np.flatnonzero(seen), y, x)
    return out


def test_a_mean_is_numpys(tiny, january):
    _, planes, _, _ = january
    values, _ = made(tiny, "mean").read([0], range(2), *ALL)
    lit = ~np.isnan(planes).all(axis=0)
    want = np.zeros(lit.shape)
    want[lit] = np.rint(np.nanmean(planes[:, lit], axis=0))
    np.testing.assert_array_equal(values[0], want)


def test_a_medoid_is_the_observation_nearest_to_the_others(tiny, january):
    _, planes, _, _ = january

    def pick(seen, *_):
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=2).sum(axis=1)
        return seen[np.argmin(apart)]

    values, _ = made(tiny, "medoid").read([0], range(2), *ALL)
    np.testing.assert_array_equal(values[0], each_pixel(together(planes), pick))


def test_a_geometric_median_has_the_smallest_sum_of_distances(tiny, january):
    _, planes, _, _ = january
    values, _ = made(tiny, "geomedian", scale=0.0001).read([0], range(2), *ALL)

    def total(place, seen):
        return np.linalg.norm(seen - place, axis=1).sum()

    def pick(seen, *_):
        starts = [seen.mean(axis=0), *seen]
        found = [optimize.minimize(total, s, args=(seen,), method="Nelder-Mead").x for s in starts]
        return min([*found, *seen], key=lambda place: total(place, seen))

    some = (slice(None), slice(None), slice(0, 40, 7), slice(0, 96, 9))
    wide = together(planes)[some]
    want, got = each_pixel(wide, pick), values[0][some[1:]]
    assert ((want > 0) == (got > 0)).all()
    seen_twice = (~np.isnan(wide[:, 0])).sum(axis=0) == 2  # any place between the two is right
    for y, x in zip(*np.nonzero(want[0]), strict=True):
        seen = wide[~np.isnan(wide[:, 0, y, x]), :, y, x]
        assert total(got[:, y, x], seen) <= total(want[:, y, x], seen) + len(seen) * 1.5
        if not seen_twice[y, x]:
            np.testing.assert_allclose(got[:, y, x], want[:, y, x], atol=3)


def test_the_best_pixel_is_far_from_clouds_and_near_the_middle(tiny, january):
    step, planes, masks, days = january
    best = {"method": "best", "cloud": 2, "cloud_distance": 5, "middle": 1.5, "middle_days": 6}
    mosaic = made(tiny, {**best, "coverage": 0.25})
    length = (step.stop - step.start).days
    rows, cols = np.indices(masks.shape[1:])
    scores = []
    for k, (mask, scene) in enumerate(zip(masks, mosaic.scenes[step.name], strict=True)):
        # what was seen and is not clear, also 8 columns beyond the grid's edges
        seen, clear = np.zeros((2, 44, 112), bool)
        for _, day, _, column, _, _, scl in tiny.seen:
            if day == scene.day:
                wide = scl.repeat(2, 0).repeat(2, 1)
                seen[:, column + 8 : column + 72] |= wide > 0
                clear[:, column + 8 : column + 72] |= np.isin(wide, (4, 5))
        cloud_y, cloud_x = np.nonzero(seen & ~clear)
        apart = np.hypot(rows[..., None] - cloud_y, cols[..., None] + 8 - cloud_x).min(axis=-1)
        np.testing.assert_array_equal(clear[:, 8:-8], mask[:44])
        offset = (days[k] - step.start).days + 0.5 - length / 2
        scores.append(
            2 * np.minimum(apart, 5) / 5 + 1.5 * np.exp(-0.5 * (offset / 6) ** 2) + 0.25 * 0.5
        )
    scores = np.stack(scores).astype("float32")

    def pick(seen, at, y, x):
        return seen[np.argmax(scores[at, y, x])]

    values, _ = mosaic.read([0], range(2), *ALL)
    np.testing.assert_array_equal(values[0], each_pixel(together(planes), pick))


@pytest.mark.parametrize("method", METHODS, ids=str)
@settings(max_examples=8)
@given(data=st.data())
def test_any_window_is_cut_from_the_whole_whatever_the_composite(tiny, method, data):
    grown = {"asset": "SCL", "clear": (4, 5), "nodata": 0, "shrink": 1, "grow": 3}
    mosaic = made(tiny, method, mask=grown)
    values, count = mosaic.read([0, 2], [1, 0], *ALL)
    assert count.any()
    y, x = (slice(*sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2,
            unique=True)))) for n in (64, 96))  # fmt: skip
    part, n = mosaic.within(y, x).read([0, 2], [1, 0], y, x)
    np.testing.assert_array_equal(part, values[..., y, x])
    np.testing.assert_array_equal(n, count[..., y, x])


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_lazy_is_eager_whatever_the_composite(tiny, method):
    mosaic = made(tiny, method)
    values, count = mosaic.read(range(3), range(2), *ALL)
    cube = lazy_cube({"s2": mosaic})
    np.testing.assert_array_equal(cube["s2"].compute(scheduler="sync"), values)
    one = mosaic.read([0], [1], *ALL)[0]  # all bands decide which observation it is
    np.testing.assert_array_equal(one[:, 0], values[:1, 1])
    np.testing.assert_array_equal(cube["s2_clear"].compute(scheduler="sync"), count)


# -- masks ----------------------------------------------------------------------------------


def disk(unclear, radius, *, grow):
    rows, cols = np.indices(unclear.shape)
    y, x = np.nonzero(unclear if grow else ~unclear)
    if not len(y):
        return unclear
    apart = np.hypot(rows[..., None] - y, cols[..., None] - x).min(axis=-1)
    return apart <= radius if grow else apart > radius


@pytest.mark.parametrize(("shrink", "grow"), [(0, 2), (1, 0), (1, 3)])
def test_what_is_not_clear_is_shrunk_and_then_grown(tiny, shrink, grow):
    mask = {"asset": "SCL", "clear": (4, 5), "nodata": 0, "shrink": shrink, "grow": grow}
    mosaic = made(tiny, "median", mask=mask)
    scenes = mosaic.scenes["2022-01"]
    day = next(scene for scene in scenes if scene.day == "2022-01-15")
    alone = dataclasses.replace(mosaic, scenes={"2022-01": (day,)})
    _, count = alone.read([0], (), *ALL)
    scl = next(seen[-1] for seen in tiny.seen if seen[0] == "W0115").repeat(2, 0).repeat(2, 1)
    # beyond the grid the scene goes on 8 columns to the west; 8 rows above it nothing was seen
    whole = np.zeros((72, 104), "uint8")
    whole[8:52, :64] = scl
    unclear = (whole > 0) & ~np.isin(whole, (4, 5))
    if shrink:
        unclear = disk(unclear, shrink, grow=False)
    if grow:
        unclear = disk(unclear, grow, grow=True)
    np.testing.assert_array_equal(count[0] > 0, ((whole > 0) & ~unclear)[8:, 8:])


def one_item(tmp_path, write_item, assets, bands, mask, **sensor):
    write_item(tmp_path / "one", "A", "2022-01-05T10:00:00Z", 500_000, 5_000_000, assets)
    fields = {"bands": bands, "mask": mask, "dtype": "uint16", "nodata": 0} | sensor
    return SourceSpec(
        sensor=SensorSpec(**fields), items=ItemsSpec(catalog=str(tmp_path / "one" / "items"))
    )


def test_bits_of_a_quality_band(tmp_path, tiny, write_item):
    """Landsat's QA_PIXEL: fill, dilated cloud, cirrus, cloud, shadow; confidence of cloud."""
    clear, high = 1 << 6, 3 << 8
    quality = np.uint16([[clear, clear | 1 << 3], [1, clear | high], [clear | 1 << 7, 1 << 4]])
    band = np.full((3, 2), 700, "uint16")
    mask = {
        "asset": "qa", "bits": [0, 1, 2, 3, 4], "nodata": 1,
        "fields": [{"first": 8, "width": 2, "clear": [0, 1]}],
    }  # fmt: skip
    source = one_item(
        tmp_path, write_item, {"red": (band, 10, 0), "qa": (quality, 10, 1)}, {"red": "red"}, mask
    )
    mosaic = make_mosaic(find_items(source, QUARTER), source, tiny.grid, QUARTER)
    values, count = mosaic.read([0], [0], slice(0, 3), slice(0, 2))
    assert count[0].tolist() == [[1, 0], [0, 0], [1, 0]]
    assert values[0, 0].tolist() == [[700, 0], [0, 0], [700, 0]]


def test_a_probability_with_a_threshold_beside_a_scene_classification(tmp_path, tiny, write_item):
    probability = np.uint8([[0, 40, 41], [100, 0, 0]])
    scl = np.uint8([[4, 4, 4], [4, 9, 0]])
    band = np.full((2, 3), 700, "uint16")
    mask = [
        {"asset": "cld", "at_most": 40, "nodata": None},
        {"asset": "scl", "clear": [4]},
    ]
    source = one_item(
        tmp_path, write_item,
        {"red": (band, 10, 0), "cld": (probability, 10, None), "scl": (scl, 10, 0)},
        {"red": "red"}, mask,
    )  # fmt: skip
    mosaic = make_mosaic(find_items(source, QUARTER), source, tiny.grid, QUARTER)
    _, count = mosaic.read([0], [0], slice(0, 3), slice(0, 4))
    # beyond the raster there is no probability: not clear
    assert count[0].tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


# -- radar ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("power", "stored_as", "want"),
    [
        ("linear", None, 0.055),
        ("linear", "decibel", 10 * np.log10(0.055)),
        ("decibel", None, 10 * np.log10(0.055)),  # not the mean of -10 and -20
        ("decibel", "linear", 0.055),
    ],
)
def test_radar_is_averaged_in_linear_power(tmp_path, tiny, write_item, power, stored_as, want):
    for day, value in (("05", 0.1), ("17", 0.01)):
        told = 10 * np.log10(value) if power == "decibel" else value
        plane = np.full((4, 4), told, "float32")
        plane[0, 0] = -32768
        write_item(
            tmp_path, f"S{day}", f"2022-01-{day}T10:00:00Z", 500_000, 5_000_000,
            {"vv": (plane, 10, -32768)},
        )  # fmt: skip
    sensor = SensorSpec(
        bands={"vv": {"asset": "vv", "resampling": "nearest", "coarsening": "nearest"}},
        dtype="float32",
        nodata=-32768,
        power=power,
        stored_as=stored_as,
    )
    source = SourceSpec(sensor=sensor, items=ItemsSpec(catalog=str(tmp_path / "items")))
    mosaic = make_mosaic(
        find_items(source, QUARTER), source, tiny.grid, QUARTER, composite=spec("mean")
    )
    values, count = mosaic.read([0], [0], slice(0, 4), slice(0, 4))
    assert values[0, 0, 0, 0] == -32768
    np.testing.assert_allclose(values[0, 0, 1:], want, rtol=1e-5)
    assert count[0].tolist()[0] == [0, 2, 2, 2]


# -- steps other than months ----------------------------------------------------------------


def test_dekads_and_days_hold_the_days_that_they_say(tiny):
    for period, want in (
        (PeriodSpec(start="2022-01", end="2022-01", step="dekad"),
         {"2022-01-01": ["2022-01-05"], "2022-01-11": ["2022-01-15"],
          "2022-01-21": ["2022-01-25"]}),
        (PeriodSpec(start="2022-01-05", end="2022-03-10", step="10 days"),
         {"2022-01-05": ["2022-01-05"], "2022-01-15": ["2022-01-15"],
          "2022-01-25": ["2022-01-25"], "2022-03-06": ["2022-03-10"]}),
        (PeriodSpec(start="2022-01", end="2022-03", step="quarter"),
         {"2022-01-01": ["2022-01-05", "2022-01-15", "2022-01-25", "2022-03-10"]}),
    ):  # fmt: skip
        mosaic = made(tiny, "median", period=period)
        assert {k: [s.day for s in scenes] for k, scenes in mosaic.scenes.items()} == want
        cube = lazy_cube({"s2": mosaic})
        starts = [step.start.isoformat() for step in period.steps]
        assert [str(t)[:10] for t in cube["time"].values] == starts
        stops = [step.stop.isoformat() for step in period.steps]
        assert [str(t)[:10] for t in cube["time_bnds"].values[:, 1]] == stops


# -- layers without a time axis -------------------------------------------------------------


@pytest.fixture
def dem(tmp_path, write_item):
    """Two tiles that meet in column 30, of a surface of which all is known."""
    rows, cols = np.indices((64, 96))
    surface = (300 + 2 * cols + 30 * np.sin(rows / 9) * np.cos(cols / 7)).astype("float32")
    surface[50:52, 60:64] = -9999
    for name, first, last in (("W", 0, 30), ("E", 30, 96)):
        write_item(
            tmp_path / "dem", name, "2021-04-22T00:00:00Z", 500_000 + 10 * first, 5_000_000,
            {"data": (surface[:, first:last], 10, -9999)},
        )  # fmt: skip
    bands = {"elevation": "data"} | {
        kind: {"asset": "data", "derive": kind}
        for kind in ("slope", "aspect", "northness", "eastness")
    }
    sensor = SensorSpec(bands=bands, static=True, dtype="float32", nodata=-9999)
    source = SourceSpec(sensor=sensor, items=ItemsSpec(catalog=str(tmp_path / "dem" / "items")))
    return source, surface


def horn(surface, y, x):
    """Gradient towards the east and the south, metres a metre."""
    z = [[surface[y + j, x + i] for i in (-1, 0, 1)] for j in (-1, 0, 1)]
    z = np.where(np.array(z) == -9999, surface[y, x], z)
    weights = np.array([1, 2, 1])
    return weights @ (z[:, 2] - z[:, 0]) / 80, weights @ (z[2] - z[0]) / 80


def test_a_layer_has_no_time_axis_and_slopes_have_no_seam(dem, tiny):
    source, surface = dem
    mosaic = make_mosaic(find_items(source, None), source, tiny.grid, None)
    assert not mosaic.counted
    values, _ = mosaic.read([0], range(5), *ALL)
    np.testing.assert_array_equal(values[0, 0], surface)
    for y, x in [(5, 29), (5, 30), (20, 31), (40, 70), (49, 61), (33, 2)]:
        east, south = horn(surface, y, x)
        slope = np.degrees(np.arctan(np.hypot(east, south)))
        aspect = np.degrees(np.arctan2(-east, south)) % 360  # downhill, clockwise from north
        np.testing.assert_allclose(values[0, 1, y, x], slope, rtol=1e-4)
        np.testing.assert_allclose(values[0, 2, y, x], aspect, rtol=1e-4)
        lean = np.sin(np.radians(slope))
        np.testing.assert_allclose(
            values[0, 3:, y, x],
            [lean * np.cos(np.radians(aspect)), lean * np.sin(np.radians(aspect))], atol=1e-5,
        )  # fmt: skip
    assert (values[0, :, 50, 61] == -9999).all()
    part, _ = mosaic.within(slice(10, 20), slice(25, 40)).read(
        [0], [1, 0], slice(10, 20), slice(25, 40)
    )
    np.testing.assert_array_equal(part[0], values[0, [1, 0], 10:20, 25:40])

    cube = lazy_cube({"dem": mosaic})
    assert cube["dem"].dims == ("dem_band", "y", "x")
    assert list(cube.data_vars) == ["dem"]
    assert "time" not in cube.coords
    np.testing.assert_array_equal(cube["dem"].compute(scheduler="sync"), values[0])


def test_series_and_layers_are_one_cube(dem, tiny):
    source, surface = dem
    layer = make_mosaic(find_items(source, None), source, tiny.grid, None)
    series = made(tiny, "median")
    cube = lazy_cube({"s2": series, "dem": layer})
    assert set(cube.data_vars) >= {"s2", "s2_clear", "dem"}
    assert cube["s2"].sizes["time"] == 3
    np.testing.assert_array_equal(cube["dem"][0].compute(scheduler="sync"), surface)
    other = made(tiny, "median", period=PeriodSpec(start="2022-01", end="2022-02"))
    with pytest.raises(GridMismatch, match="3 steps from 2022-01 to 2022-03, s1 has 2 from"):
        lazy_cube({"s2": series, "s1": other})
    moved = Grid(tiny.grid.geobox.translate_pix(1, 0), StoreSpec(chunk=16, shard=32, tile=32))
    with pytest.raises(GridMismatch, match="s2 lies on the grid"):
        lazy_cube({"s2": series, "dem": dataclasses.replace(layer, grid=moved)})


# -- the first granule that has data --------------------------------------------------------


def test_a_band_that_lacks_a_pixel_gets_it_from_the_other_granule_of_the_day(
    tmp_path, tiny, write_item
):
    """The mask of the first is clear there, its band is nodata."""
    scl = np.full((2, 2), 4, "uint8")
    for name, red in (("A", [[0, 11], [12, 0]]), ("B", [[21, 22], [23, 0]])):
        write_item(
            tmp_path, name, "2022-01-05T10:00:00Z", 500_000, 5_000_000,
            {"red": (np.uint16(red), 10, 0), "nir": (np.full((2, 2), ord(name), "uint16"), 10, 0),
             "scl": (scl, 10, 0)},
        )  # fmt: skip
    sensor = SensorSpec(bands={"red": "red", "nir": "nir"}, mask={"asset": "scl", "clear": [4]})
    source = SourceSpec(sensor=sensor, items=ItemsSpec(catalog=str(tmp_path / "items")))
    mosaic = make_mosaic(find_items(source, QUARTER), source, tiny.grid, QUARTER)
    values, count = mosaic.read([0], [0, 1], slice(0, 2), slice(0, 2))
    assert values[0, 0].tolist() == [[21, 11], [12, 0]]
    assert values[0, 1].tolist() == [[ord("A")] * 2] * 2
    assert count[0].tolist() == [[1, 1], [1, 1]]


# -- what a window, a file or a fault must not change ---------------------------------------


def layers_of(folder, write_item, scenes, **sensor):
    """A mosaic source of items given as (name, day, assets, properties)."""
    for name, day, column, assets, properties in scenes:
        write_item(
            folder, name, f"{day}T10:00:00Z", 500_000 + 10 * column, 5_000_000, assets, **properties
        )
    fields = {"bands": {"red": "red"}, "dtype": "uint16", "nodata": 0} | sensor
    return SourceSpec(sensor=SensorSpec(**fields), items=ItemsSpec(catalog=str(folder / "items")))


def test_the_cover_of_a_scene_is_of_all_its_items_whatever_window_is_read(
    tmp_path, tiny, write_item
):
    def plane(value, shape=(64, 48)):
        return {"red": (np.full(shape, value, "uint16"), 10, 0)}

    source = layers_of(
        tmp_path, write_item,
        [("A", "2022-01-05", 0, plane(100), {"eo:cloud_cover": 10.0}),
         ("B", "2022-01-05", 48, plane(200), {"eo:cloud_cover": 90.0}),
         ("C", "2022-01-15", 0, plane(900, (64, 96)), {"eo:cloud_cover": 30.0})],
    )  # fmt: skip
    best = spec({"method": "best", "cloud": 0, "middle": 0, "coverage": 1})
    mosaic = make_mosaic(find_items(source, QUARTER), source, tiny.grid, QUARTER, composite=best)
    assert (mosaic.read([0], [0], *ALL)[0] == 900).all()
    corner = (slice(0, 16), slice(0, 16))  # B does not reach it
    assert (mosaic.read([0], [0], *corner)[0] == 900).all()
    assert (mosaic.within(*corner).read([0], [0], *corner)[0] == 900).all()
    items = find_items(source, QUARTER)
    items[0].properties["eo:cloud_cover"] = 20.0
    other = make_mosaic(items, source, tiny.grid, QUARTER, composite=best)
    assert other.digest() != mosaic.digest()


def test_nothing_of_an_item_that_is_left_out_stays(tmp_path, tiny, write_item):
    """Its first band was composited before its second could not be read."""
    both = {key: (np.full((64, 96), 500, "uint16"), 10, 0) for key in ("red", "nir")}
    source = layers_of(
        tmp_path, write_item, [("A", "2022-01-05", 0, both, {})],
        bands={"red": "red", "nir": "nir"},
    )  # fmt: skip
    (tmp_path / "cogs" / "A" / "nir.tif").write_bytes(b"II*")
    mosaic = make_mosaic(
        find_items(source, QUARTER), source, tiny.grid, QUARTER, unreadable="leave-out"
    )
    values, count, left_out = mosaic.read_listing([0], [0, 1], *ALL)
    assert [one.item for one in left_out] == ["A"]
    assert not values.any()
    assert not count.any()


@pytest.mark.parametrize("stated", [0, None])
def test_only_a_masks_description_says_what_its_nodata_is(tmp_path, tiny, write_item, stated):
    """A probability of 0 is the clearest sky, also where the file says that 0 is nodata."""
    probability = np.uint8([[0, 10, 80, 0]])
    red = np.uint16([[500, 500, 500, 0]])  # the last was never observed
    source = layers_of(
        tmp_path, write_item,
        [("A", "2022-01-05", 0, {"red": (red, 10, 0), "cld": (probability, 10, stated)}, {})],
        mask={"asset": "cld", "at_most": 30, "nodata": None},
    )  # fmt: skip
    mosaic = make_mosaic(find_items(source, QUARTER), source, tiny.grid, QUARTER)
    values, count = mosaic.read([0], [0], slice(0, 1), slice(0, 5))
    assert values[0, 0].tolist() == [[500, 500, 0, 0, 0]]
    assert count[0].tolist() == [[1, 1, 0, 0, 0]]
    lazy = lazy_cube({"s2": mosaic})["s2_clear"][0, 0, :5].compute(scheduler="sync")
    assert lazy.values.tolist() == [1, 1, 0, 0, 0]


@pytest.mark.parametrize(("dtype", "code"), [("uint16", 300), ("int16", -1)])
def test_classes_of_any_size_are_masks(tmp_path, tiny, write_item, dtype, code):
    classes = np.array([[4, code, 0]], dtype)
    red = np.full((1, 3), 500, "uint16")
    source = layers_of(
        tmp_path, write_item,
        [("A", "2022-01-05", 0, {"red": (red, 10, 0), "cls": (classes, 10, None)}, {})],
        mask={"asset": "cls", "clear": [4]},
    )  # fmt: skip
    mosaic = make_mosaic(find_items(source, QUARTER), source, tiny.grid, QUARTER)
    assert mosaic.read([0], [0], slice(0, 1), slice(0, 3))[1].tolist() == [[[1, 0, 0]]]


@pytest.mark.parametrize("method", ["medoid", "geomedian", "best"])
def test_all_bands_of_an_observation_are_of_one_granule(tmp_path, tiny, write_item, method):
    def assets(red, nir):
        return {"red": (np.uint16([red]), 10, 0), "nir": (np.uint16([nir]), 10, 0)}

    source = layers_of(
        tmp_path, write_item,
        [("A", "2022-01-05", 0, assets([0, 10, 10], [11, 11, 0]), {}),
         ("B", "2022-01-05", 0, assets([20, 20, 20], [21, 21, 21]), {})],
        bands={"red": "red", "nir": "nir"},
    )  # fmt: skip
    mosaic = make_mosaic(
        find_items(source, QUARTER), source, tiny.grid, QUARTER, composite=spec(method)
    )
    values, count = mosaic.read([0], [0, 1], slice(0, 1), slice(0, 3))
    assert values[0, :, 0].tolist() == [[20, 10, 20], [21, 11, 21]]
    assert count[0].tolist() == [[1, 1, 1]]
