from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import shapely
import xarray as xr

from geocube_ml.report.doubt import doubtful as doubtful_labels
from geocube_ml.report.labels import labelled
from geocube_ml.report.page import write_report
from geocube_ml.spec.labels import ClassScheme
from geocube_ml.spec.recipe import Recipe

from .conftest import (
    BANDS,
    NAMES,
    add_static,
    make_cube,
    make_samples,
    make_scores,
    still_samples,
)

# odc-geo multiplies transforms in the way that affine 3 is giving up
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """What a browser would find: balanced tags, tables as rows of texts, images, links."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.links, self.tables, self.text = [], [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(attrs["src"])
        if "href" in attrs:
            self.links.append(attrs["href"])
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        assert tag not in ("script", "iframe", "link")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text += data
        if {"th", "td"} & set(self.open):
            self.tables[-1][-1][-1] += data.strip()

    def table(self, corner):
        """Rows by their first cell, of the first table whose first cell is `corner`."""
        found = next(rows for rows in self.tables if rows[0] and rows[0][0] == corner)
        return {row[0]: row[1:] for row in found if row}


def read(path):
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def path(everything, tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("page") / "new" / "report.html", **everything)


@pytest.fixture(scope="module")
def page(path):
    return read(path)


def test_two_pages_of_the_same_input_are_the_same_bytes(path, everything, tmp_path):
    again = write_report(tmp_path / "report.html", **everything)
    assert again.read_bytes() == path.read_bytes()


def test_the_page_loads_nothing(path, page):
    assert all(uri.startswith("data:image/") for uri in page.images)
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"""(src|href)\s*=\s*["']?https?:|url\(|@import""", path.read_text())


def test_every_figure_is_an_image_that_decodes(page):
    kinds = {"png": b"\x89PNG\r\n", "svg+xml": b"<?xml"}
    counted = dict.fromkeys(kinds, 0)
    for uri in page.images:
        kind, content = uri.removeprefix("data:image/").split(";base64,")
        assert base64.b64decode(content, validate=True).startswith(kinds[kind])
        counted[kind] += 1
    assert counted == {"png": 3, "svg+xml": len(NAMES) + 2}


def test_links_lead_to_sections_of_the_page(path, page):
    assert page.links
    for link in page.links:
        assert f'id="{link[1:]}"' in path.read_text()


def test_class_names_are_shown_as_they_are(path, page):
    for corner in ("Class", ""):
        assert set(NAMES) <= set(page.table(corner))
    assert '<b>&"' not in re.sub(r"<style>.*?</style>", "", path.read_text(), flags=re.DOTALL)
    assert "<title>Demo &amp; valley</title>" in path.read_text()


def test_the_first_line_names_the_best_models_hold_out(page, scores):
    best = scores["scores"][0]
    first = " ".join(page.text.split())
    assert (
        f"tempcnn reaches macro-F1 {best['macro_f1']:.3f} and overall accuracy "
        f"{best['overall']:.3f} on ground it never trained on, from 12 months, 72 items, "
        "203 polygons."
    ) in first


def test_areas_are_pixels_times_the_pixels_area(page, cube):
    legend = page.table("Class")
    codes = cube["class"].to_numpy()
    mapped = (codes != 255).sum()
    for code, name in enumerate(NAMES):
        n = (codes == code).sum()
        assert legend[name][:2] == [f"{n * 100 / 1e4:,.2f}", f"{n / mapped:.1%}"]
    assert legend["Mapped"][0] == f"{mapped / 100:,.2f}"
    assert legend["No data"][0] == f"{(codes == 255).sum() / 100:,.2f}"


def test_the_split_table_holds_the_scores_and_the_optimism(page, scores):
    table = page.table("Model")
    by_pair = {(s["model"], s["split"]): s for s in scores["scores"]}
    for model in ("tempcnn", "forest"):
        parts = [by_pair[model, split] for split in ("block", "polygon", "random")]
        shown = [f"{s[key]:.3f}" for s in parts for key in ("macro_f1", "overall", "kappa")]
        gain = [parts[2][key] - parts[0][key] for key in ("macro_f1", "overall")]
        assert table[model] == shown + [f"{g:+.3f}" for g in gain]
    assert table["Test pixels"][0] == f"{by_pair['forest', 'block']['n_test']:,}"
    assert table["Test polygons"][0] == "40"
    assert list(table)[:5] == ["Model", "macro-F1", "tempcnn", "forest", "majority class"]


def test_the_reference_table_holds_shares_of_the_best_possible(page, scores):
    rows = {row[0]: row[1:] for row in page.tables[2] if row}
    bound = scores["reference"][-1]
    for score in scores["reference"]:
        assert rows[score["model"]] == [
            *(f"{score[key]:.3f}" for key in ("macro_f1", "overall", "kappa")),
            *(f"{score[key] / bound[key]:.1%}" for key in ("macro_f1", "overall")),
            f"{score['n_test']:,}",
        ]


def test_the_class_table_holds_f1_on_the_hold_out(page, scores):
    rows = {row[0]: row[1:] for row in page.tables[3] if row}
    held = [s for s in scores["scores"] if s["split"] == "block"]
    for code, name in enumerate(NAMES):
        n_test = sum(held[0]["confusion"][code])
        assert rows[name] == [str(n_test), *(f"{s['f1'][code]:.3f}" for s in held)]


def test_confusion_matrices_hold_the_counts(page, scores):
    for table, score in zip(page.tables[4:6], scores["scores"][:2], strict=True):
        rows = {row[0]: row[1:] for row in table if row}
        for code, name in enumerate(NAMES):
            counts = score["confusion"][code]
            total = sum(counts)
            assert rows[name] == [
                *(f"{n:,}" for n in counts), f"{total:,}", f"{counts[code] / total:.1%}",
            ]  # fmt: skip
        assert rows["mapped"][: len(NAMES)] == [
            f"{n:,}" for n in np.sum(score["confusion"], axis=0)
        ]


def test_problems_of_labels_are_counted_by_reason_and_listed(page):
    table = page.table("Reason")
    assert table["no pixel is 10 m inside"] == ["left out", "2", "0.12"]
    assert table["self-intersection"] == ["mended", "1", "2.50"]
    assert table["no geometry"] == ["left out", "1", "–"]
    assert table["disputed by another"] == ["unlabelled", "2", "0.12"]
    text = " ".join(page.text.split())
    assert "claim the same ground in 2 places: 0.12 ha stay unlabelled" in text
    listed = next(rows for rows in page.tables if rows[0][0] == "file")
    assert ["b.gpkg", "4", "water", "disputed by feature 5 (grassland)", "0.07"] in listed


def test_labels_pixels_and_samples_of_each_class_are_counted(page, cube, everything):
    table = next(rows for rows in page.tables if rows[0][1:2] == ["labels"])
    label, sampled = cube["label"].to_numpy(), everything["samples"]["label"].to_numpy()
    for code, name in enumerate(NAMES):
        want = [
            "2",
            f"{2 * code + 7:.2f}",
            f"{(label == code).sum():,}",
            f"{(sampled == code).sum()}",
        ]
        assert table[code + 1] == [name, *want]
    assert table[-1][:3] == ["All", "10", "55.00"]


def test_labels_of_several_layers_are_counted_together(cube, scores):
    label = cube["label"].compute()
    unknown = xr.full_like(label, 255)
    two = xr.concat([label, unknown], "label_layer", combine_attrs="override")
    scheme = ClassScheme(**scores["classes"])
    counted = labelled(None, cube.assign(label=two), None, scheme)
    assert counted == labelled(None, cube, None, scheme)
    assert counted.rows[0]["pixels"] == (label == 0).sum()


def test_draws_and_folds_are_told(page):
    drawn = next(rows for rows in page.tables if rows[0][:2] == ["Class", "labelled"])
    assert drawn[0] == ["Class", "labelled", "asked for", "drawn"]
    assert [row[1:3] for row in drawn[1:]] == [["900", "80"]] * len(NAMES)
    folds = next(rows for rows in page.tables if rows[0][0] == "Folds")[1:]
    assert folds == [
        ["Spatial hold-out", "0", "150", "510", "1,730"],
        ["", "1", "250", "–", "–"],
        ["Random pixels", "0", "200", "10", "14"],
    ]
    assert "Left out: no time step is valid: 2 labels, 31 pixels." in page.text


def test_the_ten_worst_of_the_doubtful_labels_are_shown(page, everything):
    table = next(rows for rows in page.tables if "looks like" in rows[0])
    assert table[0] == ["file", "feature", "class", "looks like", "doubt", "reason"]
    assert [row[1] for row in table[1:]] == [str(feature) for feature in range(20, 30)]
    assert table[1][4] == "0.99"
    last = doubtful_labels(everything["doubtful"][-1:], None).rows[0]
    assert last[:3] == ["–", "–", "water"]  # a block of background
    assert "worst 10 of 12" in " ".join(page.text.split())


def test_doubt_is_drawn_where_the_cube_has_it(doubtful, cube):
    doubt = xr.where(cube["label"] == 255, 255, 100).astype("uint8")
    doubt.attrs = {"nodata": 255, "scale_factor": 1 / 250}
    assert doubtful_labels(doubtful, cube).picture is None
    picture = doubtful_labels(doubtful, cube.assign(doubt=doubt)).picture
    share = float((cube["label"] != 255).mean())
    assert f"{share:.1%} of the pixels are labelled and judged" in picture.caption


def test_without_a_doctor_there_is_no_section_on_doubt(everything, tmp_path):
    given = everything | {"doubtful": None, "cube": None, "samples": None}
    page = read(write_report(tmp_path / "r.html", **given))
    assert "Doubtful" not in page.text
    assert "#doubt" not in page.links


def test_older_tables_make_a_page(everything, tmp_path):
    """Samples that do not say how they were drawn, problems without a file."""
    given = everything | {
        "cube": None,
        "samples": everything["samples"][["label"]].assign_attrs(drawn="{}", fold_distances="{}"),
        "problems": everything["problems"].drop(columns=["source", "done"]),
        "labels": None,
    }
    page = read(write_report(tmp_path / "r.html", **given))
    assert "does not say how it was drawn" in page.text
    assert page.table("Reason")["self-intersection"] == ["–", "1", "2.50"]


def test_what_lies_outside_the_area_to_map_is_not_counted_as_unseen(everything, tmp_path):
    cube = make_cube((40, 40), 3)
    x, y = cube.x.to_numpy(), cube.y.to_numpy()
    left = (cube.x < x.mean()).to_numpy()
    cube["s2_clear"] = cube["s2_clear"].where(left, 0).astype("uint8") | left.astype("uint8")
    area = shapely.box(x.min() - 5, y.min() - 5, x.mean(), y.max() + 5)
    page = read(write_report(tmp_path / "r.html", title="t", cube=cube, area=area))
    assert page.table("Source")["s2"][3] == "0.0%"
    page = read(write_report(tmp_path / "r.html", title="t", cube=cube))
    assert page.table("Source")["s2"][3] == "50.0%"


def test_notes_facts_and_remarks_are_all_there_once(page, everything):
    for text in (*everything["notes"], *(value for _, value in everything["facts"])):
        assert page.text.count(text) == 1
    assert "tempcnn, spatial hold-out: training stopped after 12 epochs" in page.text
    assert "Spatial hold-out: only 2 test polygons of water" in page.text


def test_a_remark_that_is_a_note_already_is_not_repeated(everything, tmp_path):
    remark = everything["scores"]["notes"][0]
    given = everything | {"notes": [remark], "cube": None, "samples": None}
    assert read(write_report(tmp_path / "r.html", **given)).text.count(remark) == 1


def test_a_page_of_nothing_says_which_step_makes_what(tmp_path):
    page = read(write_report(tmp_path / "report.html", title="Nothing yet"))
    text = " ".join(page.text.split())
    for step in ("cube", "evaluate", "samples", "labels"):
        assert f"the step {step}" in text
    assert "and predict the map" in text
    assert page.images == []


@pytest.mark.parametrize(
    "alone", ["cube", "samples", "scores", "labels", "problems", "doubtful", "facts", "notes"]
)
def test_a_page_can_be_made_of_any_one_input(alone, everything, tmp_path):
    read(write_report(tmp_path / "report.html", title="t", **{alone: everything[alone]}))


@pytest.mark.parametrize("gone", ["class", "prob", "label", "s2", "s2_clear", "spatial_ref"])
def test_a_cube_may_lack_any_variable(gone, everything, tmp_path):
    cube = everything["cube"].drop_vars(gone)
    text = read(write_report(tmp_path / "report.html", title="t", cube=cube)).text
    assert ("There is no map yet" in text) == (gone == "class")


@pytest.mark.parametrize(
    ("shape", "months", "names", "bands", "lit"),
    [
        ((20, 30), 12, NAMES[:1], BANDS, True),
        ((20, 30), 1, NAMES, BANDS, True),
        ((20, 30), 40, NAMES, ("vv", "vh"), True),
        ((37, 1501), 2, NAMES, BANDS, True),
        ((1501, 37), 2, NAMES, BANDS, True),
        ((1, 30), 2, NAMES, BANDS, True),
        ((20, 30), 3, NAMES, BANDS, False),
    ],
    ids=["one class", "one month", "no red", "wide", "tall", "one row", "all nodata"],
)
def test_odd_cubes_make_a_page(shape, months, names, bands, lit, tmp_path):
    cube = make_cube(shape, months, names, bands, lit=lit)
    page = read(
        write_report(
            tmp_path / "report.html",
            title="odd",
            cube=cube,
            samples=make_samples(cube, n=60),
            scores=make_scores(names),
        )
    )
    mapped = int((cube["class"] != 255).sum())
    assert page.table("Class")["Mapped"][0] == f"{mapped / 100:,.2f}"
    assert ("No pixel is mapped" in page.text) == (not lit)


def test_scores_that_are_not_known_are_dashes(scores, tmp_path):
    blank = scores["scores"][0] | {"kappa": None, "f1": [None, *scores["scores"][0]["f1"][1:]]}
    given = scores | {"scores": [blank], "reference": []}
    page = read(write_report(tmp_path / "report.html", title="t", scores=given))
    assert page.table("Model")["tempcnn"][2] == "–"
    assert page.table("Class")[NAMES[0]][1] == "–"
    assert "Optimism" not in page.text


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError, match=r"report\.html"):
        write_report(tmp_path / "report.html", title="t")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_the_composite_reads_three_bands_of_one_month(tmp_path):
    cube = make_cube((30, 40), 6)
    read_blocks = set()

    def note(block, block_info=None):
        if block_info:
            read_blocks.add(tuple(block_info[0]["chunk-location"][:2]))
        return block

    lazy = cube["s2"].chunk(time=1, s2_band=1)
    noted = lazy.data.map_blocks(note, dtype="uint16", meta=lazy.data._meta)
    clearest = int(cube["s2_clear"].mean(["y", "x"]).argmax("time"))

    write_report(tmp_path / "r.html", title="t", cube=cube.assign(s2=lazy.copy(data=noted)))
    assert read_blocks == {(clearest, BANDS.index(band)) for band in ("red", "green", "blue")}


# --- several sources


def recipe_of(sources, **more):
    """Only what a page tells of a recipe."""
    grid = {"crs": "EPSG:32633", "resolution": 10, "bounds": [0, 0, 100, 100]}
    items = {"items": {"catalog": "/items"}}
    named = {name: {"sensor": sensor} | items for name, sensor in sources.items()}
    return Recipe.read(
        {"name": "r", "out": "/out", "sources": named, "grid": grid} | more, where="r"
    )


TERRAIN = {
    "bands": {"elevation": "data", "slope": {"asset": "data", "derive": "slope"}},
    "static": True, "dtype": "float32", "nodata": -9999,
}  # fmt: skip
OPTICAL = {"bands": {band: band for band in BANDS}, "mask": {"asset": "SCL", "clear": [4, 5]}}


def test_each_source_is_told_with_how_it_was_made(tmp_path):
    cube = add_static(make_cube((30, 40)))
    cube["s2"].attrs |= {
        "long_name": "Sentinel-2",
        "radiometry_evidence": "3 items: baseline 05.11",
    }
    cube["dem"].attrs |= {
        "add_offset": -7.0, "units_slope": "degree",
        "files_nodata": "-1 (band elevation), stored as -32768",
    }  # fmt: skip
    recipe = recipe_of(
        {"s2": OPTICAL, "dem": TERRAIN},
        period={"start": "2023-10", "end": "2024-09"}, composite="geomedian",
    )  # fmt: skip
    path = write_report(tmp_path / "r.html", title="t", cube=cube, recipe=recipe)
    page = read(path)
    text = " ".join(page.text.split())
    optical, terrain = text[text.index("s2 Sentinel-2") :].split("dem Layer dem")
    for said in (
        "Kind time series, 12 months Bands blue, green, red, nir Stored as uint16, nodata 0,",
        "nodata 0, value = 0.0001 × count Units dimensionless",
        "Composite geomedian (tolerance 0.0001, iterations 100) Masks SCL: clear are 4, 5 ",
        "Resampling bilinear, average where going coarser",
        "Radiometry evidence 3 items: baseline 05.11",
    ):
        assert said in optical
    for said in (
        "Kind static, without a time axis Bands elevation, slope Stored as int16, nodata -32768,",
        "nodata -32768, value = 1 × count − 7 Units m; slope in degrees Composite geomedian",
        "Masks none: every observation with data counts",
        "Derived slope in degrees",
        "Files nodata -1 (band elevation), stored as -32768",
    ):
        assert said in terrain
    assert len(page.images) == 3 + 1 + 2  # a picture of the DEM, beside the usual ones


def test_a_page_of_several_sources(tmp_path):
    cube = add_static(make_cube((30, 40)))
    cube = cube.assign(
        s1=cube["s2"].isel(s2_band=[0, 1]).rename(s2_band="s1_band"),
        s1_clear=cube["s2_clear"] + np.uint8(1),
    ).assign_coords(s1_band=["vv", "vh"])
    samples = make_samples(cube, n=60)
    still = add_static(cube).isel(y=0, x=0)["dem"].to_numpy()
    samples = samples.assign(
        s1=samples["s2"].isel(s2_band=[0, 1]).rename(s2_band="s1_band"),
        dem=(("sample", "dem_band"), np.tile(still, (60, 1)), cube["dem"].attrs),
    ).assign_coords(s1_band=["vv", "vh"], dem_band=["elevation", "slope"])
    page = read(write_report(tmp_path / "r.html", title="t", cube=cube, samples=samples))
    table = page.table("Source")
    assert list(table)[1:] == ["s1", "s2", "dem"]
    assert [row[0] for row in table.values()][1:] == ["12 months", "12 months", "none"]
    assert float(table["s1"][1]) == pytest.approx(float(table["s2"][1]) + 1)
    assert table["dem"][1:] == ["not counted", "–", "0.0%"]
    assert re.search(r"s2, red green blue; [^;]*; labels outlined", page.text)
    for title in ("s1, vv (dimensionless)", "s1, vh", "s2, NDVI (dimensionless)", "elevation"):
        assert title in page.text
    # the map, its confidence and three sources; bars of two series; classes, and bands of the DEM
    kinds = [uri.split(";")[0].removeprefix("data:image/") for uri in page.images]
    assert (kinds.count("png"), kinds.count("svg+xml")) == (5, 2 * 2 + 3 * len(NAMES) + 2)


@pytest.mark.parametrize("clear", [False, True])
def test_a_page_of_a_cube_without_a_time_axis(clear, tmp_path):
    bands = [f"b{n:03d}" for n in range(1, 201)]
    cube = add_static(make_cube((30, 40)), bands, "enmap")
    cube = add_static(cube.drop_vars(["s2", "s2_clear", "time", "s2_band"]))
    if clear:
        cube["enmap_clear"] = (("y", "x"), np.full((30, 40), 2, "uint8"))
    page = read(
        write_report(
            tmp_path / "r.html", title="still", cube=cube, samples=still_samples(cube),
            scores=make_scores(),
        )
    )  # fmt: skip
    text = " ".join(page.text.split())
    assert "months" not in text
    assert "Band by band." in text
    assert "False colour (m)" in text
    # beside the map, as it says more to the eye than the terrain
    assert re.search(r"enmap, b151 b101 b051\. Black to white: \S+ to \S+; labels outlined", text)
    assert re.search(r"dem, elevation\. Black to white: \S+ to \S+\. ", text)
    assert "Bands b001, b002, ..., b200 (200 of them)" in text
    assert page.table("Source")["enmap"][1] == ("2.00" if clear else "not counted")
    spectra = [uri for uri in page.images if uri.startswith("data:image/svg")]
    assert len(spectra) == len(NAMES) + 2  # a spectrum a class, and the two bands of the DEM
    with_names = base64.b64decode(spectra[-1].split(",")[1]).decode()
    assert with_names.startswith("<?xml")


def test_steps_that_are_no_months_are_called_so(tmp_path):
    cube = make_cube((20, 30), 3)
    days = np.array(["2024-01-01", "2024-01-11", "2024-01-21"], "datetime64[ns]")
    cube = cube.assign_coords(time=days)
    page = read(write_report(tmp_path / "r.html", title="t", cube=cube))
    text = " ".join(page.text.split())
    assert "3 dekads; no model is judged yet" in text
    assert "Clear observations a dekad (count)" in text
    assert "Numbers, dekad by dekad" in text
    assert list(page.table("Dekad"))[1:] == [f"from {day} Jan 2024" for day in (1, 11, 21)]
