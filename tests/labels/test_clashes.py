"""Ground that labels claim together."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from geocube_ml.labels.clashes import disputes

GRID = GeoBox((100, 100), Affine(10, 0, 0, 0, -10, 1000), "EPSG:32633")
LONG = 20_000
TONGUE = [(100, 0), (86, 0), (86, 12), (100, 12)]  # 14 x 12 m of the western neighbour
SLIVER = [(100, 600), (99.99, 601), (99.99, LONG - 1), (100, LONG)]  # 1 cm wide
JOINED = [(86, 0), (86, 12), (99.99, 12), (99.99, LONG), (100, LONG)]


@pytest.mark.parametrize(
    ("edge", "disputed"),
    [
        ([*TONGUE, (100, LONG)], 168),
        ([*TONGUE, *SLIVER], 168),
        (JOINED, 168 + 0.01 * (LONG - 12)),
        ([(100, 0), *SLIVER], 0),
        ([(100, 0), (100, LONG)], 0),
    ],
)
def test_an_overlap_beside_a_border_that_both_share_is_disputed(edge, disputed):
    """What both have is narrow on average, as the border is long."""
    shapes = [shapely.box(0, 0, 100, LONG), shapely.Polygon([(900, 0), *edge, (900, LONG)])]
    found = disputes(
        np.array(shapes, object), np.array([0, 1]), np.array([[0, 9], [0, 9]]), GRID, thin=0.02
    )
    assert len(found.ground) == bool(disputed)
    assert shapely.area(found.ground).sum() == pytest.approx(disputed)
    assert {shape.geom_type for shape in found.ground} <= {"Polygon", "MultiPolygon"}
