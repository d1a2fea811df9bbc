"""Reads newline-delimited JSON of any site as activity events, in the file's order."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from lakehouse.core.errors import UsageError
from lakehouse.products.activity.contract import Activity
from producers.message import Message
from producers.pacing import EPOCH

FIELDS = ("event_time", "user_id", "page_url", "event_type", "event_id")
LONGEST_LINE = 1 << 20
"""Bytes of one line."""


def mapping(pairs: Sequence[str]) -> dict[str, str]:
    """Field of the event → where a line has it, of words such as ``user_id=actor.login``.

    A field that no word names is taken from the line's field of the same name. UsageError
    where a word is no such pair, or names no field of the event.
    """
    found = {name: name for name in FIELDS}
    for word in " ".join(pairs).split():
        name, is_pair, place = word.partition("=")
        if name not in FIELDS or not is_pair or not place:
            raise UsageError(
                f"--map {word!r}", "is no field of the event, '=' and a field of the file",
                f"use {', '.join(FIELDS)}, as in --map user_id=user page_url=page",
            )  # fmt: skip
        found[name] = place
    return found


def count_lines(path: Path) -> int:
    """How many lines the file has."""
    return sum(1 for _ in _lines(path))


def read(path: Path, fields: Mapping[str, str]) -> Iterator[Message]:
    """Yields one message a line; an event without a type is a page view.

    Times without an offset are taken as UTC. Without an id an event has its address for it.
    A line that is no event is sent as it is, for the contract to judge.
    """
    last = EPOCH
    for number, line in enumerate(_lines(path)):
        message = _message(line, number, fields, last)
        last = message.event_time
        yield message


def _message(line: bytes, number: int, fields: Mapping[str, str], last: datetime) -> Message:
    """The line's event; ``last`` is the event time of a line that has none."""
    try:
        held = msgspec.json.decode(line, type=dict[str, Any])
        found = {name: _at(held, place) for name, place in fields.items()}
        event = {name: value for name, value in found.items() if value is not None}
        event.setdefault("event_type", "page_view")
        time = _time(str(event["event_time"]))
        event["event_time"] = time
        value = msgspec.json.encode(event)
        kept = msgspec.convert({"event_id": "its address", **event}, Activity)
    except (msgspec.MsgspecError, KeyError, ValueError, RecursionError):
        return Message(b"", line, "corrupt:line", str(number), last)
    return Message(kept.user_id.encode(), value, "good", str(number), time)


def _at(held: Any, place: str) -> Any:
    """A field of a line, or of an object in it: ``actor.login``."""
    for name in place.split("."):
        held = held.get(name) if isinstance(held, dict) else None
    return held


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def _lines(path: Path) -> Iterator[bytes]:
    """Each line that is not empty; one that is too long is no line of events."""
    number = 0
    try:
        with _open(path) as file:
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise UsageError(
                        str(path), f"line {number} is longer than {LONGEST_LINE:,} bytes",
                        "name newline-delimited JSON, plain or .gz",
                    )  # fmt: skip
                if line.strip():
                    yield line.strip()
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(
            str(path), f"cannot be read after line {number}: {error}",
            "name newline-delimited JSON, plain or .gz",
        ) from None  # fmt: skip


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")
