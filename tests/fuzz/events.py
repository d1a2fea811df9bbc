"""Records drawn by a seed: sales and changes of orders, whole and broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from tests.fuzz import values
from tests.fuzz.values import Make

NEWEST = datetime(2026, 11, 20, 12, tzinfo=UTC)
Fields = list[tuple[str, str]]
"""Names and values as JSON texts; a name may stand there twice."""


@dataclass(frozen=True)
class Fuzzed:
    """One Kafka record, as a broker would hand it out."""

    key: bytes | None
    value: bytes | None
    headers: list[dict[str, Any]]
    time: datetime


def sale(draw: Random) -> Fuzzed:
    """A record of the sales topic."""
    kafka_time = _kafka_time(draw)
    fields = _fields(draw, _sale(kafka_time), {"client_id", "product_name"})
    return Fuzzed(b"k", _bytes(draw, _object(draw, fields)), _HEADERS, kafka_time)


_TEXTS = ('"ab"', '"Zoë"', '"漢字 1"', '"a:b,{c}"', '"x y"', '" "', '"null"', '"-1"', '"\x7f"')


_PLAIN: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("event_id", "order_id", "country", "product_id", "channel"), _TEXTS),
    **dict.fromkeys(("client_id", "product_name"), (*_TEXTS, '""', "null")),
    "event_time": (
        '"2026-11-19T23:59:59.5Z"', '"2024-02-29T00:00:00+00:00"',
        '"2026-11-20T14:30:00.123456+05:30"',
        '"2026-11-01T00:00:00-00:30"',
    ),
    "unit_price": ("0", "0.0001", "12.5", "999999999999.9999", "7"),
}  # fmt: skip


def sale_of_a_habit(draw: Random) -> Fuzzed:
    """A record of the sales topic in one of three orders of fields, spaced or not."""
    kafka_time, habit = _kafka_time(draw), draw.randrange(3)
    fields = []
    for name, make in _sale(kafka_time).items():
        texts = _PLAIN.get(name, ())
        fields.append(f'"{name}"' + (":", ": ")[habit == 1])
        fields[-1] += draw.choice(texts) if texts and draw.random() < 0.97 else make(draw)
    if draw.random() < 0.14:
        del fields[0]  # event_id, which must be there
    fields = (fields, fields[::-1], sorted(fields))[habit]
    value = "{" + (",", ", ")[habit == 1].join(fields) + "}"
    return Fuzzed(b"k", _bytes(draw, value), _HEADERS, kafka_time)


def change(draw: Random) -> Fuzzed:
    """A record of the orders topic: a change in its envelope, or a tombstone."""
    kafka_time = _kafka_time(draw)
    key = f'{{"order_id":{_order_id(draw)}}}'
    if draw.random() < 0.06:
        header = {
            "key": "sequence",
            "value": draw.choice((None, b"", b"\xff", _order(draw).encode())),
        }
        keys = (
            key,
            key,
            key,
            "null",
            "[1]",
            "{}",
            '{"order_id":null}',
            '{"order_id":1,"x":"\udcff"}',
        )
        told = draw.choice(keys).encode("utf-8", "surrogateescape")
        return Fuzzed(told, None, draw.choice(([], [header])), kafka_time)
    envelope = _fields(draw, _envelope(draw, kafka_time), set())
    value = _bytes(draw, _object(draw, envelope))
    return Fuzzed(key.encode("utf-8", "surrogateescape"), value, _HEADERS, kafka_time)


_HEADERS: list[dict[str, Any]] = [{"key": "h", "value": b"v"}]
_ODD = 0.02
"""Share of a record's fields that are broken, each in its own way."""


def _kafka_time(draw: Random) -> datetime:
    return NEWEST - timedelta(milliseconds=draw.randint(0, 10**7))


def _pick(draw: Random, good: Make, *odd: Make) -> str:
    return draw.choice(odd)(draw) if draw.random() < _ODD else good(draw)


def _sale(kafka_time: datetime) -> dict[str, Callable[[Random], str]]:
    segment, currency, quantity = ("B2B", "B2C"), values.CURRENCY, (-(10**9), 10**9)

    def either(good: Make, bad: Make) -> Make:
        return lambda draw: _pick(draw, good, bad)

    name = either(values.text, values.bad_text)
    null = either(lambda draw: draw.choice((values.text(draw), "null", '""')), values.bad_text)
    return {
        "event_id": name,
        "event_time": either(values.time(kafka_time), values.bad_time),
        "order_id": name,
        "client_id": null,
        "country": either(values.COUNTRY, values.bad_text),
        "segment": either(values.enum(segment), values.bad_enum(segment)),
        "product_id": name,
        "product_name": null,
        "quantity": either(values.whole(*quantity), values.bad_whole(*quantity)),
        "unit_price": _price,
        "currency": either(values.enum(currency), values.bad_enum(currency)),
        "channel": name,
    }


def _price(draw: Random) -> str:
    kind = draw.random()
    if kind < 0.8:
        return values.good_price(draw)
    return values.price(draw) if kind < 0.98 else values.bad_number(draw)


def _order_id(draw: Random) -> str:
    big = (-(2**63), 2**63 - 1)
    return _pick(draw, values.whole(*big), values.bad_whole(*big))


def _order(draw: Random) -> str:
    """A source's sequence, as the text of a JSON list."""
    if draw.random() < 0.97:
        return json.dumps([draw.choice((None, str(draw.randint(0, 10**20 - 1)), "0", "007", ""))
                           for _ in range(draw.randint(1, 3))])  # fmt: skip
    return draw.choice(
        ("", "[]", "[1]", '["x"]', '["-1"]', '["' + "9" * 21 + '"]', '["٣"]', "{}", "[")
    )


def _envelope(draw: Random, kafka_time: datetime) -> dict[str, Callable[[Random], str]]:
    def row(draw: Random) -> str:
        return _object(draw, _fields(draw, _row(kafka_time), set()))

    def source(draw: Random) -> str:
        return _object(draw, _fields(draw, _source(kafka_time), {"txId", "lsn"}))

    op = _pick(draw, lambda draw: draw.choice(('"c"', '"u"', '"r"', '"d"')), values.bad_text)
    leaves = op != '"d"'
    return {
        "op": lambda _: op,
        "before": lambda draw: row(draw) if not leaves or draw.random() < 0.3 else "null",
        "after": lambda draw: row(draw) if leaves or draw.random() < 0.1 else "null",
        "source": source,
        "ts_ms": values.ignored,
    }


def _row(kafka_time: datetime) -> dict[str, Callable[[Random], str]]:
    status = ("placed", "preparing", "on_the_way", "delivered", "cancelled")

    def amount(draw: Random) -> str:
        number = _price(draw)
        return f'"{number}"' if draw.random() < 0.8 and '"' not in number else number

    def name(draw: Random) -> str:
        return _pick(draw, values.text, values.bad_text)

    return {
        "order_id": _order_id,
        "customer_name": name,
        "restaurant_name": name,
        "item": name,
        "amount": amount,
        "order_status": lambda draw: _pick(draw, values.enum(status), values.bad_enum(status)),
        "created_at": lambda draw: _pick(draw, values.time(kafka_time), values.bad_time),
    }


def _source(kafka_time: datetime) -> dict[str, Callable[[Random], str]]:
    big = (-(2**63), 2**63 - 1)

    def moment(draw: Random) -> str:
        return str(int(kafka_time.timestamp() * 1000) - draw.randint(-310_000, 10**9))

    def long(draw: Random) -> str:
        return _pick(
            draw, lambda d: d.choice((values.whole(*big)(d), "null")), values.bad_whole(*big)
        )

    return {
        "ts_ms": lambda draw: _pick(draw, moment, values.bad_whole(*big)),
        "sequence": lambda draw: _pick(draw, lambda d: json.dumps(_order(d)), values.others),
        "txId": long,
        "lsn": long,
        "name": values.ignored,
    }


_UNKNOWN = (
    '"new"', '"lsn"', '"before"', '"after.lsn"', '"ключ"', '"a.b"', '" event_id"', '"extra"',
    '"\\u0000"', '"\\ud800"', '""', '"Kafka"', '"topic"', '"verdict"',
)  # fmt: skip


def _fields(draw: Random, makers: dict[str, Callable[[Random], str]], optional: set[str]) -> Fields:
    """Every field, now and then one left out, doubled, renamed, added or in another order."""
    fields = []
    for name, make in makers.items():
        kind = draw.random()
        if kind < 0.004 or (name in optional and kind < 0.2):
            continue
        written = f'"{name}"'
        if 0.994 < kind < 0.997:
            place = draw.randrange(len(name))
            written = f'"{name[:place]}\\u{ord(name[place]):04X}{name[place + 1 :]}"'
        if kind > 0.997:
            written = f'"{draw.choice((name.upper(), name.title(), name.swapcase()))}"'
        fields.append((written, make(draw)))
        if 0.98 < kind < 0.99:
            twice = make(draw) if draw.random() < 0.5 else values.bad_number(draw)
            fields.insert(draw.randint(0, len(fields)), (f'"{name}"', twice))
    if draw.random() < 0.2:
        fields.append((draw.choice(_UNKNOWN), _nested(draw)))
    if draw.random() < 0.2:
        draw.shuffle(fields)
    return fields


def _nested(draw: Random) -> str:
    """Any JSON: values in values, now and then very deep."""
    kind = draw.random()
    if kind < 0.5:
        return draw.choice((values.text, values.price, values.others))(draw)
    if kind < 0.53:
        depths = (300, 990, 995, 1000, 20_000) if draw.random() < 0.1 else (97, 98, 99, 100, 101)
        depth = draw.choice(depths)
        return "[" * depth + "]" * depth
    inner = ",".join(_nested(draw) for _ in range(draw.randint(0, 2)))
    return f"[{inner}]" if kind < 0.8 else f'{{"[{{":{inner.split(",")[0] or 1},"a":1,"a":2}}'


def _object(draw: Random, fields: Fields) -> str:
    """Fields as an object, with JSON's own white space here and there."""
    if draw.random() < 0.7:
        return "{" + ",".join(f"{name}:{value}" for name, value in fields) + "}"
    space = draw.choice((" ", "\n", "\t", "\r\n", "  "))
    inner = f",{space}".join(f"{name}{space}:{space}{value}" for name, value in fields)
    return f"{{{space}{inner}{space}}}"


_WHOLE: tuple[bytes | None, ...] = (
    None,
    b"",
    b" \r\n\t",
    b"null",
    b"1",
    b'"x"',
    b"{}",
    b"\x00",
    b"{",
)


def _bytes(draw: Random, text: str) -> bytes | None:
    """The record's bytes; now and then cut, with a byte changed, or with more at an end."""
    value = text.encode("utf-8", "surrogateescape")
    kind = draw.random()
    if kind > 0.05:
        return value
    if kind < 0.005:
        return draw.choice(_WHOLE)
    if kind < 0.02:
        place = draw.randrange(len(value))
        return value[:place] + bytes([draw.randrange(256)]) + value[place + 1 :]
    if kind < 0.03:
        return value[: draw.randrange(len(value))]
    ends = (
        b"\xef\xbb\xbf%s",
        b"%s\x00",
        b"%s}",
        b" \n%s\r\t ",
        b"[%s]",
        b"%s,",
        b"\x0b%s",
        b"%s%s",
    )
    end = draw.choice(ends)
    return end % ((value,) * end.count(b"%s"))
