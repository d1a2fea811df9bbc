"""What a record of orders must become: the same oracle, for a change in its envelope."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.fuzz.oracle import (
    Broken,
    Check,
    Number,
    event_time,
    fields,
    one_of,
    or_null,
    parse,
    parse_bytes,
    price,
    text,
    time,
    whole,
)

_ROW: dict[str, Check] = {
    "customer_name": text,
    "restaurant_name": text,
    "item": text,
    "amount": price,
    "order_status": one_of(
        frozenset({"placed", "preparing", "on_the_way", "delivered", "cancelled"})
    ),
    "created_at": time,
}
_LONG = whole(-(2**63), 2**63 - 1)
_OWN = ("event_id", "event_time", "op", "sequence", "lsn", "xid", "before")
_AMOUNT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NOTHING: dict[str, Any] = dict.fromkeys([*_ROW, "sequence", "lsn", "xid", "before", "extra"])


def change(
    key: bytes | None, value: bytes | None, headers: list[dict[str, Any]], kafka_time: datetime
) -> dict[str, Any]:
    """The columns of one change, ``before`` and ``extra`` parsed; Broken where it is none."""
    if value is None:
        return _tombstone(key, headers, kafka_time)
    envelope = parse_bytes(value)
    if not isinstance(envelope, dict) or not isinstance(source := envelope.get("source"), dict):
        raise Broken("no envelope")
    op = one_of(frozenset("cudr"))(envelope.get("op"))
    before, after = envelope.get("before"), envelope.get("after")
    if not (after is None or isinstance(after, dict)) or (after is None and op != "d"):
        raise Broken("no row")
    row = after if op != "d" else before
    if not isinstance(row, dict) or "order_id" not in row:
        raise Broken("no key")
    order = sequence(text(source.get("sequence")))
    moment = _moment(_LONG(source.get("ts_ms")))
    columns = {
        **_NOTHING,
        "event_id": f"{_written(row['order_id'])}@{order}",
        "event_time": event_time(moment, kafka_time),
        "op": op,
        "order_id": _LONG(row["order_id"]),
        "sequence": order,
        "lsn": or_null(_LONG)(source.get("lsn")),
        "xid": or_null(_LONG)(source.get("txId")),
        "before": before,
    }
    if op != "d":
        columns |= _columns(row)
    return columns


def _columns(after: dict[str, Any]) -> dict[str, Any]:
    """The row's own columns, and others under ``extra``, also those named as the change's."""
    named = {(f"after.{name}" if name in _OWN else name): v for name, v in after.items()}
    amount = named.get("amount")
    if isinstance(amount, str) and _AMOUNT.fullmatch(amount):
        named["amount"] = Number(amount)
    taken = {"order_id": lambda _: None, **dict.fromkeys(_OWN, text)}
    found = fields({**dict.fromkeys(_OWN, ""), **named}, {**_ROW, **taken}, frozenset())
    return {name: found[name] for name in [*_ROW, "extra"]}


def _tombstone(
    key: bytes | None, headers: list[dict[str, Any]], kafka_time: datetime
) -> dict[str, Any]:
    row = parse_bytes(key or b"null")
    if not isinstance(row, dict) or "order_id" not in row:
        raise Broken("no key")
    given = [h["value"] for h in headers if h["key"] == "sequence" and h["value"]]
    order = sequence(given[0].decode("utf-8", "replace")) if given else None
    return {
        **_NOTHING,
        "event_id": f"{_written(row['order_id'])}@{order or kafka_time.isoformat()}#",
        "event_time": event_time(kafka_time, kafka_time),
        "op": "t",
        "order_id": _LONG(row["order_id"]),
        "sequence": order,
    }


def _written(value: Any) -> str:
    return value.text if isinstance(value, Number) else ""


def sequence(written: str) -> str:
    """A list of numbers as text, each of up to 20 digits, as text that sorts as they do."""
    numbers = parse(written)
    if not isinstance(numbers, list) or not numbers:
        raise Broken("no list")
    if not all(n is None or isinstance(n, str) for n in numbers):
        raise Broken("no texts")
    digits = [number or "0" for number in numbers]
    if not all(re.fullmatch("[0-9]{1,20}", number) for number in digits):
        raise Broken("no numbers")
    return "-".join(number.rjust(20, "0") for number in digits)


def _moment(ms: int) -> datetime:
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    except OverflowError as error:
        raise Broken(str(error)) from None
