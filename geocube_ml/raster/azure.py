"""Signatures for Planetary Computer's blobs: made when a blob is read, and kept nowhere.

The planetary-computer package knows where signatures come from; the request is our own, because
the package's has no deadline, and two threads that need one make two.
"""

from __future__ import annotations

import threading
import time
import warnings
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from geocube_ml.errors import AccessError
from geocube_ml.spec.storage import StorageSpec

_HOST = ".blob.core.windows.net"
_OPEN = ("ai4edatasetspublicassets",)  # accounts that the package does not sign for either
_PASSING = (429, 500, 502, 503, 504)
_CONNECT_S = 10.0
_FIRST_WAIT_S = 0.5
_ASK_AGAIN_S = 3600.0  # whether a container is known
_FAILED_S = 10.0  # threads that waited for an answer do not each wait for another


@dataclass(frozen=True)
class Blob:
    """An address in Azure's blob storage, without a signature."""

    account: str
    container: str
    key: str
    """As it is, not as URLs write it."""
    href: str


@dataclass(frozen=True)
class _Signature:
    text: str | None = field(repr=False)
    """None where none is needed."""
    since: float
    until: float

    def lasts(self, seconds: float) -> bool:
        """Whether it does, or was made for less and is in its first half."""
        return _now() + min(seconds, (self.until - self.since) / 2) < self.until


@dataclass
class _Container:
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Those that wait for its signature must not ask again, and nobody else waits."""
    known: _Signature | None = None
    failure: str = ""
    failed: float = 0.0
    """By the monotonic clock."""


_signatures: dict[tuple[str, str], _Container] = {}


def blob_of(href: str) -> Blob | None:
    """The blob that a URL names, be it signed or not; None if it is of another kind.

    Examples
    --------
    >>> blob_of("https://a.blob.core.windows.net/c/33/B%2004.tif?st=1&sig=2").key
    '33/B 04.tif'
    >>> blob_of("https://example.org/c/B04.tif")
    """
    parts = urlsplit(href)
    host = parts.hostname or ""
    container, _, key = parts.path.lstrip("/").partition("/")
    # another query, such as of a snapshot, is part of the address
    named = not parts.query or "sig=" in parts.query
    if parts.scheme != "https" or not host.endswith(_HOST) or not key or not named:
        return None
    plain = parts._replace(query="", fragment="").geturl()
    return Blob(host.removesuffix(_HOST), unquote(container), unquote(key), plain)


def signed_when_read(href: str) -> bool:
    """Whether an address is given a signature each time it is read, so that it needs none."""
    return blob_of(href) is not None


def signature(blob: Blob, storage: StorageSpec, refused: str | None = None) -> str | None:
    """What is put behind a blob's address, from Planetary Computer.

    Parameters
    ----------
    blob : Blob
    storage : StorageSpec
        How patiently it is asked for.  A signature is renewed so early that it lasts for all
        attempts of a request.
    refused : str, optional
        One that the store did not take: not given again.

    Returns
    -------
    str or None
        A query string without its question mark; None where Planetary Computer does not know the
        container, which may be public.

    Raises
    ------
    AccessError
        None could be had.
    """
    if blob.account in _OPEN:
        return None
    of = _signatures.setdefault((blob.account, blob.container), _Container())
    with of.lock:
        known = of.known
        lasts = known is not None and known.lasts(storage.attempts * storage.deadline_s)
        if known is None or not lasts or (refused is not None and known.text == refused):
            if of.failure and time.monotonic() - of.failed < _FAILED_S:
                raise AccessError(of.failure)
            try:
                known = of.known = _asked(blob, storage)
            except AccessError as error:
                of.failure, of.failed = str(error), time.monotonic()
                raise
        return known.text


def _asked(blob: Blob, storage: StorageSpec) -> _Signature:
    settings, token_type = _planetary_computer()
    url = f"{settings.sas_url}/{blob.account}/{blob.container}"
    key = settings.subscription_key
    headers = {"Ocp-Apim-Subscription-Key": key} if key else {}
    timeout = (min(_CONNECT_S, storage.deadline_s), storage.deadline_s)

    def ask() -> requests.Response:
        # the key would follow a redirect to wherever it leads
        return requests.get(url, headers=headers, timeout=timeout, allow_redirects=False)

    def give_up(state: RetryCallState) -> requests.Response | None:
        assert state.outcome is not None  # noqa: S101  there was an attempt
        return None if state.outcome.failed else state.outcome.result()

    asking = Retrying(
        retry=retry_if_exception_type(requests.RequestException)
        | retry_if_result(lambda response: response.status_code in _PASSING),
        wait=wait_random_exponential(multiplier=_FIRST_WAIT_S, max=8),
        stop=stop_after_attempt(storage.attempts) | stop_after_delay(storage.deadline_s),
        retry_error_callback=give_up,
    )
    now = _now()
    response: requests.Response | None = asking(ask)
    if response is not None and response.status_code == 404:
        return _Signature(None, now, now + _ASK_AGAIN_S)
    if response is not None and response.status_code == 200:
        try:
            token = token_type.model_validate(response.json())
        except ValueError:  # of JSON, and of pydantic: its text would hold the signature
            said = "its answer is not a signature"
        else:
            return _Signature(token.token, now, token.expiry.timestamp())
    else:
        said = "no answer" if response is None else f"it says {response.status_code}"
    raise AccessError(
        f"No signature for {blob.account}/{blob.container} could be had from {url} ({said}). "
        "Look whether the network reaches it; PC_SDK_SAS_URL names another address, "
        "PC_SDK_SUBSCRIPTION_KEY a key."
    )


def _planetary_computer() -> tuple[Any, Any]:
    """Its settings, and its type of signatures; imported here because it looks only once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # written for an older pydantic
        from planetary_computer.sas import SASToken  # noqa: PLC0415
        from planetary_computer.settings import Settings  # noqa: PLC0415
    return Settings.get(), SASToken


def _now() -> float:
    return time.time()
