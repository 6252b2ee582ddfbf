"""Who reads from S3 and where, as the AWS tools find it, in GDAL's words.

GDAL looks for keys itself, but knows neither ``AWS_ENDPOINT_URL`` nor an endpoint in
``~/.aws/config``, nor every kind of login.  botocore knows all of it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore.exceptions import BotoCoreError

from geocube_ml.errors import AccessError
from geocube_ml.files import redacted
from geocube_ml.spec.storage import S3Spec, StorageSpec

HOW = (
    "Keys, profile and endpoint are taken as the AWS tools take them (AWS_PROFILE, "
    "AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ~/.aws, the machine's role); `storage.s3` in the recipe "
    "sets them by bucket, `anonymous: true` for public data."
)


@dataclass(frozen=True)
class _Found:
    """What botocore found; its credentials renew themselves."""

    seen: tuple[Any, ...]
    endpoint_url: str
    region: str
    ca_bundle: str | None
    credentials: Any


_found: dict[S3Spec, _Found] = {}
_lock = threading.Lock()


def aws_options(url: str, storage: StorageSpec) -> dict[str, str]:
    """GDAL's options for an ``s3://`` address; they hold the keys.

    All are given, also those that are as usual: what another thread or the environment says must
    not show through.

    Raises
    ------
    AccessError
        No keys were found, or they could not be had.
    """
    spec, bucket = storage.of(url), urlsplit(url).netloc
    found = _asked(url, lambda: _find(spec))
    endpoint = urlsplit(found.endpoint_url)
    amazon = endpoint.netloc in ("s3.amazonaws.com", f"s3.{found.region}.amazonaws.com")
    options = {
        # GDAL puts the region into this name by itself
        "AWS_S3_ENDPOINT": "s3.amazonaws.com"
        if amazon
        else endpoint.netloc + endpoint.path.rstrip("/"),
        "AWS_HTTPS": "NO" if endpoint.scheme == "http" else "YES",
        # other stores have seldom a name for each bucket; no certificate covers one with a dot
        "AWS_VIRTUAL_HOSTING": "TRUE" if amazon and "." not in bucket else "FALSE",
        "AWS_REGION": found.region,
        "AWS_REQUEST_PAYER": "requester" if spec.requester_pays else "",
        "AWS_NO_SIGN_REQUEST": "YES" if spec.anonymous else "NO",
    }
    if found.ca_bundle:
        options["GDAL_CURL_CA_BUNDLE"] = found.ca_bundle
    if spec.anonymous:
        return options
    if found.credentials is None:
        raise AccessError(f"No keys were found to read {url} with. {HOW}")
    keys = _asked(url, found.credentials.get_frozen_credentials)
    return options | {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_SESSION_TOKEN": keys.token or "",
    }


def _find(spec: S3Spec) -> _Found:
    seen = _surroundings()
    with _lock:
        known = _found.get(spec)
        if known is not None and known.seen == seen:
            return known
        session = botocore.session.Session(profile=spec.profile)
        # its settings are spread over environment and files; a client has applied the rules
        client = session.create_client(
            "s3", region_name=spec.region, endpoint_url=spec.endpoint_url,
            aws_access_key_id="none", aws_secret_access_key="none",
        )  # fmt: skip
        credentials = None if spec.anonymous else session.get_credentials()
        known = _Found(
            seen, client.meta.endpoint_url, client.meta.region_name or "us-east-1",
            session.get_config_variable("ca_bundle"), credentials,
        )  # fmt: skip
        client.close()
        if credentials is not None or spec.anonymous:
            _found[spec] = known
        return known


def _surroundings() -> tuple[Any, ...]:
    """What botocore looks at when a session begins: if it changes, another must begin."""
    said = tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith("AWS_")))
    home = Path("~").expanduser()
    files = (
        os.environ.get("AWS_CONFIG_FILE") or home / ".aws" / "config",
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials",
    )
    return said, tuple(_changed(Path(file).expanduser()) for file in files)


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _asked(url: str, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except (BotoCoreError, ValueError) as error:  # an endpoint that is no URL is a ValueError
        said = redacted(str(error))
    raise AccessError(f"{url} cannot be read: {said.rstrip('.')}. {HOW}")
