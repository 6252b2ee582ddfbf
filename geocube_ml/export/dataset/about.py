"""What a data set says of itself: put together once, told by its sheet, README and collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from geocube_ml.data.folds import SPLITS
from geocube_ml.data.sources import is_static, source_names
from geocube_ml.export.dataset.chips import Chip, Chips
from geocube_ml.export.dataset.splits import NAMES, Splits, distances
from geocube_ml.spec.dataset import DatasetSpec
from geocube_ml.spec.labels import UNKNOWN, ClassScheme, LabelsSpec
from geocube_ml.spec.samples import SamplesSpec

Interval = tuple[str, str]
"""First and last moment, as ``2022-03-01T00:00:00Z``."""


@dataclass(frozen=True)
class About:
    """What is known of a data set beside its pixels."""

    name: str
    spec: DatasetSpec
    draw: SamplesSpec
    samples: xr.Dataset
    splits: Splits
    chips: Chips
    every: Sequence[Chip]
    lost: Mapping[str, int]
    """Labelled pixels of the cube, ``labelled``, and those in no mask, by reason."""
    interval: Interval
    labels: LabelsSpec | None = None
    polygons: pd.DataFrame | None = None
    """Of `labels.parquet`: ``polygon``, ``class``, ``area_m2``."""
    problems: pd.DataFrame | None = None
    """Of `labels_lost.csv`: ``reason`` and ``done``."""
    facts: Sequence[tuple[str, str]] = ()
    """More that is told of how it was made, in words."""

    @property
    def title(self) -> str:
        """Of the collection."""
        return self.spec.title or self.name

    @property
    def classes(self) -> ClassScheme:
        """Codes, names and colours."""
        return ClassScheme.from_attrs(self.samples["label"].attrs)

    @property
    def has_series(self) -> bool:
        """Whether any source has a time axis."""
        cube = self.chips.cube
        return any(not is_static(cube[name]) for name in source_names(cube))

    def by_class(self) -> pd.DataFrame:
        """A row a class: ``polygons`` with samples and their ``hectares``, and samples and
        pixels of masks by split (``train samples``, ``train pixels``, ...).
        """
        label, polygon = self.samples["label"].values, self.samples["polygon"].values
        area = {} if self.polygons is None else dict(
            zip(self.polygons["polygon"], self.polygons["area_m2"], strict=True)
        )  # fmt: skip
        rows = []
        for code, name in enumerate(self.classes.names):
            mine = np.unique(polygon[(label == code) & (polygon > 0)])
            row: dict[str, Any] = {"code": code, "class": name, "polygons": len(mine)}
            if self.polygons is not None:
                row["hectares"] = round(sum(area.get(int(one), 0.0) for one in mine) / 1e4, 2)
            for at, split in enumerate(SPLITS):
                of = self.splits.of_sample[label == code] == at
                row[f"{split} samples"] = int(of.sum())
                row[f"{split} pixels"] = sum(
                    chip.by_class[code] for chip in self.every if chip.split == split
                )
            rows.append(row)
        return pd.DataFrame(rows)

    def by_split(self) -> pd.DataFrame:
        """A row a split: ``polygons``, ``samples``, ``chips`` and ``pixels`` of their masks."""
        polygon, rows = self.samples["polygon"].values, []
        for code, name in enumerate(NAMES):
            mine = self.splits.of_sample == code
            chips = [chip for chip in self.every if chip.split == name]
            if mine.any() or chips:
                inside = np.unique(polygon[mine & (polygon > 0)])
                rows.append({
                    "split": name, "polygons": len(inside), "samples": int(mine.sum()),
                    "chips": len(chips), "pixels": sum(chip.labelled for chip in chips),
                })  # fmt: skip
        return pd.DataFrame(rows)

    def distances(self) -> dict[str, float]:
        """Least distances between the samples of two splits, in metres."""
        return distances(self.splits, self.samples)

    def class_table(self) -> dict[str, Any]:
        """What `classes.json` holds."""
        background = None if self.labels is None else self.labels.background
        merged = {
            one.name: list(one.values) for one in (self.labels.classes if self.labels else ())
        }
        of_files: dict[str, list[str]] = {}
        for source in self.labels.sources if self.labels else ():
            for value, name in source.values.items():
                if name is not None:
                    of_files.setdefault(name, []).append(value)
        return {
            "unknown": UNKNOWN,
            "background": background.name if background else None,
            "classes": [
                {
                    "code": code,
                    "name": name,
                    "color": color,
                    "merged_from": [*merged.get(name, []), *of_files.get(name, [])] or [name],
                }
                for code, (name, color) in enumerate(
                    zip(self.classes.names, self.classes.colors, strict=True)
                )
            ],
        }

    def manifest(self) -> pd.DataFrame:
        """What `splits.csv` holds: a row a sample, then a row a chip.

        ``kind`` (``sample`` or ``chip``), ``id`` (the sample's row in ``series.parquet`` from 0,
        the chip's ``ROW_COL``), ``split``; of a sample its ``polygon``; of a chip ``labelled``
        pixels of its mask, and labelled pixels that the mask leaves out, ``other_split`` and
        ``gap``.
        """
        n = self.samples.sizes["sample"]
        of_samples = pd.DataFrame(
            {
                "kind": "sample",
                "id": np.arange(n).astype(str),
                "split": np.array(NAMES, object)[self.splits.of_sample],
                "polygon": pd.array(self.samples["polygon"].values, "Int64"),
            }
        )
        of_chips = pd.DataFrame(
            {
                "kind": "chip",
                "id": [chip.name for chip in self.every],
                "split": [chip.split for chip in self.every],
                **{
                    key: pd.array([getattr(chip, key) for chip in self.every], "Int64")
                    for key in ("labelled", "other_split", "gap")
                },
            }
        )
        columns = [*of_samples.columns, "labelled", "other_split", "gap"]
        parts = [part.reindex(columns=columns) for part in (of_samples, of_chips) if len(part)]
        return pd.concat([part.astype(dict.fromkeys(columns[3:], "Int64")) for part in parts])
