"""Settings of s3fs: who asks, where, and how patiently.

Strategy.  botocore tries again, with jitter, what was throttled, timed out or cut off; s3fs tries
again a body that ended early.  Neither notices a request that hangs although bytes were sent, so
each request gets an outer deadline, in the class by which aiobotocore sends it.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import HTTPClientError, ReadTimeoutError
from botocore.utils import determine_content_length
from s3fs import S3FileSystem  # type: ignore[import-untyped]

from geocube_ml.spec.storage import StorageSpec

_CONNECT_S = 10.0
_TOO_MANY = 429
_SLOWEST = 200_000  # bytes a second; a line slower than this cannot carry a cube


class PatientSession(AIOHTTPSession):  # type: ignore[misc]  # it is untyped
    """Sends requests with an outer deadline, so many at a time.

    botocore hands over its settings: `timeout` is (to connect, to answer), the second also the
    deadline of a request without a body; `max_pool_connections` bounds what is in flight.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._room = asyncio.Semaphore(kwargs.get("max_pool_connections") or 10)
        self._deadline = max(kwargs.get("timeout") or (60.0,))

    async def __aenter__(self) -> Any:
        await super().__aenter__()
        # s3fs closes the connections of its own loop only, not those of zarr's
        weakref.finalize(self, _close, self._sessions).atexit = False
        return self

    async def send(self, request: Any) -> Any:
        """Send one request; one that hangs counts as timed out, and is tried again by botocore."""
        allowed = self._deadline + _length(request) / _SLOWEST
        async with self._room:  # waiting for room is not hanging
            try:
                response = await asyncio.wait_for(super().send(request), allowed)
            except TimeoutError as error:
                where = request.url.split("?")[0]  # what follows can be a signature
                raise ReadTimeoutError(endpoint_url=where, error=error) from error
        if response.status_code == _TOO_MANY:  # botocore knows it by codes of Amazon's alone
            raise HTTPClientError(error=f"{_TOO_MANY} Too Many Requests")
        return response


def s3_options(url: str, storage: StorageSpec) -> dict[str, Any]:
    """Arguments of `s3fs.S3FileSystem` for an address.

    Parameters
    ----------
    url : str
        ``s3://bucket/...``
    storage : StorageSpec

    Returns
    -------
    dict
        Without any key or token: those are looked up where the request is sent.
    """
    spec = storage.of(url)
    extra = {"ServerSideEncryption": spec.encryption, "SSEKMSKeyId": spec.kms_key}
    options: dict[str, Any] = {
        "anon": spec.anonymous,
        "requester_pays": spec.requester_pays,
        "s3_additional_kwargs": {key: value for key, value in extra.items() if value},
        "config_kwargs": {
            "connect_timeout": min(_CONNECT_S, storage.deadline_s),
            "read_timeout": storage.deadline_s,
            "max_pool_connections": storage.requests,
            "retries": {"mode": "standard", "max_attempts": storage.attempts},
            "http_session_cls": PatientSession,
        },
        "use_listings_cache": False,  # another process may have written
        "skip_instance_cache": False,
    }
    if spec.region:
        options["client_kwargs"] = {"region_name": spec.region}
    for key in ("profile", "endpoint_url"):
        if value := getattr(spec, key):
            options[key] = value
    return options


def forget_clients() -> None:
    """Make new connections from now on, with the keys that the environment has by then.

    s3fs hands out one client for equal settings, and keys are not among them.  Paths that were
    made before keep the client that they have, which is closed when the last of them goes.
    """
    S3FileSystem.clear_instance_cache()


def _close(sessions: dict[Any, aiohttp.ClientSession]) -> None:
    """Close what nobody uses any more, in the loop that it belongs to."""
    for session in sessions.values():
        loop = session._loop
        if not session.closed and loop.is_running():
            closing = session.close()
            try:
                loop.call_soon_threadsafe(loop.create_task, closing)
            except RuntimeError:  # it has just ended
                closing.close()


def _length(request: Any) -> int:
    """Bytes of a request's body; 0 where they are not known."""
    headers = {str(name).lower(): value for name, value in (request.headers or {}).items()}
    for name in ("content-length", "x-amz-decoded-content-length"):
        said = headers.get(name)
        text = said.decode("latin-1") if isinstance(said, bytes) else str(said)
        if text.strip().isdecimal():
            return int(text)
    return determine_content_length(request.body) or 0
