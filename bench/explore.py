"""How long an analyst waits: the explorer's start, each analysis, and the way back to events."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from bench.process import python, run
from bench.report import EXPLORE, Target, target_lines
from bench.viewers import TURN_SECONDS, VIEWERS, Viewed, viewed_targets
from lakehouse.cli.asking import opened
from lakehouse.core.errors import TableMissing
from lakehouse.explorer.analyses import analyses
from lakehouse.explorer.arranged import EXACT, counting, profile
from lakehouse.explorer.origin import Origin, origin
from lakehouse.explorer.session import Session
from lakehouse.explorer.trace import arriving, events

ORDERS = 3
"""Events of each client in the lake that is made."""
EVENTS, FIRST = 1_000, 100
USABLE, ANALYSIS, DRILL = 0.7, 0.2, 0.3
_WAIT = 60
_TABLE, _READ = re.compile("by_country"), re.compile(r"\d ms")
_ORDER = re.compile(r"\x1b(\[[0-9;?<=>!]*[ -/]*[@-~]|[PX^_\]].*?(\x1b\\|\x07)|[@-Z\\-_])", re.S)


@dataclass(frozen=True)
class Waited:
    """Seconds of one thing that somebody waits for, in each run."""

    what: str
    seconds: tuple[float, ...]

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.seconds)


@dataclass(frozen=True)
class Explored:
    """A lake of so many events: the start, the first screen of rows, analyses, drill-downs."""

    events: int
    usable: Waited
    first: Waited
    analyses: list[Waited]
    drills: list[Waited]
    whole: list[Waited]
    profile: Waited


def made(root: Path, events: int) -> None:
    """A lake with so many events, and silver of them."""
    clients = max(1, events // ORDERS)
    run(python("bench.peers.follower", "fill", str(root), str(clients), "0"), {}, 1_800)


def explored(root: Path, runs: int, say: Callable[[str], None]) -> Explored:
    """Each measure ``runs`` times on the same lake, one after the other."""
    starts = [_started(root) for _ in range(runs)]
    usable = Waited("the tree of tables", tuple(one for one, _ in starts))
    first = Waited("the first analysis", tuple(two for _, two in starts))
    say(f"  usable in {usable.middle:.2f} s, the first analysis in {first.middle:.2f} s")
    with _session(root) as session:
        asked = [
            Waited(a.name, _times(runs, lambda a=a: session.ask(a.sql)))  # type: ignore[misc]  # the loop's
            for a in analyses(session.catalogue.names())
            if _is_there(session, a.sql)
        ]
        drills = list(_drills(session, runs, lambda o: next(arriving(session, o, EVENTS, FIRST))))
        whole = list(_drills(session, runs, lambda o: events(session, o, EVENTS)))
        statement = "FROM bronze.sales"
        schema = session.ask(statement, 1, is_counted=False).rows.schema
        [count] = session.ask(counting(statement)).rows["rows"].to_pylist()
        described = profile(statement, schema, is_large=count > EXACT)
        told = Waited("a profile of bronze", _times(1, lambda: session.ask(described)))
    return Explored(count, usable, first, asked, drills, whole, told)


def _is_there(session: Session, statement: str) -> bool:
    """Whether the lake has its tables: one that was filled apart has no ledger."""
    try:
        session.ask(statement, 1)
    except TableMissing:
        return False
    return True


@contextmanager
def _session(root: Path) -> Iterator[Session]:
    _, session = opened(None, root, None, None, None)
    with session:
        yield session


def _times(runs: int, work: Callable[[], object]) -> tuple[float, ...]:
    found = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return tuple(found)


def _drills(session: Session, runs: int, ask: Callable[[Origin], object]) -> Iterator[Waited]:
    """From the first row of each silver table to the newest of its events."""
    for name in session.catalogue.names():
        if not name.startswith("silver."):
            continue
        row = session.ask(f"FROM {name}", 1, is_counted=False).rows.to_pylist()[0]
        if found := origin(name, row):
            yield Waited(name, _times(runs, partial(ask, found)))


def _started(root: Path) -> tuple[float, float]:
    """Seconds from the command to the tree of tables, and to the first analysis' rows."""
    began = time.perf_counter()
    child, terminal = pty.fork()
    if child == 0:
        words = [sys.executable, "-m", "lakehouse", "explore", "--root", str(root)]
        os.environ["TERM"] = "xterm-256color"
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # installed packages are compiled
        os.execv(words[0], words)  # noqa: S606  # our own words
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    text, seen = "", [0.0, 0.0]
    try:
        while not all(seen) and time.perf_counter() - began < _WAIT:
            if select.select([terminal], [], [], 0.01)[0]:
                text += os.read(terminal, 65_536).decode("utf-8", "replace")
                shown = _ORDER.sub("", text)
                for place, mark in enumerate((_TABLE, _READ)):
                    if not seen[place] and mark.search(shown):
                        seen[place] = time.perf_counter() - began
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)
    return seen[0], seen[1]


def explore_targets(found: Explored) -> list[Target]:
    """What an analyst may wait at most, on half a million events."""
    slowest = max(found.analyses, key=lambda waited: waited.middle)
    drill = max(found.drills, key=lambda waited: waited.middle)
    analysis = ANALYSIS if found.events < 1_000_000 else 2.0
    return [
        (f"usable in {USABLE} s", f"{found.usable.middle:.2f} s", found.usable.middle <= USABLE),
        (
            f"any analysis in {analysis} s",
            f"{slowest.middle:.2f} s ({slowest.what})", slowest.middle <= analysis,
        ),
        (
            f"back to the events in {DRILL} s",
            f"{drill.middle:.2f} s ({drill.what})", drill.middle <= DRILL,
        ),
    ]  # fmt: skip


def explore_section(found: Explored, seen: Viewed) -> str:
    """The explorer's figures, and the dashboard's."""
    most = max(found.whole, key=lambda waited: waited.middle)
    whole = Waited(f"{most.what}, the newest {EVENTS:,}", most.seconds)
    every = [found.usable, found.first, *found.analyses, *found.drills, whole, found.profile]
    lines = [
        EXPLORE,
        "",
        f"Made by `python -m bench explore`: a lake of {found.events:,} events. From the command "
        "to the tree of tables with keys that work, and to the first analysis; then each analysis, "
        "and from a row of each silver table to the first of its events on the screen and the "
        f"count of all (the slowest also to the newest {EVENTS:,}). Seconds.",
        "",
        "| | median | worst | runs |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {w.what} | {w.middle:.3f} | {max(w.seconds):.3f} | {len(w.seconds)} |"
            for w in every
        ),
    ]
    lines += [
        "",
        f"{VIEWERS} viewers of the dashboard, who come and go every {TURN_SECONDS} s, beside "
        f"sales' flows at {seen.rate:,} events/s; {seen.answers:,} answers. Seconds from Kafka to "
        "silver:",
        "",
        "| | events | p50 | p95 |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {who} | {len(waits):,} | {np.percentile(waits, 50):.3f} | "
            f"{np.percentile(waits, 95):.3f} |"
            for who, waits in (("nobody looks", seen.alone), ("they look", seen.viewed))
        ),
    ]
    targets = explore_targets(found) + viewed_targets(seen)
    return "\n".join([*lines, *target_lines(targets)]) + "\n"
