"""Server processes that end with the test process, however it ends.

Each server runs under a small supervisor: this file, run as a script.  The supervisor asks
four times a second whether its parent is still the test process, and if not it ends the
server's process group.  That was chosen over ``PR_SET_PDEATHSIG``, which fires when the
*thread* that started the server ends, is cleared when the server changes its user (as for
PostgreSQL), and does not reach the server's own children; and over a pipe that closes with
the test process, whose other end every forked child of the test process would hold open.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

POLL_S = 0.25
GRACE_S = 20.0  # for servers that are asked, not killed
_GONE_S = 60.0  # of a process that was killed, on a busy machine


class Process:
    """A running server.

    Parameters
    ----------
    command : its arguments; the first is looked up in PATH
    log : file that takes its standard output and error, appended
    env : its whole environment; ours by default
    end : signal that ends it; killed when it still runs after `GRACE_S`
    user : name of the user it runs as, where we are root
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        end: signal.Signals = signal.SIGKILL,
        user: str = "",
    ) -> None:
        self.command = list(command)
        self.log = log
        script = [sys.executable, "-I", "-S", __file__]
        self._supervisor = subprocess.Popen(
            [*script, str(os.getpid()), end.name, str(log), user, *command],
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is for the tests alone
        )
        assert self._supervisor.stdout is not None
        with self._supervisor.stdout as said:
            pid = said.readline()
        if not pid:
            self._supervisor.wait()
            raise RuntimeError(f"{command[0]} did not start:\n{self.text()[-2000:]}")
        self.pid = int(pid)
        """Of the server itself, not of its supervisor."""

    @property
    def running(self) -> bool:
        return self._supervisor.poll() is None

    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        """``kill -9`` of the server; what is left of its process group is killed too."""
        if self.running:
            os.kill(self.pid, signal.SIGKILL)
            self._supervisor.wait(_GONE_S)

    def stop(self) -> None:
        """End it by its own signal; nothing to do for one that ended."""
        if self.running:
            self._supervisor.terminate()
            self._supervisor.wait(GRACE_S + _GONE_S)


@contextlib.contextmanager
def running(command: Sequence[str], **options: object) -> Iterator[Process]:
    """A `Process` that is stopped at the end of the block."""
    process = Process(command, **options)  # type: ignore[arg-type]
    try:
        yield process
    finally:
        process.stop()


def wait_until(
    ready: Callable[[], bool], *processes: Process, what: str, timeout_s: float = 90
) -> None:
    """Poll `ready`; raise with the end of its log when a process ended or time is up."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        ended = [p for p in processes if not p.running]
        if ended or time.monotonic() > deadline:
            problem = "a server ended" if ended else f"not within {timeout_s} s"
            logs = "\n".join(f"--- {p.log}\n{p.text()[-3000:]}" for p in ended or processes)
            raise RuntimeError(f"{what}: {problem}\n{logs}")
        time.sleep(0.05)


def free_ports(n: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on; held together, so that they differ."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


def _supervise(parent: int, end: str, log: str, user: str, command: list[str]) -> int:
    with open(log, "ab") as out:
        try:
            server = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                process_group=0,
                user=user or None,
                group=user or None,
                extra_groups=[] if user else None,
            )
        except OSError as error:
            out.write(f"{error}\n".encode())
            return 127

    asked = 0.0

    def ask(*_: object) -> None:
        nonlocal asked
        if not asked:
            asked = time.monotonic()
            os.kill(server.pid, signal.Signals[end])

    signal.signal(signal.SIGTERM, ask)
    os.write(sys.stdout.fileno(), f"{server.pid}\n".encode())
    os.close(sys.stdout.fileno())
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(POLL_S)
            break
        if os.getppid() != parent:
            ask()
        if asked and time.monotonic() - asked > GRACE_S:
            server.kill()
    with contextlib.suppress(ProcessLookupError):  # its children, such as a nanny's worker
        os.killpg(server.pid, signal.SIGKILL)
    return 0


if __name__ == "__main__":
    _code = _supervise(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
    os._exit(_code)  # standard output is closed already
