"""Records become typed rows or verdicts: the one Arrow function that decodes.

Records that look like earlier ones are proved by :mod:`lakehouse.ingest.shapes`. Any other
good record is decoded once, by msgspec, straight into the contract's types; one with unknown
fields twice. A record that fails takes the slow pass of :mod:`lakehouse.ingest.verdict`.
No record raises.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, partial
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.ingest.headers import HEADERS, with_headers
from lakehouse.ingest.kafka_time import FIRST, LAST, TIME, kafka_times
from lakehouse.ingest.left_out import LEFT_OUT, too_large
from lakehouse.ingest.shapes import samples, shapes
from lakehouse.ingest.verdict import Explained, TimeRules, explain
from lakehouse.model.contract import Contract, Record, base_type
from lakehouse.model.money import NOUGHTS, PLAIN, money_type
from lakehouse.model.nesting import is_too_deep

ADDRESS = [
    pa.field("topic", pa.string()),
    pa.field("partition", pa.int32()),
    pa.field("offset", pa.int64()),
    pa.field("kafka_time", TIME),
]
_FIELDS, _ENCODER = msgspec.json.Decoder(dict[str, msgspec.Raw]), msgspec.json.Encoder()
RAW = [
    pa.field("key", pa.binary()),
    pa.field("value", pa.binary()),
    pa.field("headers", HEADERS),
    pa.field("verdict", pa.string()),
    *LEFT_OUT,
]


def decoded_schema(contract: Contract) -> pa.Schema:
    """The event's columns, ``extra``, the address; raw bytes and ``verdict`` of bad rows."""
    event = [field.with_nullable(True) for field in contract.schema]
    return pa.schema([*event, pa.field("extra", pa.string()), *ADDRESS, *RAW])


def decoder(
    contract: Contract, rules: TimeRules
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for ``mapInArrow``: Kafka rows in, :func:`decoded_schema` rows out.

    In: the columns of :func:`lakehouse.ingest.left_out.spark_columns`, headers as
    :data:`lakehouse.ingest.headers.AS_TEXT`, topic, partition, offset, timestamp. A partial
    of a module's function, so that it travels to the executors by name, and the contract with it.
    """

    return partial(_decode, contract, rules)


def _decode(
    contract: Contract, rules: TimeRules, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield from decode_batch(with_headers(batch), contract, rules)


def decode_batch(
    batch: pa.RecordBatch, contract: Contract, rules: TimeRules
) -> Iterator[pa.RecordBatch]:
    """The good rows of a batch, then the bad ones; either may be left out when empty.

    A Kafka time beyond the calendar becomes its first or last moment, and the verdict
    has it as Kafka does.
    """
    kafka_time, bad_clocks = kafka_times(batch.column("timestamp").cast(TIME))
    unread = bad_clocks | too_large(batch)
    proved = shapes(contract).prove(batch.column("value"), kafka_time, rules)
    if proved is not None:
        proved.rows[[*unread]] = False
        good, rest = np.flatnonzero(proved.rows), np.flatnonzero(~proved.rows)
        if len(good):
            columns = {**proved.columns, **_address(batch, kafka_time)}
            yield _rows(decoded_schema(contract), _take(columns, good, batch.num_rows))
        if not len(rest):
            return
        unread = {place: unread[row] for place, row in enumerate(rest.tolist()) if row in unread}
        batch, kafka_time = batch.take(pa.array(rest)), kafka_time.take(pa.array(rest))
    yield from _strictly(batch, kafka_time, unread, contract, rules)


def _strictly(
    batch: pa.RecordBatch,
    kafka_time: pa.Array,
    unread: Mapping[int, Explained],
    contract: Contract,
    rules: TimeRules,
) -> Iterator[pa.RecordBatch]:
    """Each record parsed; those whose bytes are not to be looked at have their verdict."""
    values = batch.column("value").to_pylist()
    slow: dict[int, Any] = {}
    extras: dict[int, str] = {}
    gc.disable()  # a hundred thousand short-lived objects: collecting costs a third
    try:
        events = _fast(_events_of(batch, values, kafka_time, contract), contract, slow, extras)
        columns = _columns(events, contract)
        if extras:
            columns["extra"] = pa.array(map(extras.get, range(len(values))), pa.string())
        suspects = _suspects(columns, events, kafka_time, contract, rules)
    finally:
        gc.enable()
    looked_at = sorted({*slow, *suspects} - unread.keys())
    for row, record in zip(looked_at, _records(batch, kafka_time, looked_at), strict=True):
        slow[row] = explain(record, contract, rules)
    slow |= unread
    good = [row for row in range(len(values)) if row not in slow]
    mended = [row for row, e in sorted(slow.items()) if e.verdict is None]
    bad = [row for row, e in sorted(slow.items()) if e.verdict is not None]
    known = [row for row in good if row not in extras] if extras else good
    shapes(contract).learn(values[row] for row in samples(known))
    schema = decoded_schema(contract)
    address = _address(batch, kafka_time)
    if good:
        yield _rows(schema, _take({**columns, **address}, good, len(values)))
    if mended:
        fields = {
            name: pa.array([slow[row].fields.get(name) for row in mended], field.type)
            for name, field in zip(contract.schema.names, contract.schema, strict=True)
        }
        fields["extra"] = pa.array([slow[row].extra for row in mended], pa.string())
        yield _rows(schema, {**fields, **_take(address, mended, len(values))})
    if bad:
        raw = {name: batch.column(name).take(pa.array(bad)) for name in ("key", "value")}
        raw["headers"] = batch.column("headers").take(pa.array(bad)).cast(HEADERS)
        raw["verdict"] = pa.array([slow[row].verdict for row in bad], pa.string())
        for name in {field.name for field in LEFT_OUT}.intersection(batch.schema.names):
            raw[name] = batch.column(name).take(pa.array(bad))
        yield _rows(schema, {**raw, **_take(address, bad, len(values))})


def _records(
    batch: pa.RecordBatch, kafka_time: pa.Array, rows: Sequence[int] | None = None
) -> Iterator[Record]:
    """The records as they came: all, or those of some rows."""
    if rows is not None:
        places = pa.array(rows, pa.int64())
        batch, kafka_time = batch.take(places), kafka_time.take(places)
    key, value, headers, partition, offset = (
        batch.column(n).to_pylist() for n in ("key", "value", "headers", "partition", "offset")
    )
    times = (time.replace(tzinfo=UTC) for time in kafka_time.cast(pa.timestamp("us")).to_pylist())
    return map(Record, key, value, headers, times, partition, offset)


def _events_of(
    batch: pa.RecordBatch, values: list[bytes | None], kafka_time: pa.Array, contract: Contract
) -> list[bytes | None]:
    """The events' own JSON; null where a record holds none, for the slow pass to say why."""
    if contract.unwrap is None:
        return values
    found: list[bytes | None] = []
    for record in _records(batch, kafka_time):
        try:
            found.append(contract.unwrap(record))
        except (ValueError, msgspec.MsgspecError, RecursionError):
            found.append(None)
    return found


def _fast(
    values: list[bytes | None], contract: Contract, slow: dict[int, Any], extras: dict[int, str]
) -> list[Any]:
    """Each record's event; a row without one is in ``slow``, what others have more in ``extras``.

    A record with unknown fields is of a producer whose every record has them.
    """
    strict, loose = (_wire_decoder(c).decode for c in (contract.wire, contract.loose_wire))
    names = {name.lower() for name in contract.hints}
    events: list[Any] = []
    for row, value in enumerate(values):
        try:
            try:
                event = strict(value)  # type: ignore[arg-type]  # null is a TypeError
            except msgspec.ValidationError:
                event = loose(value)  # type: ignore[arg-type]  # likewise
                extras[row] = _extra(bytes(value or b""), contract, names)
        except (msgspec.MsgspecError, TypeError, RecursionError, ValueError):
            event = slow[row] = None
        events.append(event)
    return events


def _extra(value: bytes, contract: Contract, names: set[str]) -> str:
    """The unknown fields as JSON; ValueError where the slow pass has to look at them."""
    value.decode("utf-8")
    found = _FIELDS.decode(value)
    unknown = {name: text for name, text in found.items() if name not in contract.hints}
    if any(name.lower() in names for name in unknown) or is_too_deep(value):
        raise ValueError
    return _ENCODER.encode(unknown).decode()


@cache
def _wire_decoder(wire: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(wire)


def _columns(events: Sequence[Any], contract: Contract) -> dict[str, pa.Array]:
    """One array a field; rows without an event are null. Money stays text where it is odd."""
    columns: dict[str, pa.Array] = {}
    for name, hint in contract.hints.items():
        cells = [None if e is None else getattr(e, name) for e in events]
        if base_type(hint) is Decimal:
            texts = [None if c is None else bytes(c) for c in cells]
            columns[name] = _money(pa.array(texts, pa.binary()))
        elif base_type(hint) is datetime:
            columns[name] = _times(cells)
        else:
            columns[name] = pa.array(cells, contract.schema.field(name).type)
    return columns


def _money(text: pa.Array) -> pa.Array:
    """Plain numbers as money; anything else null, UTF-8 or not, for the slow pass to judge."""
    plain = pc.match_substring_regex(text, PLAIN)
    if not pc.all(plain).as_py():
        text = pc.replace_substring_regex(text, *NOUGHTS)
        plain = pc.match_substring_regex(text, PLAIN)
        text = pc.if_else(plain, text, pa.scalar(None, pa.binary()))
    return text.cast(pa.string()).cast(money_type())


def _times(cells: list[datetime | None]) -> pa.Array:
    try:
        return pa.array(cells, TIME)
    except (OverflowError, pa.ArrowInvalid):  # a time outside the years 1 to 9999 in UTC
        return pa.array([c if c is not None and 2 < c.year < 9998 else None for c in cells], TIME)


def _suspects(
    columns: dict[str, pa.Array],
    events: list[Any],
    kafka_time: pa.Array,
    contract: Contract,
    rules: TimeRules,
) -> list[int]:
    """Rows that types let pass but rules may not: they take the slow pass."""
    flags = []
    for name in contract.nonzero:
        flags.append(pc.equal(columns[name], 0))
    for name, column in columns.items():
        if name in contract.money:
            flags.append(pc.is_null(column))
        if pa.types.is_timestamp(column.type):
            flags.append(pc.is_null(column))
            flags += [pc.less(column, FIRST), pc.greater(column, LAST)]
        if name == "event_time":
            newest = pc.add(kafka_time, pa.scalar(rules.future_tolerance, pa.duration("us")))
            flags.append(pc.less(column, pa.scalar(rules.earliest, TIME)))
            flags.append(pc.greater(column, newest))
    suspect = flags[0]
    for flag in flags[1:]:
        suspect = pc.or_kleene(suspect, flag)
    rows = pc.indices_nonzero(pc.fill_null(suspect, False)).to_pylist()
    return [row for row in rows if events[row] is not None]


def _address(batch: pa.RecordBatch, kafka_time: pa.Array) -> dict[str, pa.Array]:
    columns = {name: batch.column(name) for name in ("topic", "partition", "offset")}
    return {**columns, "kafka_time": kafka_time}


def _take(
    columns: Mapping[str, pa.Array], rows: Sequence[int] | npt.NDArray[np.intp], size: int
) -> dict[str, pa.Array]:
    if len(rows) == size:
        return dict(columns)
    return {name: column.take(pa.array(rows)) for name, column in columns.items()}


def _rows(schema: pa.Schema, columns: dict[str, pa.Array]) -> pa.RecordBatch:
    size = len(columns["offset"])
    arrays = [columns.get(field.name, pa.nulls(size, field.type)) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
