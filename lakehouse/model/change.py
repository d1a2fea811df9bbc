"""The change of a row as Kafka carries it, whatever the table.

The envelope is Debezium's, as its Postgres connector writes it with
``value.converter.schemas.enable=false`` and ``decimal.handling.mode=string``: a
Debezium could take the capture's place.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from lakehouse.model.contract import Record
from lakehouse.model.money import NUMBER
from lakehouse.model.nesting import is_too_deep

Op = Literal["c", "u", "d", "r"]


class Source(msgspec.Struct, kw_only=True, gc=False):
    """Where a change stood in the database.

    ``sequence`` orders the changes of a key, in either mode of the capture and across
    new snapshots: a JSON array of three numbers as text, each padded with zeros to the
    same width, so that the text itself sorts (Debezium's has two, not padded).
    """

    version: str = "lakehouse/1"
    connector: str = "postgresql"
    name: str
    ts_ms: int
    """When it was committed, or read."""
    snapshot: Literal["true", "false"]
    db: str
    sequence: str
    schema: str
    table: str
    txId: int | None  # noqa: N815  # Debezium's name
    lsn: int | None


class Oversized(msgspec.Struct, kw_only=True, gc=False):
    """The size of a change that was not sent, and what its topic takes."""

    bytes: int
    limit: int
    key: dict[str, Any]


class Change(msgspec.Struct, kw_only=True, gc=False):
    """A row created, updated, deleted, or read to be so (by a snapshot or a poll)."""

    op: Op
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    source: Source
    ts_ms: int
    """When the capture took it."""
    oversized: Oversized | UnsetType = UNSET
    """Set where the change is too large for its topic, and this only marks its place."""


_ENCODER = msgspec.json.Encoder()


def sequence(generation: int, position: int, index: int) -> str:
    """The order of a change: snapshot it belongs to, LSN or transaction, place therein."""
    return f'["{generation:013d}","{position:020d}","{index:010d}"]'


def encode(change: Change) -> bytes:
    """One change as its Kafka value. A delete is followed by a null value, the tombstone."""
    return _ENCODER.encode(change)


def encode_key(key: dict[str, Any]) -> bytes:
    """The primary key's columns as the Kafka key."""
    return _ENCODER.encode(key)


class _Source(msgspec.Struct, gc=False):
    """Of the source what bronze keeps; fields of Debezium's own are let pass.

    What the contract judges stays raw: a number here may be greater than any column.
    """

    ts_ms: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
    sequence: str
    txId: msgspec.Raw = msgspec.Raw(b"null")  # noqa: N815  # Debezium's name
    lsn: msgspec.Raw = msgspec.Raw(b"null")


class _Envelope(msgspec.Struct, gc=False):
    op: Op
    source: _Source
    before: msgspec.Raw = msgspec.Raw(b"null")
    after: dict[str, msgspec.Raw] | None = None
    oversized: Oversized | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_KEY = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SEQUENCE = msgspec.json.Decoder(list[str | None])
_TEXT = msgspec.json.Decoder(str)
_NUMBER = re.compile(NUMBER)
_WIDE = 20
_ORDER = re.compile(rf"[0-9]{{{_WIDE}}}(-[0-9]{{{_WIDE}}})*")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TOMBSTONE = "t"
"""The op of a null value: it says again that its key is deleted."""


def flatten(
    record: Record, key: str, row: type[msgspec.Struct], change: type[msgspec.Struct]
) -> bytes:
    """A change's record as one flat JSON object: the fields of ``change``.

    The columns of ``row`` stand in it where the change leaves one; money that came as
    text is a number. Columns that neither class knows keep their names, for ``extra``.
    Raises ValueError where the record is no change, with the reason.
    """
    if record.value is None:
        return _ENCODER.encode(_tombstone(record, key))
    record.value.decode("utf-8")  # what is let pass is not looked at otherwise
    if is_too_deep(record.value):
        raise ValueError("the value is nested too deeply")
    try:
        envelope = _envelope(record.value)
    except msgspec.ValidationError as error:
        raise ValueError(f"the envelope is broken: {_plainly(error)}") from None
    source, after = envelope.source, envelope.after
    if (large := envelope.oversized) is not None:
        told = _ENCODER.encode(large.key).decode()
        raise ValueError(
            f"the change is too large for its topic: op {envelope.op!r} of {told} at LSN "
            f"{bytes(source.lsn).decode()}, {large.bytes} bytes, {large.limit} allowed"
        )
    leaves = envelope.op != "d"
    if leaves and after is None:
        raise ValueError(f"the envelope is broken: op {envelope.op!r} has no 'after'")
    try:
        time = _EPOCH + timedelta(milliseconds=source.ts_ms)
    except OverflowError:
        raise ValueError(f"'source.ts_ms' is no time: {source.ts_ms}") from None
    order = sortable(source.sequence)
    old = bytes(envelope.before)
    flat: dict[str, Any] = {}
    if leaves and after is not None:
        flat |= _columns(after, row, change)
        identity = after.get(key)
    else:
        identity = _row(old).get(key)
    if identity is None:
        raise ValueError(f"'{key}' is missing")
    flat[key] = identity
    flat |= {
        "event_id": f"{bytes(identity).decode()}@{order}", "event_time": time, "op": envelope.op,
        "sequence": order, "lsn": source.lsn, "xid": source.txId,
        "before": None if old == b"null" else old.decode(),
    }  # fmt: skip
    return _ENCODER.encode(flat)


def _envelope(value: bytes) -> _Envelope:
    """The envelope; of a name that stands twice the last counts, though msgspec checks each."""
    try:
        return _ENVELOPE.decode(value)
    except msgspec.ValidationError:
        last = _KEY.decode(value)
        if source := _row(bytes(last.get("source", b""))):
            last["source"] = msgspec.Raw(_ENCODER.encode(source))
        return _ENVELOPE.decode(_ENCODER.encode(last))


class _Named(NamedTuple):
    """What :func:`_columns` asks of two classes for every record."""

    row: tuple[str, ...]
    money: tuple[str, ...]
    own: frozenset[str]
    """Names of the change that are no column's."""


@cache
def _named(row: type[msgspec.Struct], change: type[msgspec.Struct]) -> _Named:
    fields = msgspec.structs.fields(row)
    names = tuple(f.name for f in fields)
    money = tuple(f.name for f in fields if f.type is Decimal)
    return _Named(names, money, frozenset(change.__struct_fields__) - {*names})


def _columns(
    after: dict[str, msgspec.Raw], row: type[msgspec.Struct], change: type[msgspec.Struct]
) -> dict[str, Any]:
    """The row's columns, every one; others where their names are not the change's own."""
    names = _named(row, change)
    if missing := [name for name in names.row if name not in after]:
        raise ValueError("; ".join(f"'{name}' is missing" for name in missing))
    found: dict[str, Any] = {(f"after.{n}" if n in names.own else n): v for n, v in after.items()}
    for name in names.money:
        found[name] = _number(after[name])
    return found


def _number(raw: msgspec.Raw) -> msgspec.Raw:
    """A number that is written as text, without its quotes; anything else as it is.

    Java writes a decimal as text in either of JSON's ways: 0.00000001 as 1E-8.
    """
    data = bytes(raw)
    if data.startswith(b'"') and _NUMBER.fullmatch(text := _TEXT.decode(data)):
        return msgspec.Raw(text.encode())
    return raw


def _tombstone(record: Record, key: str) -> dict[str, Any]:
    """A null value, by its key; its order from the header that our capture gives it."""
    identity = _row(record.key or b"null").get(key)
    if identity is None:
        raise ValueError(f"the value is null (a tombstone), and its key names no '{key}'")
    name = bytes(identity).decode()
    given = [h["value"] for h in record.headers or [] if h["key"] == "sequence" and h["value"]]
    order = sortable(given[0].decode("utf-8", "replace")) if given else None
    return {
        key: identity, "event_time": record.time, "op": TOMBSTONE, "sequence": order,
        "event_id": f"{name}@{order or record.time.isoformat()}#",
    }  # fmt: skip


def _row(data: bytes) -> dict[str, msgspec.Raw]:
    if is_too_deep(data):
        return {}
    try:
        data.decode("utf-8")  # values that nobody asks for stay raw
        return _KEY.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def sortable(text: str) -> str:
    """A source's sequence as text that sorts as its numbers do: each padded to 20 digits."""
    try:
        numbers = [(number or "0").zfill(_WIDE) for number in _SEQUENCE.decode(text)]
    except msgspec.MsgspecError:
        numbers = []
    order = "-".join(numbers)  # Debezium's first number is null
    if len(order) != (_WIDE + 1) * len(numbers) - 1 or not _ORDER.fullmatch(order):
        raise ValueError(f"'source.sequence' is not a list of numbers as text: {text[:60]!r}")
    return order


def _plainly(error: msgspec.ValidationError) -> str:
    """msgspec's message, beginning with a small letter, to follow a colon."""
    text = str(error)
    return f"{text[:1].lower()}{text[1:]}"
