"""The archive that most tests of whole runs share: one simulated year, as little as is enough."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, Any] = {"seed": 0, "size": 128, "revisit_days": 30, "label_share": 0.6}
"""Of `SimSpec`: 8 tiles of 64 pixels, 24 scenes, fields of each class; two months see nothing."""
