"""Tables of labels, as the step `labels` writes them, for the fields of a small cube."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from tests.seasons import LEFT, TOP


def table_of(cube, shrunk=2.5, **columns):
    """The fields of a cube as labels: squares with an edge that cuts the outer pixels."""
    polygon, label = cube["polygon"].values, cube["label"].values
    rows = []
    for number in np.unique(polygon[polygon > 0]):
        row, col = np.nonzero(polygon == number)
        box = shapely.box(
            LEFT + 10 * col.min() + shrunk, TOP - 10 * (row.max() + 1) + shrunk,
            LEFT + 10 * (col.max() + 1) - shrunk, TOP - 10 * row.min() - shrunk,
        )  # fmt: skip
        rows.append({"polygon": number, "code": label[row[0], col[0]], "geometry": box})
    frame = gpd.GeoDataFrame(rows, crs="EPSG:32633")
    always = pd.Series(pd.NaT, index=frame.index, dtype="datetime64[ns]")
    given = {"weight": np.float32(1), "valid_from": always, "valid_to": always, "layer": 0}
    return frame.assign(**given | columns)
