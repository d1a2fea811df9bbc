"""Kafka's records as the audit's own decoder reads them, to compare with a table's rows."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import duckdb
import pyarrow as pa

from lakehouse.audit.topic import Gap, Records
from lakehouse.core.sql import identifier, text
from lakehouse.ingest.left_out import columns_of, larger
from lakehouse.model.witness import Broken, Kind, Raw, Witness, canonical_text
from lakehouse.storage.duck import lent, query

ROWS, BYTES = 10_000, 8 * 1024 * 1024
"""A part of what is read is handed to DuckDB at so many records, or bytes."""
_AT_ONCE = 1_000
"""Records that are told at a time: more of Python's objects are not in the processor's cache."""
_TIME = pa.timestamp("us", "UTC")
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The calendar's ends in µs since 1970: a Kafka time beyond them is in tables as they are."""
_HEADERS = pa.list_(pa.struct([pa.field("key", pa.string()), pa.field("value", pa.binary())]))
RAW_COLUMNS = {
    "kafka_time": "kafka_time",
    "key": "key",
    "value": "value",
    "headers": "coalesce(headers, [])",
    "left_out_bytes": "left_out_bytes",
    "left_out_sha256": "left_out_sha256",
}
"""Columns of quarantine that Kafka has too, as SQL."""
_LARGE = {"left_out_bytes": "large_bytes", "left_out_sha256": "large_sha256"}
_WHOLE = RAW_COLUMNS | dict.fromkeys(_LARGE, "NULL")
_BARE = RAW_COLUMNS | {"key": "NULL", "value": "NULL", "headers": "[]"} | _LARGE
"""What a row must hold of a record with its bytes, and of one whose bytes are left out."""
_COMPARED = dict.fromkeys(("key", "value", "headers"), "held.left_out_bytes IS NULL")
_COMPARED |= dict.fromkeys(_LARGE, "held.left_out_bytes IS NOT NULL")
"""Where a row of quarantine differs from Kafka's record, columns that are not named."""
DEEP = 20_000
"""Levels of nested JSON that are followed: more than a decoder lets pass."""
_SMALL = 1024 * 1024
"""No setting leaves a record out that is not larger."""


@contextmanager
def deep() -> Iterator[None]:
    """Python may go as deep as a valid record does."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, DEEP))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def bronze_columns(witness: Witness) -> dict[str, str]:
    """Columns of bronze that a record says, as SQL of the type that the witness has."""
    columns = {name: _as(kind, name) for name, kind in witness.fields.items()}
    more = {"kafka_time": "kafka_time", "event_date": "event_date"}
    return {**columns, "extra": _as(Kind.JSON, "extra"), **more}


def _as(kind: Kind, name: str) -> str:
    column = identifier(name)
    return f"canonical_json({column})" if kind is Kind.JSON else f"CAST({column} AS {kind.sql})"


def _told_columns(witness: Witness) -> dict[str, str]:
    columns = {name: identifier(name) for name in bronze_columns(witness)}
    return {**columns, "event_date": "CAST(event_time AS DATE)"}


class Decoded:
    """Records as Arrow tables, a part at a time: the witness's fields, and all of the record."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        event = [pa.field(name, kind.arrow) for name, kind in witness.fields.items()]
        self.schema = pa.schema(
            [
                *event,
                pa.field("extra", pa.string()),
                pa.field("broken", pa.string()),
                pa.field("partition", pa.int32()),
                pa.field("offset", pa.int64()),
                pa.field("kafka_time", _TIME),
                pa.field("key", pa.binary()),
                pa.field("value", pa.binary()),
                pa.field("headers", _HEADERS),
                pa.field("large_bytes", pa.int64()),
                pa.field("large_sha256", pa.string()),
            ]
        )

    def whole(self, records: Iterable[Raw]) -> pa.Table:
        """All of them; ``broken`` says why one is not what its product declares."""
        return pa.concat_tables([*self.parts(records), self.schema.empty_table()])

    def parts(self, records: Iterable[Raw]) -> Iterator[pa.Table]:
        """The same, in parts that fit."""
        told: list[pa.Table] = []
        held: list[Raw] = []
        size = 0
        for record in records:
            held.append(record)
            size += len(record.value or b"") + len(record.key or b"")
            if len(held) >= _AT_ONCE or size >= BYTES:
                told.append(self._table(held))
                held = []
            if len(told) * _AT_ONCE >= ROWS or size >= BYTES:
                yield pa.concat_tables(told)
                told, size = [], 0
        if held:
            told.append(self._table(held))
        if told:
            yield pa.concat_tables(told)

    def _table(self, records: list[Raw]) -> pa.Table:
        gc.disable()  # short-lived objects by the thousand, without a cycle
        try:
            told = [self._row(record) for record in records]
        finally:
            gc.enable()
        event = list(zip(*told, strict=True))
        columns = [
            *event,
            [r.partition for r in records],
            [r.offset for r in records],
            [min(max(r.time * 1000, _FIRST), _LAST) for r in records],
            [r.key for r in records],
            [r.value for r in records],
        ]
        arrays = [pa.array(c, f.type) for c, f in zip(columns, self.schema, strict=False)]
        large = columns_of(_large(records), len(records))
        return pa.Table.from_arrays([*arrays, _headers(records), *large], schema=self.schema)

    def _row(self, record: Raw) -> list[Any]:
        try:
            return [*self._witness.tell(record), None]
        except Broken as error:
            return [*[None] * (len(self._witness.fields) + 1), str(error)]


class Told:
    """The temporary table ``told``: of each record its address and three hashes.

    ``said`` is over what bronze must hold, null where the record is broken; ``raw`` over
    what quarantine must hold, or ``bare``, where the record may be too large for its bytes.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, witness: Witness) -> None:
        self._connection, self._witness = connection, witness
        self._decoded = Decoded(witness)
        connection.create_function("canonical_json", canonical_text, ["VARCHAR"], "VARCHAR")
        said = ", ".join(_told_columns(witness).values())
        self._insert = (
            'INSERT INTO told SELECT "partition", "offset", '
            f"CASE WHEN broken IS NULL THEN hash({said}) END, "
            f"hash({', '.join(_WHOLE.values())}), "
            f"CASE WHEN large_bytes IS NOT NULL THEN hash({', '.join(_BARE.values())}) END "
            "FROM part"
        )

    def take(self, records: Iterable[Raw]) -> None:
        """Make ``told`` of these records alone."""
        self._connection.execute(
            'CREATE OR REPLACE TEMP TABLE told ("partition" INTEGER, "offset" BIGINT, '
            "said UBIGINT, raw UBIGINT, bare UBIGINT)"
        )
        for part in self._decoded.parts(records):
            with lent(self._connection, part=part):
                self._connection.execute(self._insert)

    def hashes(self, records: Iterable[Raw]) -> pa.Table:
        """The same, as a table to hand on: see :meth:`put`."""
        self.take(records)
        return query(self._connection, "FROM told")

    def put(self, hashes: pa.Table) -> None:
        """Make ``told`` of what another process has told."""
        with lent(self._connection, part=hashes):
            self._connection.execute("CREATE OR REPLACE TEMP TABLE told AS FROM part")

    def explain(self, records: Records, room: int) -> list[dict[str, Any]]:
        """The first rows of ``differing``, each with a column that differs, and both values."""
        connection = self._connection
        rows = connection.execute(
            'SELECT "partition", "offset", in_bronze, gone FROM differing ORDER BY ALL '
            f"LIMIT {room}"
        ).fetchall()
        places = sorted({(row[0], row[1]) for row in rows})
        gone = [
            {"partition": row[0], "offset": row[1], "table": _table(row[2]),
             "column": "(no record)", "held": "a row", "kafka": None}
            for row in rows if row[3]
        ]  # fmt: skip
        gaps = [Gap(partition, offset, offset + 1) for partition, offset in places]
        with lent(connection, said=self._decoded.whole(records(gaps))):
            found = [*self._columns("bronze"), *self._columns("quarantined")] if rows else []
        return gone + found

    def _columns(self, table: str) -> list[dict[str, Any]]:
        bronze = table == "bronze"
        columns = bronze_columns(self._witness) if bronze else RAW_COLUMNS
        told = _told_columns(self._witness) if bronze else RAW_COLUMNS | _LARGE
        said = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in told.items())
        held = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in columns.items())
        address = '"partition", "offset"'
        self._connection.execute(
            "CREATE OR REPLACE TEMP TABLE both_sides AS "
            f"SELECT {address}, broken, held, kafka FROM (SELECT {address}, "
            f"struct_pack({_packed(columns)}) AS held FROM (SELECT {address}, {held} FROM {table} "
            f"SEMI JOIN (FROM differing WHERE in_bronze = {bronze} AND NOT gone) "
            f"USING ({address}))) JOIN (SELECT {address}, broken, struct_pack({_packed(told)}) "
            f"AS kafka FROM (SELECT {address}, broken, {said} FROM said)) USING ({address})"
        )
        ways = [
            f'SELECT {address}, {text(name)} AS "column", CAST(held.{column} AS VARCHAR) AS held, '
            f"CAST(kafka.{column} AS VARCHAR) AS kafka FROM both_sides "
            f"WHERE broken IS NULL AND held.{column} IS DISTINCT FROM kafka.{column}"
            for name, column in zip(columns, map(identifier, columns), strict=True)
        ]
        if bronze:
            ways.append(
                f"SELECT {address}, '(record)', 'a row', broken FROM both_sides "
                "WHERE broken IS NOT NULL"
            )
        else:
            ways = [
                way.replace("broken IS NULL", _COMPARED.get(name, "true"))
                for name, way in zip(columns, ways, strict=True)
            ]
        found = query(self._connection, f"{' UNION ALL '.join(ways)} ORDER BY ALL")
        self._connection.execute("DROP TABLE both_sides")
        return [{**row, "table": _table(bronze)} for row in found.to_pylist()]


def _headers(records: list[Raw]) -> pa.Array:
    pairs = [pair for record in records for pair in record.headers]
    ends = accumulate((len(record.headers) for record in records), initial=0)
    keys = pa.array([key for key, _ in pairs], pa.string())
    values = pa.array([value for _, value in pairs], pa.binary())
    structs = pa.StructArray.from_arrays([keys, values], fields=list(_HEADERS.value_type))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), structs)


def _large(records: list[Raw]) -> dict[int, tuple[int, str]]:
    """Of each record that a setting may leave out its size and hash."""
    parts = ([r.key for r in records], [r.value for r in records], [r.headers for r in records])
    return larger(*parts, _SMALL)


def _packed(columns: Iterable[str]) -> str:
    return ", ".join(f"{name} := {name}" for name in map(identifier, columns))


def _table(in_bronze: bool) -> str:
    return "bronze" if in_bronze else "quarantine"
