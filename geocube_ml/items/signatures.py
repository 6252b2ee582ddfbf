"""Signed addresses: a signature is a secret that ends, so what is pinned has none.

Addresses on Azure get a new one when they are read; of others only who signed them can make one.
What else is secret in an address, a token or a password, is known by `geocube_ml.files.redacted`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pystac

from geocube_ml.errors import InputError
from geocube_ml.files import redacted

_SIGNATURES = frozenset({"sig", "signature", "x-amz-signature", "x-goog-signature"})
_SIGNED = re.compile(
    r"sig(nature)?|expires|policy|awsaccesskeyid|googleaccessid|key-pair-id|x-(amz|goog)-.*"
    r"|s[evprsti]|spr|srt|skoid|sktid|sk[etsv]|saoid|suoid|scid|sdd|rsc[cdelt]"
)
_RENEWED = ".blob.core.windows.net"


def unsigned(href: str) -> str:
    """An address without the signature in its query.

    Examples
    --------
    >>> unsigned("https://a.blob.core.windows.net/c/B04.tif?st=1&se=2&sig=abc")
    'https://a.blob.core.windows.net/c/B04.tif'
    >>> unsigned("https://tiles.org/preview.png?collection=c&item=i")
    'https://tiles.org/preview.png?collection=c&item=i'
    """
    parts = urlsplit(href)
    pairs = {pair: pair.partition("=")[0].lower() for pair in parts.query.split("&")}
    if _SIGNATURES.isdisjoint(pairs.values()):
        return href
    kept = [pair for pair, name in pairs.items() if not _SIGNED.fullmatch(name)]
    return urlunsplit(parts._replace(query="&".join(kept)))


def unsigned_fields(value: Any) -> Any:
    """JSON of an asset, in which every ``href`` is unsigned."""
    if isinstance(value, dict):
        return {
            key: unsigned(inner)
            if key == "href" and isinstance(inner, str)
            else unsigned_fields(inner)
            for key, inner in value.items()
        }
    return [unsigned_fields(inner) for inner in value] if isinstance(value, list) else value


def check_renewable(items: Iterable[pystac.Item], wanted: Iterable[str] | None = None) -> None:
    """Refuse assets whose address cannot be written down without what is secret or ends.

    Parameters
    ----------
    items : iterable of pystac.Item
    wanted : iterable of str, optional
        Keys of the assets that are read; all by default.

    Raises
    ------
    InputError
        Names the asset, without its signature, key or password.
    """
    keys = None if wanted is None else list(wanted)
    for item in items:
        for key in item.assets if keys is None else keys:
            asset = item.assets[key]
            href, plain = asset.href, unsigned(asset.href)
            which = f"Item {item.id}, asset {key}:"
            if plain != href and not str(urlsplit(href).hostname).endswith(_RENEWED):
                raise InputError(
                    f"{which} {redacted(plain)} comes with a signature in its address, which "
                    "ends, and only who made it can make another. Take the item from its "
                    "catalogue unsigned (as s3://... where it is on S3: keys are taken from the "
                    "environment), or copy the file."
                )
            for address in (plain, *map(unsigned, _hrefs(asset.extra_fields))):
                if "://" in address and redacted(address) != address:
                    raise InputError(
                        f"{which} {redacted(address)} comes with a key or "
                        "password in its address, which would be written down with the item. "
                        "Take the item from its catalogue without it (as s3://... where it is on "
                        "S3: keys are taken from the environment), or copy the file."
                    )


def _hrefs(value: Any) -> Iterator[str]:
    """Every ``href`` in JSON of an asset."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "href" and isinstance(inner, str):
                yield inner
            else:
                yield from _hrefs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _hrefs(inner)
