"""How far long work is: told where it is done, shown on stderr where a verb asks for it.

On a terminal it is a bar with the time left, elsewhere a line now and then.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lakehouse.core.text import NARRATING, narration, printable, say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Tell = Callable[[str, int, int, str], None]
"""What is being done, how much of it is done, of how much (0: nobody knows), and of what unit."""
_EVERY = 10.0
"""Seconds from one line to the next."""
_watching: list[Tell] = []


def advance(what: str, done: int, of: int, unit: str = "rows") -> bool:
    """Tell whoever watches; False where nobody does."""
    for tell in _watching[-1:]:
        tell(what, done, of, unit)
    return bool(_watching)


class Counted:
    """One piece of work of a known size that comes in parts, from any thread.

    It is told of when it begins: from there the time left is reckoned.
    """

    def __init__(self, what: str, of: int, unit: str = "rows") -> None:
        self._what, self._of, self._unit, self.done = what, of, unit, 0
        self._one = threading.Lock()
        if of:
            advance(what, 0, of, unit)

    def add(self, part: int) -> None:
        """Some more of it is done."""
        with self._one:
            self.done += part
            advance(self._what, self.done, max(self.done, self._of), self._unit)


@contextmanager
def told_to(tell: Tell) -> Iterator[None]:
    """Have ``tell`` called with what this process does meanwhile, in whatever thread."""
    _watching.append(tell)
    try:
        yield
    finally:
        _watching.remove(tell)


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[None]:
    """Show how far the block's work is; nothing where ``quiet``, as with ``--json``."""
    if quiet:
        with told_to(lambda *_: None):
            yield
        return
    shown = Bar() if sys.stderr.isatty() else Lines()
    try:
        with told_to(shown.tell):
            yield
    finally:
        shown.end()


class Lines:
    """A line now and then, and one when a piece of work is done."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._told = time.monotonic()

    def tell(self, what: str, done: int, of: int, unit: str) -> None:
        """Say it, unless something was said just now, or nobody knows of how much."""
        now = time.monotonic()
        began = self._began.setdefault(what, now)
        if not of or (done < of and now - self._told < _EVERY):
            return
        self._told = now
        left = (now - began) / done * (of - done) if done else 0.0
        rest = f", about {_span(left)} left" if left >= 1 else ""
        say(f"  {what}: {_told(done, of, unit)}{rest}")

    def end(self) -> None:
        """Nothing is left on the screen."""


class Bar:
    """A bar of the piece of work that is being done, with the time left, below what is said.

    It leaves the screen as soon as the piece is done: what comes on stdout finds none.
    """

    def __init__(self) -> None:
        self._drawn: tuple[str, Progress, TaskID] | None = None
        self._began = 0.0

    def tell(self, what: str, done: int, of: int, unit: str) -> None:
        """Draw it; the piece before, if it was not told to its end, is over."""
        is_over = of > 0 and done >= of
        with NARRATING:
            if self._drawn and (self._drawn[0] != what or is_over):
                self._leave()
            if is_over:
                return
            if self._drawn is None:
                drawn, self._began = _begun(), time.monotonic()
                task = drawn.add_task(printable(what), total=None, told="", until=None)
                self._drawn = what, drawn, task
            _, drawn, task = self._drawn
            now = time.monotonic()
            until = now + (now - self._began) / done * (of - done) if of and done else None
            told = _told(done, of, unit)
            drawn.update(task, completed=done, total=of or None, told=told, until=until)

    def end(self) -> None:
        """Take the bar away: what was done is reported with a clear error."""
        with NARRATING:
            self._leave()

    def _leave(self) -> None:
        if self._drawn:
            self._drawn[1].stop()
        self._drawn = None


def _begun() -> Progress:
    from rich.progress import (  # noqa: PLC0415  # help does without
        BarColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        Task,
        TextColumn,
    )
    from rich.text import Text  # noqa: PLC0415  # likewise

    class Left(ProgressColumn):
        """The time left, from all that was done: rich forgets what is half a minute old."""

        def render(self, task: Task) -> Text:
            """Nothing while nobody can know."""
            left = (task.fields["until"] or 0.0) - time.monotonic()
            return Text(f"{_span(left)} left" if left > 0 else "", style="progress.remaining")

    drawn = Progress(
        TextColumn("{task.description}", markup=False), BarColumn(),
        TextColumn("{task.fields[told]}", markup=False), Left(), SpinnerColumn("line"),
        console=narration(), transient=True, redirect_stdout=False,
    )  # fmt: skip
    drawn.start()
    return drawn


def _told(done: int, of: int, unit: str) -> str:
    """How much of how much; bytes in what a person counts them in."""
    if unit == "bytes":
        return f"{_bytes(done)} of {_bytes(of)}"
    if not of:
        return f"{done:,} {unit}" if done else ""
    return f"{done:,} of {of:,} {unit}"


def _bytes(number: int) -> str:
    for size, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if number >= size:
            return f"{number / size:,.1f} {name}"
    return f"{number:,} bytes"


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
