"""A STAC collection of a data set, and an item a chip.

Classes are said by the classification extension, at the mask; the older label extension is not
maintained any more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import xarray as xr
from pyproj import Transformer

from geocube_ml.data.sources import source_names
from geocube_ml.export.dataset.about import About
from geocube_ml.export.dataset.chips import Chip, band_names
from geocube_ml.export.dataset.images import ZARR, image_name, mask_name
from geocube_ml.files import write_json
from geocube_ml.spec.labels import UNKNOWN, ClassScheme

_VERSION = "1.1.0"
_EXTENSIONS = {
    "classification": "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "projection": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "raster": "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
}
_CITED = "https://stac-extensions.github.io/scientific/v1.0.0/schema.json"
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_LICENCE = re.compile(r"^[\w\-.+]+$")  # of STAC; any other text is not the name of a licence
_NAME = re.compile(r"[^0-9A-Za-z_-]+")
_ITEMS = "chips/items"

COLLECTION = "collection.json"
"""Name of the collection within the data set."""

MARK = "geocube_ml:dataset"
"""Key of the collection by which a data set is known to be one that may be replaced."""

_LAYOUT = 1  # of the folder; what the mark says


def write_collection(about: About, folder: Path) -> None:
    """Write `collection.json`, and an item beside the files of each chip.

    Parameters
    ----------
    about : About
    folder : Path
        Of the data set.  Items are written where chips are COGs; of a Zarr group, which is one
        asset, there is the collection alone.
    """
    chips = about.every if about.spec.chips == "cog" else []
    for chip in chips:
        write_json(folder / _ITEMS / f"{chip.name}.json", _item(about, chip))
    write_json(folder / COLLECTION, _collection(about, chips))


def _collection(about: About, chips: Sequence[Chip]) -> dict[str, Any]:
    spec, cube = about.spec, about.chips.cube
    named = bool(_LICENCE.match(spec.licence))
    summary = f"{about.samples.sizes['sample']} labelled series and {len(about.every)} chips"
    links: list[dict[str, Any]] = [
        {"rel": "root", "href": "./collection.json", "type": "application/json"},
        *({"rel": "item", "href": f"./{_ITEMS}/{chip.name}.json", "type": "application/geo+json"}
          for chip in chips),
    ]  # fmt: skip
    if not named:
        links.append({"rel": "license", "href": "./datasheet.md", "type": "text/markdown",
                      "title": spec.licence})  # fmt: skip
    return {
        "type": "Collection",
        "stac_version": _VERSION,
        "stac_extensions": sorted(
            [*(_EXTENSIONS.values() if chips else ()), *([_CITED] if spec.citation else ())]
        ),
        "id": about.name,
        MARK: _LAYOUT,
        "title": about.title,
        "description": spec.description or f"{summary} of {', '.join(about.classes.names)}.",
        "license": spec.licence if named else "other",
        "providers": [{"name": name, "roles": ["producer"]} for name in spec.providers],
        **({"sci:citation": spec.citation} if spec.citation else {}),
        "extent": {
            "spatial": {"bbox": [_bounds(about)]},
            "temporal": {"interval": [list(about.interval)]},
        },
        "summaries": {"split": sorted({chip.split for chip in about.every})} if chips else {},
        **({"item_assets": _item_assets(cube, about.classes)} if chips else {}),
        "assets": _files(about),
        "links": links,
    }


def _files(about: About) -> dict[str, Any]:
    """Assets of the data set as a whole."""
    found = {
        "series": ("series.parquet", "application/vnd.apache.parquet", "Labelled series", "data"),
        "splits": ("splits.csv", "text/csv", "The split of each sample and chip", "metadata"),
        "classes": ("classes.json", "application/json", "Classes", "metadata"),
        "datasheet": ("datasheet.md", "text/markdown", "Data sheet", "metadata"),
        "readme": ("README.md", "text/markdown", "How it is read", "metadata"),
    }
    if about.spec.chips == "zarr" and about.every:
        found["chips"] = (ZARR, "application/vnd+zarr; version=3", "Chips and masks", "data")
    return {
        key: {"href": f"./{href}", "type": kind, "title": title, "roles": [role]}
        for key, (href, kind, title, role) in found.items()
    }


def _item(about: About, chip: Chip) -> dict[str, Any]:
    cube, geobox = about.chips.cube, about.chips.place(chip)
    outline = _footprint(shapely.box(*geobox.boundingbox.bbox), about)
    start, end = about.interval
    names = list(about.classes.names)
    place = {
        "proj:shape": list(geobox.shape),
        "proj:transform": [float(value) for value in geobox.transform[:6]],
    }
    counts = {name: n for name, n in zip(names, chip.by_class, strict=True) if n}
    assets = _item_assets(cube, about.classes)
    hrefs = {name: image_name(chip, name) for name in source_names(cube)} | {
        "mask": mask_name(chip)
    }
    up = "../" * (_ITEMS.count("/") + 1)
    return {
        "type": "Feature",
        "stac_version": _VERSION,
        "stac_extensions": sorted(_EXTENSIONS.values()),
        "id": f"{about.name}_{chip.name}",
        "collection": about.name,
        "geometry": shapely.geometry.mapping(outline),
        "bbox": list(outline.bounds),
        "properties": {
            "datetime": None,
            "start_datetime": start,
            "end_datetime": end,
            **_crs(about),
            "split": chip.split,
            "labelled_pixels": chip.labelled,
            "labelled_by_class": counts,
        },
        "links": [
            {"rel": rel, "href": f"{up}collection.json", "type": "application/json"}
            for rel in ("root", "parent", "collection")
        ],
        "assets": {key: {"href": f"{up}{hrefs[key]}", **assets[key], **place} for key in assets},
    }


def _item_assets(cube: xr.Dataset, classes: ClassScheme) -> dict[str, Any]:
    """What the assets of every chip have in common."""
    found: dict[str, Any] = {}
    for source in source_names(cube):
        attrs = cube[source].attrs
        scaled = {
            key: attrs[name]
            for key, name in (("raster:scale", "scale_factor"), ("raster:offset", "add_offset"))
            if name in attrs
        }
        found[source] = {
            "type": _COG,
            "title": str(attrs.get("long_name", source)),
            "roles": ["data"],
            "data_type": str(cube[source].dtype),
            "nodata": _number(attrs["nodata"]),
            **({"unit": str(attrs["units"])} if "units" in attrs else {}),
            **({"raster:scale": 1.0} | scaled),
            "bands": [{"name": name} for name in band_names(cube, source)],
        }
    found["mask"] = {
        "type": _COG,
        "title": "Classes",
        "roles": ["labels", "labels-raster"],
        "data_type": "uint8",
        "nodata": UNKNOWN,
        "classification:classes": [
            {
                "value": code,
                "name": _NAME.sub("_", name) or f"class_{code}",
                "title": name,
                "description": name,
                "color_hint": color[1:].upper(),
            }
            for code, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True))
        ],
    }
    return found


def _number(value: Any) -> float | int | str:
    value = np.asarray(value).item()
    return "nan" if isinstance(value, float) and np.isnan(value) else value


def _crs(about: About) -> dict[str, Any]:
    crs = about.chips.crs
    numbered = crs.startswith("EPSG:")
    return {"proj:code": crs} if numbered else {"proj:code": None, "proj:wkt2": crs}


def _bounds(about: About) -> list[float]:
    """Where samples and chips lie, in degrees."""
    half = about.chips.pixel_m / 2
    x, y = about.samples["x"].values, about.samples["y"].values
    boxes = [about.chips.place(chip).boundingbox.bbox for chip in about.every]
    boxes.append((x.min() - half, y.min() - half, x.max() + half, y.max() + half))
    left, bottom, right, top = np.array(boxes).T
    # edges that are straight on the grid are curves in degrees
    bounds = _to_degrees(about).transform_bounds(
        left.min(), bottom.min(), right.max(), top.max(), densify_pts=21
    )
    return [round(value, 7) for value in bounds]


def _to_degrees(about: About) -> Transformer:
    return Transformer.from_crs(about.chips.geobox.crs, "EPSG:4326", always_xy=True)


def _footprint(shape: Any, about: About) -> Any:
    """A shape of the cube's CRS in degrees."""
    there = shapely.transform(shape, _to_degrees(about).transform, interleaved=False)
    return shapely.transform(there, lambda degrees: degrees.round(7))
