from __future__ import annotations

import numpy as np

from geocube_ml.cube.observe import Layer, Observer
from geocube_ml.spec.sensor import BandSpec, SensorSpec
from geocube_ml.spec.storage import StorageSpec


def test_where_nothing_is_clear_a_scene_holds_nodata_and_not_what_was_in_memory():
    """Radar is taken to linear power before it is looked at what counts: 1e38 dB overflows."""
    sensor = SensorSpec(bands={"vv": BandSpec(asset="vv")}, dtype="float32", nodata=-9999)
    observer = Observer(sensor, None, StorageSpec(), "stop", waits=False)
    layer = Layer(np.float32([[[-12, -13, -9999]]]), np.array([[True, False, True]]), 0)
    values, clear = np.full((1, 1, 3), 1e38, "float32"), np.ones((1, 1, 3), bool)
    observer.fuse([layer], slice(0, 1), values, clear)
    assert values.tolist() == [[[-12, -9999, -9999]]]
    assert clear.tolist() == [[[True, False, False]]]
