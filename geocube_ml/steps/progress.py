"""What a person sees of a run: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_QUIET = 5.0  # seconds between two plain lines of one step


class Reporter:
    """Shows the progress of steps, one after the other.

    Parameters
    ----------
    stream : text stream
        A terminal gets bars, anything else lines.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._console = Console(
            file=self._stream, highlight=False, soft_wrap=True, force_jupyter=False
        )
        self._bar: Progress | None = None
        self._step = ""
        self._said = 0.0

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, markup=False)

    def start(self, step: str) -> None:
        """A step begins."""
        self._step, self._said = step, time.monotonic()
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(),
                TimeElapsedColumn(), TextColumn("{task.fields[said]}"),
                console=self._console, transient=True,
            )  # fmt: skip
            self._bar.start()
            self._bar.add_task(step, total=None, said="")

    def note(self, done: int, total: int, said: str = "") -> None:
        """So much of the step is done, and what there is to say of it."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total, said=said)
        elif time.monotonic() - self._said > _QUIET:
            self._said = time.monotonic()
            self.say(f"{self._step} {done} of {total}{said and f': {said}'}")

    def stop(self) -> None:
        """The step ended, well or not."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
