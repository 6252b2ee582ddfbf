"""A stand-in for the Planetary Computer's token service, and the tokens it hands out."""

from __future__ import annotations

import datetime as dt
import json
import threading
import urllib.parse
from collections.abc import Mapping

from tests.servers.faults import Answer, Plan, Request, Server


class Clock:
    """Real time, until a test moves it."""

    def __init__(self) -> None:
        self._offset = dt.timedelta()

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self._offset

    def move(self, seconds: float) -> None:
        """Forward; clients that look at the real time do not notice."""
        self._offset += dt.timedelta(seconds=seconds)


class Tokens:
    """Those handed out: each opens one container of one account until it expires.

    Parameters
    ----------
    clock : decides what has expired
    valid_s : how long a new token is valid; may be changed at any time
    """

    def __init__(self, clock: Clock | None = None, valid_s: float = 3600) -> None:
        self.clock = clock or Clock()
        self.valid_s = valid_s
        self.handed_out: list[tuple[str, str]] = []
        """The account and container of each token, in order."""
        self._expiry: dict[tuple[str, str, str], dt.datetime] = {}
        self._lock = threading.Lock()

    def new(self, account: str, container: str) -> tuple[dt.datetime, str]:
        """An expiry and a query string, without its question mark."""
        now = self.clock.now().replace(microsecond=0)
        expiry = now + dt.timedelta(seconds=self.valid_s)
        with self._lock:
            self.handed_out.append((account, container))
            signature = f"signature+{len(self.handed_out)}/of/{account}="
            self._expiry[account, container, signature] = expiry
        token = {
            "st": _stamp(now - dt.timedelta(days=1)),
            "se": _stamp(expiry),
            "sp": "rl",
            "sv": "2024-05-04",
            "sr": "c",
            "sig": signature,
        }
        return expiry, urllib.parse.urlencode(token)

    def opens(self, account: str, container: str, query: Mapping[str, str]) -> bool:
        """Whether this query string is a token for it that has not expired."""
        with self._lock:
            expiry = self._expiry.get((account, container, query.get("sig", "")))
        return expiry is not None and self.clock.now() < expiry

    def revoke(self) -> None:
        """None of them opens anything any more."""
        with self._lock:
            self._expiry.clear()


class TokenServer(Server):
    """Answers ``/api/sas/v1/token/{account}/{container}`` with a new token each time."""

    def __init__(self, tokens: Tokens | None = None, plan: Plan | None = None) -> None:
        super().__init__(plan)
        self.tokens = tokens or Tokens()

    @property
    def sas_url(self) -> str:
        """What planetary-computer takes as ``PC_SDK_SAS_URL``; it looks only once."""
        return f"{self.url}/api/sas/v1/token"

    @property
    def env(self) -> dict[str, str]:
        return {"PC_SDK_SAS_URL": self.sas_url}

    def answer(self, request: Request) -> Answer:
        parts = urllib.parse.urlsplit(request.path).path.strip("/").split("/")
        if request.method != "GET" or parts[:4] != ["api", "sas", "v1", "token"] or len(parts) != 6:
            return Answer(404, body=b'{"message": "Resource not found"}')
        expiry, token = self.tokens.new(*parts[4:])
        body = json.dumps({"msft:expiry": _stamp(expiry), "token": token})
        return Answer(200, [("Content-Type", "application/json")], body.encode())


def _stamp(time: dt.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
