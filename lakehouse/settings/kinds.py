"""What a key of config.ini may be: durations, topics, paths, counts, and what is wrong with one."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, JsonValue

_UNITS = {
    "ms": 0.001, "millisecond": 0.001, "s": 1, "second": 1, "m": 60, "min": 60, "minute": 60,
    "h": 3600, "hour": 3600, "d": 86400, "day": 86400,
}  # fmt: skip

_LEAST_MB, _MOST_MB = 50, 10**9
_LONGEST = timedelta(days=36_525)
"""A thread can wait so long, and moments that are reckoned with it stay in the calendar."""


def parse_duration(value: object) -> timedelta:
    """``'10 minutes'``, ``'250 ms'``, ``'1 h'`` or ``'0 seconds'`` as a timedelta."""
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)\s*", str(value))
    unit = match.group(2).lower() if match else ""
    unit = unit if unit in _UNITS else unit.removesuffix("s")
    if match is None or unit not in _UNITS:
        raise ValueError("is not a duration: write a number and a unit, as in '10 minutes'")
    with suppress(OverflowError):
        found = timedelta(seconds=float(match.group(1)) * _UNITS[unit])
        if found <= _LONGEST:
            return found
    raise ValueError("is longer than a hundred years")


def _topic_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", value) or value in {".", ".."}:
        raise ValueError("is not a topic name: use letters, digits, '.', '_' and '-'")
    return value


def _table_name(value: str) -> str:
    if not re.fullmatch(r"\w{1,63}\.\w{1,63}", value):
        raise ValueError("is not a table: write schema.table")
    return value


def _path(value: str) -> str:
    """A path that a file system and Delta can have at all."""
    try:
        name = value.encode()
    except UnicodeEncodeError:
        raise ValueError("is not a path in UTF-8") from None
    if value.startswith("~"):
        raise ValueError(
            "begins with '~', which only a shell replaces: write the path whole, or ./~"
        )
    if b"\0" in name or len(name) > 4000 or any(len(part) > 255 for part in name.split(b"/")):
        raise ValueError("is not a path: a name in it is longer than 255 bytes, or holds a NUL")
    return value


def _memory(value: str) -> str:
    """What the engine works with, and can count."""
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)\s?(MB|GB)", value):
        size = float(found[1]) * (1000 if found[2] == "GB" else 1)
        if not _LEAST_MB <= size <= _MOST_MB:
            raise ValueError("is less than 50 MB, or more than 1000000 GB")
    return value


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
_IS_TOPIC = AfterValidator(_topic_name)
Memory = Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s?(MB|GB)$"), AfterValidator(_memory)]
Answer = Annotated[Duration, Field(ge=timedelta(milliseconds=100), le=timedelta(days=1))]
"""How long a service's answer is waited for: clients count it in milliseconds of 31 bits."""
Topic = Annotated[str, _IS_TOPIC]
Root = Annotated[str, AfterValidator(_path)]
TableName = Annotated[str, AfterValidator(_table_name)]
SqlName = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,63}$")]
Optional = BeforeValidator(_empty_is_none)
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Port = Annotated[int, Field(ge=0, le=65_535)]


def topic_keys(section: type[BaseModel]) -> list[str]:
    """The keys of a section that name a topic."""
    fields = section.model_fields.items()
    return [key for key, field in fields if _IS_TOPIC in field.metadata]


def runs_code(how: str) -> dict[str, JsonValue]:
    """Marks a key by which whoever writes config.ini can run code: docs/settings.md lists these."""
    return {"runs_code": how}
