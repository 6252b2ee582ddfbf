"""matplotlib without global state: figures that are the same bytes for the same input."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

INK = "#23282d"
MUTED = "#6b7279"
RULE = "#d5d8d6"
EMPTY = "#ecebe6"
"""Ground of a map where it has no data."""

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib, and so is on every machine
    "font.size": 8,
    "savefig.facecolor": "none",
    "svg.hashsalt": "geocube_ml",  # names of clip paths are drawn at random without it
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.color": MUTED,
    "ytick.major.size": 0,
}


@contextlib.contextmanager
def own_style() -> Iterator[None]:
    """A block in which matplotlib's settings are the page's, whatever the user's are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def png_uri(figure: Figure, dpi: int) -> str:
    """A figure as a data URI of a PNG; for what is made of pixels."""
    buffer = io.BytesIO()
    # with no name of the software, whose version would be in it
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return _uri("image/png", buffer)


def svg_uri(figure: Figure) -> str:
    """A figure as a data URI of an SVG; for what is made of lines."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _uri("image/svg+xml", buffer)


def _uri(kind: str, buffer: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
