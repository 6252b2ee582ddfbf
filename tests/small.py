"""The archives that tests share: simulated years, as little as is enough."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, Any] = {"seed": 0, "size": 128, "revisit_days": 30, "label_share": 0.6}
"""Of `SimSpec`: 8 tiles of 64 pixels, 24 scenes, fields of each class; two months see nothing."""

DENSE: dict[str, Any] = {"size": 96, "revisit_days": 15}
"""Of `SimSpec`: 48 scenes of 24 dates, for tests of what is read of one."""
