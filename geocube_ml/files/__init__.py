"""Files on a disk or in an object store: where they are, written whole or not at all, by one."""

from geocube_ml.files.lease import LOCK, alone
from geocube_ml.files.place import Place, below, is_remote, local_copy, names, place
from geocube_ml.files.refused import asked, storage_error
from geocube_ml.files.s3 import forget_clients
from geocube_ml.files.secrets import redacted
from geocube_ml.files.whole import (
    PARTIAL,
    content_digest,
    discard,
    read_json,
    sweep,
    upload,
    whole_file,
    whole_folder,
    write_json,
)

__all__ = [
    "LOCK",
    "PARTIAL",
    "Place",
    "alone",
    "asked",
    "below",
    "content_digest",
    "discard",
    "forget_clients",
    "is_remote",
    "local_copy",
    "names",
    "place",
    "read_json",
    "redacted",
    "storage_error",
    "sweep",
    "upload",
    "whole_file",
    "whole_folder",
    "write_json",
]
