"""What rasterio logs, without the keys and signatures that stand in it."""

from __future__ import annotations

import logging

from geocube_ml.files import redacted


class _Redact(logging.Filter):
    """Takes secrets out of what is logged; rasterio logs the address of each open raster."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        plain = redacted(text)
        if plain != text:
            record.msg, record.args = plain, ()
        return True


_LOGGERS = (
    "", ".env", ".session", ".vrt", "._base", "._env", "._err", "._filepath", "._io", "._path",
    "._transform", "._vsiopener", "._warp",
)  # fmt: skip
for _name in _LOGGERS:  # a filter of a parent is not asked
    logging.getLogger(f"rasterio{_name}").addFilter(_Redact())
