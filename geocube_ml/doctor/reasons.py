"""Why a label is doubtful, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.doctor.evidence import Evidence

NOTHING = "nothing speaks against it"
_FAR = 2.0  # times the class's usual distance
_NEAR_EDGE = 2.0  # pixels


def reasons(
    found: Evidence,
    given: NDArray[np.intp],
    best: NDArray[np.intp],
    names: Sequence[str],
    edge_m: NDArray[Any],
    pixel_m: float,
) -> NDArray[np.object_]:
    """What speaks against each label, the weightiest first.

    Parameters
    ----------
    found : Evidence
        Of n labels.
    given, best : (n,) integer
        Its class, and the class that most speaks for.
    names : sequence of str
        Of the classes.
    edge_m : (n,) float
        Metres to the edge, NaN without one.
    pixel_m : float
        Edge of a pixel in metres.

    Returns
    -------
    (n,) object
        Texts such as ``the data say maize (0.93); 13 of 15 neighbours are maize``.
    """
    rows = np.arange(len(given))
    own = found.distance[rows, given]
    each = (own[(given == code) & ~np.isnan(own)] for code in range(len(names)))
    usual = np.array([np.median(mine) if mine.size else np.nan for mine in each])
    unlike = own > _FAR * usual[given]
    out = np.empty(len(given), object)
    for at in rows:
        said = []
        if best[at] != given[at]:
            said.append(f"the data say {names[best[at]]} ({found.forest[at, best[at]]:.2f})")
        shares = found.neighbours[at]
        most = int(shares.argmax())
        if most != given[at] and shares[most] > shares[given[at]]:
            voices = round(float(shares[most]) * found.k)
            said.append(f"{voices} of {found.k} neighbours are {names[most]}")
        if unlike[at]:
            said.append(f"unlike other {names[given[at]]}")
        if edge_m[at] < _NEAR_EDGE * pixel_m:
            said.append(f"{edge_m[at]:.0f} m from the edge")
        out[at] = "; ".join(said) or NOTHING
    return out
