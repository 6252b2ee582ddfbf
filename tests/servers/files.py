"""A folder over HTTP, with ranges; with tokens it stands in for Azure's blob storage."""

from __future__ import annotations

import dataclasses
import email.utils
import hashlib
import re
import urllib.parse
from pathlib import Path

from tests.servers.faults import Answer, Plan, Request, Server
from tests.servers.token import Tokens


class Files(Server):
    """Serves the files below a folder, as they are when they are asked for.

    Parameters
    ----------
    folder : its root
    tokens : ask for one of these in the query; the first two parts of a path are then an
        account and a container
    """

    def __init__(
        self, folder: Path, *, tokens: Tokens | None = None, plan: Plan | None = None
    ) -> None:
        super().__init__(plan)
        self.folder = folder.resolve()
        self.tokens = tokens

    def href(self, blob: str) -> str:
        """Where ``https://ACCOUNT.blob.core.windows.net/CONTAINER/KEY?TOKEN`` is found here."""
        parts = urllib.parse.urlsplit(blob)
        account = parts.netloc.partition(".blob.core.windows.net")[0]
        return f"{self.url}/{account}{parts.path}" + (f"?{parts.query}" if parts.query else "")

    def answer(self, request: Request) -> Answer:
        if request.method not in ("GET", "HEAD"):
            return Answer(405, [("Allow", "GET, HEAD")])
        name = urllib.parse.unquote(urllib.parse.urlsplit(request.path).path).lstrip("/")
        if self.tokens is not None:
            account, container, *_ = [*name.split("/"), "", ""]
            if not self.tokens.opens(account, container, request.query):
                return _error(403, "AuthenticationFailed")
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder) or not path.is_file():
            return _error(404, "BlobNotFound")
        return _ranged(path, request)


class Azure(Files):
    """Azure's blob storage, for a GDAL that sends its requests through this as its proxy."""

    def answer(self, request: Request) -> Answer:
        here = urllib.parse.urlsplit(self.href(request.path))
        path = f"{here.path}?{here.query}" if here.query else here.path
        return super().answer(dataclasses.replace(request, path=path))


def _ranged(path: Path, request: Request) -> Answer:
    content = path.read_bytes()
    headers = [
        ("Accept-Ranges", "bytes"),
        ("Content-Type", "application/octet-stream"),
        ("ETag", f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'),
        ("Last-Modified", email.utils.formatdate(path.stat().st_mtime, usegmt=True)),
    ]
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
    if asked is None or asked.groups() == ("", ""):  # several ranges at once are not needed
        return Answer(200, headers, content)

    size = len(content)
    first, last = asked.groups()
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if not start < stop:
        return Answer(416, [*headers, ("Content-Range", f"bytes */{size}")])
    headers.append(("Content-Range", f"bytes {start}-{stop - 1}/{size}"))
    return Answer(206, headers, content[start:stop])


def _error(status: int, code: str) -> Answer:
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code></Error>'
    return Answer(
        status, [("Content-Type", "application/xml"), ("x-ms-error-code", code)], body.encode()
    )
