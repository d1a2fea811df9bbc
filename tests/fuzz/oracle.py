"""What a record of sales must become, by Python's json and Decimal alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
TOLERANCE = timedelta(minutes=5)
DEEPEST = 100
_HALF = re.compile("[\ud800-\udfff]")
_CODES = """
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP
BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP
GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR
KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK
MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR
SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS
UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG
"""
CURRENCIES = frozenset(_CODES.split())


class Broken(Exception):  # it is a finding about a record, no error
    """The record keeps no contract; why."""


@dataclass(frozen=True)
class Number:
    """A JSON number as it is written."""

    text: str


def refuse(what: str) -> Any:
    """No JSON: NaN and the infinities."""
    raise Broken(what)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, value in pairs:
        _check_text(name)
        _check_texts(value)
    return dict(pairs)


def _check_texts(value: Any) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item)


def _check_text(text: str) -> None:
    if not text.isascii() and _HALF.search(text):
        raise Broken("half a surrogate pair")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=Number, parse_int=Number, parse_constant=refuse
)


def parse(text: str) -> Any:
    """Any JSON; an object as a dict in which the last of doubled names stands."""
    if _depth(text) > DEEPEST:
        raise Broken("too deep")
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise Broken(str(error)) from None
    _check_texts(value)
    return value


def parse_bytes(value: bytes) -> Any:
    """JSON in UTF-8 without a byte order mark."""
    try:
        return parse(value.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Broken(str(error)) from None


def _depth(text: str) -> int:
    """How deep brackets stand within each other, outside of texts."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return 0
    deepest = depth = 0
    in_text = escaped = False
    for char in text:
        if escaped:
            escaped = False
        elif in_text:
            escaped, in_text = char == "\\", char != '"'
        elif char == '"':
            in_text = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


Check = Callable[[Any], Any]


def text(value: Any) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise Broken("no text")
    return value


def some_text(value: Any) -> str:
    """Text that is not empty."""
    if not text(value):
        raise Broken("empty")
    return str(value)


def one_of(allowed: frozenset[str]) -> Check:
    """One of these texts."""

    def check(value: Any) -> str:
        if text(value) not in allowed:
            raise Broken("not allowed")
        return str(value)

    return check


def or_null(check: Check) -> Check:
    """Null, or what the check takes."""
    return lambda value: None if value is None else check(value)


def whole(least: int, most: int) -> Check:
    """A whole number, written without a point or an exponent."""

    def check(value: Any) -> int:
        if not isinstance(value, Number) or set(value.text) & set(".eE"):
            raise Broken("no whole number")
        if len(value.text) > 30 or not least <= int(value.text) <= most:
            raise Broken("out of range")
        return int(value.text)

    return check


def quantity(value: Any) -> int:
    """Pieces: within a billion, and not none."""
    number = whole(-(10**9), 10**9)(value)
    if number == 0:
        raise Broken("zero")
    return int(number)


_EXPONENT = re.compile(r"[eE]([+-]?)0*([0-9]*)$")


def price(value: Any) -> Decimal:
    """A number with 12 digits before the point and 4 after it, exactly."""
    if not isinstance(value, Number):
        raise Broken("no number")
    written = value.text
    exponent = _EXPONENT.search(written)
    if exponent and len(exponent[2]) > 9:  # beyond what Decimal takes: only zero is still a price
        if Decimal(written[: exponent.start()]):
            raise Broken("an exponent too far")
        return Decimal("0.0000")
    number = Decimal(written)
    if number < 0 or number >= 10**12:
        raise Broken("out of range")
    rounded = number.quantize(Decimal("0.0001"))
    if rounded != number:
        raise Broken("more than 4 decimals")
    return abs(rounded)


_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))"
)


def time(value: Any) -> datetime:
    """A time with an offset, as UTC, in microseconds, half of one rounded up."""
    parts = _TIME.fullmatch(text(value))
    if parts is None:
        raise Broken("no time")
    year, month, day, hour, minute, second = (int(part) for part in parts.groups()[:6])
    fraction = (parts[7] or "0").ljust(7, "0")
    ahead = timedelta(hours=int(parts[9] or 0), minutes=int(parts[10] or 0))
    if int(parts[9] or 0) > 23 or int(parts[10] or 0) > 59:
        raise Broken("no offset")
    try:
        local = datetime(
            year, month, day, hour, minute, second, int(fraction[:6]),
            timezone(-ahead if parts[8] == "-" else ahead),
        )  # fmt: skip
        return (local + timedelta(microseconds=fraction[6] >= "5")).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Broken(str(error)) from None


def event_time(moment: datetime, kafka_time: datetime) -> datetime:
    """A time of an event: neither long ago nor ahead of Kafka's."""
    if not EARLIEST <= moment <= kafka_time + TOLERANCE:
        raise Broken("not now")
    return moment


SALES: dict[str, Check] = {
    "event_id": some_text,
    "event_time": time,
    "order_id": some_text,
    "client_id": or_null(text),
    "country": some_text,
    "segment": one_of(frozenset({"B2B", "B2C"})),
    "product_id": some_text,
    "product_name": or_null(text),
    "quantity": quantity,
    "unit_price": price,
    "currency": one_of(CURRENCIES),
    "channel": some_text,
}
OPTIONAL = frozenset({"client_id", "product_name"})


def fields(
    found: dict[str, Any], checks: dict[str, Check], optional: frozenset[str]
) -> dict[str, Any]:
    """Every column of an event, and ``extra``: the fields that are not its own, parsed."""
    others = {name: value for name, value in found.items() if name not in checks}
    if any(name.lower() in checks for name in others):
        raise Broken("a name differs in case")
    if any(name not in found for name in checks if name not in optional):
        raise Broken("a field is missing")
    columns = {n: check(found[n]) if n in found else None for n, check in checks.items()}
    return {**columns, "extra": others or None}


def sale(value: bytes | None, kafka_time: datetime) -> dict[str, Any]:
    """The columns of one sale; Broken where the record is none."""
    if value is None:
        raise Broken("a tombstone")
    found = parse_bytes(value)
    if not isinstance(found, dict):
        raise Broken("no object")
    columns = fields(found, SALES, OPTIONAL)
    event_time(columns["event_time"], kafka_time)
    return columns
