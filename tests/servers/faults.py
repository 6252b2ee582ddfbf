"""HTTP servers that log every request and misbehave by a seeded plan.

`Server` answers in threads of the test process.  `Proxy` passes requests on to another
server; `S3Proxy` also knows a listing from a read.  What a client is told to expect is in
`FAULTS`; whether a request gets one is decided by the seed, the request and how often it was
made, so that the order in which concurrent requests arrive changes nothing.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import http.client
import os
import random
import select
import socket
import struct
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = {
    "slow_down": "503 with S3's SlowDown, as when a prefix is asked too often",
    "too_many": "429 with Retry-After: 0",
    "reset": "the connection is reset and the request never reached the server",
    "lost": "the server did what it was asked, then the connection is reset without an answer",
    "reset_body": "the connection is reset in the middle of the body",
    "truncated": "the body ends early, below the length that was announced",
    "hang_put": "the body of a PUT or POST is accepted and never answered",
    "hang_get": "a GET or HEAD is never answered",
}
_BODY = {"reset_body", "truncated"}
_RANDOM = {"uploadId", "sig", "se", "st", "ske", "skt"}  # of the query; new in every run
_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"}


@dataclasses.dataclass(frozen=True)
class Request:
    method: str
    path: str
    """With its query, as it was sent."""
    headers: http.client.HTTPMessage
    body: bytes
    kind: str
    """list, get, head, put, post or delete"""

    @property
    def query(self) -> dict[str, str]:
        query = urllib.parse.urlsplit(self.path).query
        return dict(urllib.parse.parse_qsl(query, keep_blank_values=True))

    @property
    def identity(self) -> tuple[str, ...]:
        """Equal for repetitions of one request, in this run and in the next."""
        path = urllib.parse.urlsplit(self.path).path
        query = sorted((k, v) for k, v in self.query.items() if k not in _RANDOM)
        return (self.method, path, str(query), self.headers.get("Range", ""))


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    length: int | None = None
    """Of the body that a HEAD announces."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of the request log; written before the answer is sent."""

    method: str
    path: str
    kind: str
    status: int
    """0 where no answer was sent."""
    received: int
    """Bytes of the request's body."""
    sent: int
    """Bytes of the answer's body that were sent."""
    fault: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Which requests go wrong, and how."""

    probability: float = 0.0
    faults: Sequence[str] = tuple(FAULTS)
    """Chosen from evenly, among those that fit the request."""
    seed: int = 0
    where: Callable[[Request], bool] | None = None
    """Only these requests; all by default."""
    at_most: int = 2
    """Faults in a row for one request; the next is let through."""
    hang_s: float = 5.0
    """How long a hanging request is held before its connection is closed."""

    def __post_init__(self) -> None:
        if unknown := set(self.faults) - set(FAULTS):
            raise ValueError(f"no such faults: {sorted(unknown)}; there are {sorted(FAULTS)}")


class Gate:
    """Holds requests until it is opened; one whose client has gone is never passed on.

    It lets a test act at a given point of a run, however fast or slow that is.
    """

    def __init__(self, where: Callable[[Request], bool]) -> None:
        self.where = where
        self.held: set[str] = set()
        """Paths of the requests that have come, without their query."""
        self.ports: set[int] = set()
        """From which they have come."""
        self._opened = threading.Event()

    def open(self) -> None:
        """Let all pass, now and later."""
        self._opened.set()

    def passes(self, connection: socket.socket, closing: threading.Event) -> bool:
        """Wait until it is opened; False where the client has gone by then."""
        while not self._opened.wait(0.02) and not closing.is_set():
            if _hung_up(connection):
                return False
        return not _hung_up(connection)


class Server:
    """Runs in threads of this process between ``with`` and its end."""

    def __init__(self, plan: Plan | None = None) -> None:
        self.plan = plan or Plan()
        """May be replaced at any time."""
        self.log: list[Entry] = []
        self._lock = threading.Lock()
        self._seen: collections.Counter[tuple[str, ...]] = collections.Counter()
        self._row: collections.Counter[tuple[str, ...]] = collections.Counter()
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._gates: list[Gate] = []

    def answer(self, request: Request) -> Answer:
        """What a well-behaved server says; for subclasses."""
        raise NotImplementedError

    def kind(self, method: str, path: str) -> str:  # noqa: ARG002  subclasses look at the path
        return method.lower()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def count(self, **wanted: Any) -> int:
        """Log entries with these values, as in ``count(kind="list", status=200)``."""
        return sum(
            all(getattr(entry, name) == value for name, value in wanted.items())
            for entry in list(self.log)
        )

    def counts(self) -> dict[str, int]:
        """Requests by kind."""
        return dict(collections.Counter(entry.kind for entry in list(self.log)))

    def injected(self) -> dict[str, int]:
        """Faults by name."""
        return dict(collections.Counter(e.fault for e in list(self.log) if e.fault))

    def clear(self) -> None:
        """Forget the log, and which requests were made before."""
        with self._lock:
            self.log.clear()
            self._seen.clear()
            self._row.clear()

    @contextlib.contextmanager
    def faults(self, probability: float = 1.0, **plan: Any) -> Iterator[None]:
        """Another `Plan` within the block."""
        before, self.plan = self.plan, Plan(probability=probability, **plan)
        try:
            yield
        finally:
            self.plan = before

    @contextlib.contextmanager
    def gate(self, where: Callable[[Request], bool]) -> Iterator[Gate]:
        """Hold these requests until the gate is opened, or the block ends."""
        gate = Gate(where)
        self._gates.append(gate)
        try:
            yield gate
        finally:
            self._gates.remove(gate)
            gate.open()

    def __enter__(self) -> Any:
        self._http = _Listener(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._http.shutdown()
        self._thread.join()
        closed = threading.Event()
        closing = threading.Thread(target=self._hang_up, args=(closed,), daemon=True)
        closing.start()
        self._http.server_close()  # waits for the threads that answer
        closed.set()
        closing.join()

    def _hang_up(self, closed: threading.Event) -> None:
        """End what waits for the next request, also what was accepted at the last moment."""
        while not closed.wait(0.02):
            with self._lock:
                held = list(self._open)
            for connection in held:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _choose(self, request: Request, plan: Plan) -> str | None:
        name = request.identity
        with self._lock:
            nth = self._seen[name]
            self._seen[name] += 1
            possible = [fault for fault in plan.faults if _fits(fault, request)]
            rng = random.Random(f"{plan.seed} {name} {nth}")
            if not (
                possible
                and rng.random() < plan.probability
                and self._row[name] < plan.at_most
                and (plan.where is None or plan.where(request))
            ):
                self._row[name] = 0
                return None
            self._row[name] += 1
            return rng.choice(possible)

    def _gate(self, request: Request, port: int) -> Gate | None:
        """The gate that holds it; asked once for each request."""
        with self._lock:
            for gate in self._gates:
                if gate.where(request):
                    gate.held.add(urllib.parse.urlsplit(request.path).path)
                    gate.ports.add(port)
                    return gate
        return None

    def _note(self, request: Request, status: int, sent: int, fault: str | None) -> None:
        entry = Entry(
            method=request.method,
            path=request.path,
            kind=request.kind,
            status=status,
            received=len(request.body),
            sent=sent,
            fault=fault,
        )
        with self._lock:
            self.log.append(entry)


class Proxy(Server):
    """Passes requests on unchanged, also their Host, on which S3's signatures depend."""

    def __init__(self, upstream: str, plan: Plan | None = None) -> None:
        super().__init__(plan)
        self.upstream = urllib.parse.urlsplit(upstream)

    def answer(self, request: Request) -> Answer:
        there = http.client.HTTPConnection(str(self.upstream.hostname), self.upstream.port)
        with contextlib.closing(there):
            there.putrequest(
                request.method, request.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in request.headers.items():
                # the body is here already, and whole
                if name.lower() not in _HOP | {"expect", "transfer-encoding", "content-length"}:
                    there.putheader(name, value)
            if request.body or request.method in ("PUT", "POST"):
                there.putheader("Content-Length", str(len(request.body)))
            there.endheaders(request.body or None)
            got = there.getresponse()
            body = got.read()
            dropped = _HOP | {"transfer-encoding", "content-length"}
            headers = [(k, v) for k, v in got.getheaders() if k.lower() not in dropped]
            announced = got.getheader("Content-Length") if request.method == "HEAD" else None
            return Answer(got.status, headers, body, int(announced) if announced else None)


class S3Proxy(Proxy):
    """In front of an S3 server; `kind` tells listings from reads."""

    def kind(self, method: str, path: str) -> str:
        parts = urllib.parse.urlsplit(path)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        no_key = not parts.path.strip("/").partition("/")[2]
        if method == "GET" and (no_key or {"list-type", "delimiter", "uploads"} & set(query)):
            return "list"
        if method == "POST" and "delete" in query:  # many keys at once
            return "delete"
        return method.lower()


def _hung_up(connection: socket.socket) -> bool:
    """Whether the client has given up, or is dead."""
    try:
        readable, _, _ = select.select([connection], [], [], 0)
        return bool(readable) and not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


def _fits(fault: str, request: Request) -> bool:
    if fault == "hang_put":
        return request.method in ("PUT", "POST")
    if fault == "hang_get":
        return request.method in ("GET", "HEAD")
    return fault not in _BODY or request.method == "GET"


_XML = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code><Message>{}</Message></Error>'
_REFUSALS = {
    "slow_down": Answer(
        503,
        [("Content-Type", "application/xml")],
        _XML.format("SlowDown", "Please reduce your request rate.").encode(),
    ),
    "too_many": Answer(
        429,
        [("Content-Type", "application/xml"), ("Retry-After", "0")],
        _XML.format("TooManyRequests", "Please reduce your request rate.").encode(),
    ),
}


class _Listener(ThreadingHTTPServer):
    daemon_threads = False  # joined by server_close
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # clients may leave when they like
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    owner: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        with self.owner._lock:
            self.owner._open.add(self.connection)

    def finish(self) -> None:
        with self.owner._lock:
            self.owner._open.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        owner, plan = self.owner, self.owner.plan
        request = Request(
            method=self.command,
            path=self.path,
            headers=self.headers,  # type: ignore[arg-type]
            body=self._body(),
            kind=owner.kind(self.command, self.path),
        )
        gate = owner._gate(request, self.client_address[1])
        if gate is not None and not gate.passes(self.connection, owner._closing):
            self.close_connection = True
            return None
        fault = owner._choose(request, plan)

        if fault in _REFUSALS:
            return self._send(request, _REFUSALS[fault], fault)
        if fault == "reset":
            owner._note(request, 0, 0, fault)
            return self._reset()
        if fault in ("hang_put", "hang_get"):
            owner._note(request, 0, 0, fault)
            return self._hang(plan.hang_s)

        try:
            answer = owner.answer(request)
        except (OSError, http.client.HTTPException) as error:
            return self._send(request, Answer(502, body=repr(error).encode()), None)
        if fault == "lost":
            owner._note(request, 0, 0, fault)
            return self._reset()
        if fault in _BODY and len(answer.body) < 2:
            fault = None  # nothing to cut
        return self._send(request, answer, fault)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = do_OPTIONS = do_GET

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def _send(self, request: Request, answer: Answer, fault: str | None) -> None:
        body = b"" if request.method == "HEAD" else answer.body
        length = len(answer.body) if answer.length is None else answer.length
        lines = [
            f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, '')}",
            *(f"{name}: {value}" for name, value in answer.headers),
        ]
        if answer.status not in (204, 304):
            lines.append(f"Content-Length: {length}")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")

        sent = body[: len(body) // 2] if fault in _BODY else body
        self.owner._note(request, answer.status, len(sent), fault)
        self.wfile.write(head + sent)
        if fault == "truncated":
            self.close_connection = True
        elif fault == "reset_body":
            time.sleep(0.1)  # a reset overtakes what the client has not read yet
            self._reset()

    def _reset(self) -> None:
        """Close so that the client's next read fails, instead of ending."""
        self.close_connection = True
        with self.owner._lock:
            self.owner._open.discard(self.connection)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())  # socketserver would say a polite goodbye first

    def _hang(self, seconds: float) -> None:
        self.close_connection = True
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.owner._closing.wait(0.05):
            if _hung_up(self.connection):
                return
