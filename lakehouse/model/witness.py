"""What a record of Kafka says, told by Python's own JSON and Decimal: a second witness.

Written apart from the contracts and from what decodes for bronze, from the rulings
alone, so that a fault there is not repeated here. It does not judge limits of time
or size: a record in bronze says what it says. Numbers are kept as the text that the
record has, so that none is rounded on the way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import cached_property, lru_cache
from typing import Any

import pyarrow as pa

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):?(\d\d))",
    re.ASCII,
)
_WHOLE = re.compile(r"-?\d+", re.ASCII)
_HALF = re.compile("[\ud800-\udfff]")
_EPOCH = date(1970, 1, 1).toordinal()
_PLAIN = re.compile(r"\d{1,18}(?:\.\d{1,10})?", re.ASCII)
_PLACES, _WHOLE_DIGITS = 10, 28
"""Digits of money after the point and before it, more than any table has."""


class Number(str):
    """A JSON number as it is written."""

    __slots__ = ()


class Instant(int):
    """A time in microseconds since 1970, where the record does not write it as text."""

    __slots__ = ()


class Broken(ValueError):
    """The record does not say what its product declares."""


@dataclass(frozen=True)
class Raw:
    """One record as Kafka has it; ``time`` is in milliseconds since 1970."""

    partition: int
    offset: int
    time: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class Kind(Enum):
    """What a declared field holds: its Arrow type, and the SQL type that both sides get."""

    TEXT = (pa.string(), "VARCHAR")
    WHOLE = (pa.int64(), "BIGINT")
    MONEY = (pa.decimal128(38, 10), "DECIMAL(38, 10)")
    TIME = (pa.timestamp("us", "UTC"), "TIMESTAMPTZ")
    JSON = (pa.string(), "JSON")

    @property
    def arrow(self) -> pa.DataType:
        """The type of the witness's own column."""
        return self.value[0]

    @property
    def sql(self) -> str:
        """The type to which bronze's column is cast; JSON is compared in its canonical form."""
        return str(self.value[1])


@dataclass(frozen=True)
class Witness:
    """A product's fields, and how its record's JSON object is found."""

    fields: Mapping[str, Kind]
    required: frozenset[str]
    event: Callable[[Raw], dict[str, Any]]

    def tell(self, record: Raw) -> list[Any]:
        """The values of the fields in their order, then ``extra``; raises Broken."""
        try:
            return self._tell(record)
        except RecursionError:
            raise Broken("nested too deeply") from None

    def _tell(self, record: Raw) -> list[Any]:
        event = self.event(record)
        values: list[Any] = []
        for name, read, is_required in self._readers:
            value = event.pop(name, None)
            if value is not None:
                values.append(read(name, value))
            elif is_required:
                raise Broken(f"{name!r} is missing")
            else:
                values.append(None)
        values.append(canonical(event) if event else None)
        return values

    @cached_property
    def _readers(self) -> list[tuple[str, Callable[[str, Any], Any], bool]]:
        return [(name, _READ[kind], name in self.required) for name, kind in self.fields.items()]


def whole_value(record: Raw) -> dict[str, Any]:
    """The event of a record whose value is the event."""
    return parse_object(record.value)


def parse(text: str) -> Any:
    """A JSON value, numbers as they are written; raises Broken."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise Broken(f"no plain JSON: {error}") from None


def parse_object(value: bytes | None) -> dict[str, Any]:
    """A JSON object; raises Broken."""
    if value is None:
        raise Broken("the value is null")
    try:
        found = parse(value.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Broken(f"not UTF-8: {error}") from None
    if not isinstance(found, dict):
        raise Broken("no JSON object")
    return found


def canonical(value: Any) -> str:
    """A JSON value as text that is the same for the same value: sorted, without blanks."""
    if isinstance(value, Number):
        return value
    if isinstance(value, dict):
        pairs = (f"{json.dumps(name)}:{canonical(value[name])}" for name in sorted(value))
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return json.dumps(value)


def canonical_text(text: str) -> str:
    """The canonical form of JSON text; of other text what is wrong with it."""
    try:
        return canonical(parse(text))
    except (Broken, RecursionError) as error:
        return str(error)


def _constant(name: str) -> Any:
    raise Broken(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_constant)


def _text(name: str, value: Any) -> str:
    if type(value) is not str:
        raise Broken(f"{name!r} is no text")
    if not value.isascii() and _HALF.search(value):
        raise Broken(f"{name!r} has half a surrogate pair")
    return value


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, Number) or not _WHOLE.fullmatch(value):
        raise Broken(f"{name!r} is no whole number")
    if len(value) > 20 or not -(2**63) <= int(value) < 2**63:
        raise Broken(f"{name!r} is too large")
    return int(value)


def _money(name: str, value: Any) -> Decimal:
    if not isinstance(value, Number):
        raise Broken(f"{name!r} is no number")
    if _PLAIN.fullmatch(value):
        return Decimal(value)
    try:
        sign, digits, exponent = Decimal(value).as_tuple()
    except InvalidOperation:
        if not Decimal(re.split("[eE]", value)[0]):
            return Decimal(0)  # whatever its exponent
        raise Broken(f"{name!r} has too large an exponent") from None
    text = "".join(map(str, digits))
    bare = text.rstrip("0")
    places = int(exponent) + len(text) - len(bare)
    if not bare:
        return Decimal(0)
    if places < -_PLACES or len(bare) + places > _WHOLE_DIGITS:
        raise Broken(f"{name!r} has too many digits")
    shifted = str(int(bare) * 10 ** (places + _PLACES))
    return Decimal((sign, tuple(map(int, shifted)), -_PLACES))


def _time(name: str, value: Any) -> int:
    """Microseconds since 1970 in UTC; a finer fraction is rounded, half of one up."""
    if isinstance(value, Instant):
        return value
    found = _TIME.fullmatch(value) if type(value) is str else None
    if found is None:
        raise Broken(f"{name!r} is no RFC 3339 time")
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = found.groups()
    try:
        days = _days(year, month, day)
    except ValueError:
        raise Broken(f"{name!r} is no date") from None
    seconds = ((days * 24 + int(hour)) * 60 + int(minute)) * 60 + int(second)
    if sign:
        ahead = (int(hours) * 60 + int(minutes)) * 60
        seconds += -ahead if sign == "+" else ahead
    micros = 0
    if fraction:
        micros = int(fraction[:6].ljust(6, "0")) + (fraction[6:7] >= "5")
    return seconds * 1_000_000 + micros


def _json(_: str, value: Any) -> str:
    return canonical(value)


@lru_cache(4096)
def _days(year: str, month: str, day: str) -> int:
    return date(int(year), int(month), int(day)).toordinal() - _EPOCH


_READ: dict[Kind, Callable[[str, Any], Any]] = {
    Kind.TEXT: _text,
    Kind.WHOLE: _whole,
    Kind.MONEY: _money,
    Kind.TIME: _time,
    Kind.JSON: _json,
}
