"""Asking web servers patiently: with time-outs, and again where a failure passes."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from pystac_client.stac_api_io import StacApiIO
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import (
    ChunkedEncodingError,
    ConnectionError,
    ContentDecodingError,
    SSLError,
    Timeout,
)

from geocube_ml.spec.storage import StorageSpec

_PASSING = frozenset({429, 500, 502, 503, 504})
_CUT = (ConnectionError, Timeout, ChunkedEncodingError, ContentDecodingError)
_CONNECT_S = 10.0
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 60.0


class PatientAdapter(HTTPAdapter):
    """Sends a request until it is answered whole, at most so many times.

    urllib3's own retries end when the head of an answer is there, so a body that is cut off would
    be tried by nobody.

    Parameters
    ----------
    attempts : int
        How often a request is sent, the first time included.
    """

    def __init__(self, attempts: int) -> None:
        super().__init__(max_retries=0)
        self._attempts = attempts

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        """Send it; again, after a while, what was throttled, timed out or cut off."""
        for attempt in range(1, self._attempts + 1):
            asked: float | None = None
            try:
                response = super().send(request, *args, **kwargs)
                _ = response.content  # read here, where it can be tried again
            except SSLError:
                raise  # a wrong certificate stays wrong
            except _CUT:
                if attempt == self._attempts:
                    raise
            else:
                asked = _retry_after(response)
                if (
                    response.status_code not in _PASSING
                    or attempt == self._attempts
                    or (asked or 0) > _LONGEST_WAIT_S
                ):
                    return response
            time.sleep(_wait(attempt) if asked is None else asked)
        raise AssertionError("attempts is at least 1")


def patient_io(storage: StorageSpec) -> StacApiIO:
    """What reads JSON from web servers; the recipe's `storage` says how patiently.

    Passwords are taken from ``~/.netrc``, as requests does.
    """
    io = StacApiIO(timeout=(_CONNECT_S, storage.deadline_s), max_retries=None)
    for scheme in ("http://", "https://"):
        io.session.mount(scheme, PatientAdapter(storage.attempts))
    return io


def _wait(attempt: int) -> float:
    """Longer from time to time; jitter keeps many clients from coming back at once."""
    longest = min(_FIRST_WAIT_S * 2.0 ** (attempt - 1), _LONGEST_WAIT_S)
    return random.uniform(longest / 2, longest)


def _retry_after(response: Response) -> float | None:
    """Seconds that the server asks to wait, given as a number or as a date."""
    said = response.headers.get("Retry-After", "").strip()
    if said.isdigit():
        return float(said)
    try:
        when = parsedate_to_datetime(said)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max((when - datetime.now(UTC)).total_seconds(), 0.0)
