"""STAC items held against the schemas that they name, without a network."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from pystac.validation.local_validator import get_local_schema_cache
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

_FOLDER = Path(__file__).parent / "schemas"
_CORE = "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"


@cache
def _registry() -> Registry[Any]:
    """What is known by its address; any other address is an error."""
    found = dict(get_local_schema_cache())
    for path in _FOLDER.glob("*.json"):
        name, _, version = path.stem.partition("-")
        address = f"https://stac-extensions.github.io/{name}/{version}/schema.json"
        found[address] = json.loads(path.read_text(encoding="utf-8"))
    for schema in found.values():
        schema.pop("$id", None)  # some say another version's
    return Registry().with_resources(
        (address, Resource(schema, DRAFT7)) for address, schema in found.items()
    )


def faults(item: dict[str, Any]) -> list[str]:
    """What the schemas of STAC and of each extension that an item names find wrong."""
    if item["stac_version"] != "1.1.0":
        raise ValueError(f"there are schemas of STAC 1.1.0, not of {item['stac_version']}")
    found = []
    for address in (_CORE, *item["stac_extensions"]):
        checked = Draft7Validator({"$ref": address}, registry=_registry())
        found += [
            f"{address}: {error.json_path} {error.message}" for error in checked.iter_errors(item)
        ]
    return found
