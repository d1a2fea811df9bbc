"""Sends a file in chunks, and goes on with the chunk that a crash cut.

Worked example, of a file of 7,000 rows in chunks of 1,000.

- The checkpoint says 3,000 rows. Crash here, or while the fourth chunk is sent.
- The next run sends rows 3,000 to 3,999, some of them perhaps again: an event's id is made of the
  file and the row, and its time is the one that the checkpoint has, so a copy is known as one.
- The chunk is acknowledged; then the checkpoint says 4,000, written whole.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from lakehouse.core.errors import UsageError, writing
from lakehouse.core.files import write_whole
from lakehouse.core.text import say
from producers.churn import table
from producers.churn.events import BROKEN, of_row, why
from producers.message import Message
from producers.sending import Summary


class Checkpoint(msgspec.Struct, kw_only=True):
    """How far a file was sent to a topic: ``digest`` is that of its bytes, ``rows`` counts them."""

    file: str
    digest: str
    topic: str
    started: datetime
    rows: int = 0


@dataclass(frozen=True)
class Batch:
    """A file to be sent, and the checkpoint beside the lake that says how far it was."""

    path: Path
    place: Path
    topic: str
    size: int
    corrupt: float
    is_kept: bool = True
    """Whether the checkpoint is written."""

    @staticmethod
    def place_of(root: Path, path: Path, topic: str) -> Path:
        """Where the checkpoint of a file and a topic is, in a lake."""
        return root / "produce" / f"churn-{table.digest_of(path)[:16]}-{topic}.json"

    def checkpoint(self, now: datetime, *, anew: bool) -> Checkpoint:
        """What a run before this one left; a new one where there is none, or ``anew``."""
        digest = table.digest_of(self.path)
        fresh = Checkpoint(file=str(self.path), digest=digest, topic=self.topic, started=now)
        if anew or not self.place.exists():
            return fresh
        remedy = "give --anew to send the file from its first row, or another --checkpoint"
        try:
            found = msgspec.json.decode(self.place.read_bytes(), type=Checkpoint)
        except (OSError, msgspec.MsgspecError) as error:
            raise UsageError(str(self.place), f"is no checkpoint: {error}", remedy) from None
        if (found.digest, found.topic) != (digest, self.topic):
            raise UsageError(
                str(self.place),
                f"is of {found.file} as it was, sent to topic {found.topic}",
                remedy,
            )
        return found

    def send(
        self,
        now: datetime,
        count: int | None,
        deliver: Callable[[Iterable[Message]], Summary],
        stop: threading.Event,
        *,
        anew: bool = False,
    ) -> Summary:
        """Send what is left, at most ``count`` rows, a chunk at a time; gives the sum."""
        at = self.checkpoint(now, anew=anew)
        total, first = Summary(), ""
        todo = itertools.islice(self.messages(at), count)
        while not stop.is_set() and (chunk := list(itertools.islice(todo, self.size))):
            done = deliver(chunk)
            _add(total, done)
            first = first or _first_fault(chunk, at.rows)
            if done.failed or done.sent < len(chunk):
                break
            at.rows += len(chunk)
            if self.is_kept:
                with writing(self.place):
                    self.place.parent.mkdir(parents=True, exist_ok=True)
                    write_whole(self.place, msgspec.json.encode(at))
        if not total.sent and at.rows:
            say(f"{self.path}: all {at.rows:,} rows were sent before; --anew sends them again")
        if first:
            say(
                f"{self.path}: {total.by_kind[BROKEN]:,} of {total.sent:,} rows break the contract "
                f"(docs/tables.md, churn) and become dead letters; the first: {first}"
            )
        return total

    def messages(self, at: Checkpoint) -> Iterable[Message]:
        """The messages of the rows that are left."""
        for number, row in enumerate(table.rows(self.path)):
            if number >= at.rows:
                event_id = f"{at.digest[:12]}-{number}-{at.started:%Y%m%d%H%M%S%f}"
                yield of_row(row, event_id, at.started, self.corrupt)


def _first_fault(chunk: Sequence[Message], before: int) -> str:
    """The first row of a chunk that breaks the contract, and why; empty where none does."""
    for number, message in enumerate(chunk, before + 1):
        if message.kind == BROKEN:
            return f"row {number:,}: {why(message)}"
    return ""


def _add(total: Summary, done: Summary) -> None:
    total.sent += done.sent
    total.acknowledged += done.acknowledged
    total.failed += done.failed
    total.seconds += done.seconds
    total.by_kind.update(done.by_kind)
    total.error = done.error or total.error
