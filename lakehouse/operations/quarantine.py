"""The quarantine from outside: what lies there, and what today's contract says of it.

A record is replayed once it is marked and bronze has it; such rows stay as the trail
and count no longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.audit.pins import Snapshots, count, engine
from lakehouse.core.errors import TableMissing
from lakehouse.core.memory import bounded, growth
from lakehouse.core.progress import Counted
from lakehouse.core.sql import listed
from lakehouse.ingest.decode import decode_batch
from lakehouse.ingest.ends import Ends
from lakehouse.ingest.erased import KEY
from lakehouse.ingest.replayed import true_marks
from lakehouse.ingest.schemas import QUARANTINE_SCHEMA
from lakehouse.ingest.verdict import TimeRules
from lakehouse.products.registry import contract
from lakehouse.settings.settings import Settings
from lakehouse.storage.duck import lent, query
from lakehouse.storage.faults import read_faults

CHUNK_BYTES = 64 * 1024 * 1024
"""A replay enters about so much at a time; a row counts for 1,000 bytes more than its value."""
_KEY = listed(KEY)
_JUDGED = [*KEY, "verdict"]
_ORDER = 'kafka_time, "partition", "offset"'
KIND = """
regexp_replace(regexp_replace({0}, ': [^;]*', '', 'g'), '"[^"]*"', '…', 'g')
"""
"""A verdict without the values that it quotes."""
_EVERY = "(SELECT * FROM quarantine UNION ALL BY NAME SELECT * FROM no_columns)"
_KEPT = """
CREATE OR REPLACE TEMP VIEW every_row AS
SELECT *, replayed_version IS NOT NULL AS replayed, coalesce({now}, false) AS is_of_now
FROM ({rows});
CREATE OR REPLACE TEMP VIEW kept AS SELECT * FROM every_row WHERE is_of_now
"""
"""``kept`` leaves out records of a topic that was recreated: their addresses come again."""
_ROWS = (
    "SELECT * EXCLUDE (replayed, is_of_now) FROM every_row WHERE {where} "
    "ORDER BY {order} LIMIT {limit}"
)
_RAW = (
    'SELECT key, value, headers, topic, "partition", "offset", kafka_time AS timestamp, '
    "left_out_bytes, left_out_sha256 "
    "FROM kept WHERE {where}"
)
_STATS = f"""
SELECT {KIND.format("verdict")} AS verdict,
    count(*) FILTER (NOT replayed) AS quarantined,
    count(*) FILTER (NOT replayed AND passes) AS pass_now,
    count(*) FILTER (replayed) AS replayed,
    min(kafka_time) AS first, max(kafka_time) AS last
FROM kept LEFT JOIN judged USING ({_KEY})
WHERE {{where}} GROUP BY ALL ORDER BY quarantined DESC, verdict
"""
_CHANGES = f"""
SELECT {KIND.format("verdict")} AS verdict_then,
    CASE WHEN passes THEN 'passes' ELSE {KIND.format("now")} END AS verdict_now,
    count(*) AS records
FROM kept JOIN judged USING ({_KEY}) GROUP BY ALL ORDER BY records DESC, verdict_then, verdict_now
"""
_PASSING = f"""
SELECT {_KEY}, CAST(sum(coalesce(octet_length(value), 0) + 1000) OVER (
    ORDER BY {_ORDER} ROWS UNBOUNDED PRECEDING) // {CHUNK_BYTES} AS BIGINT) AS chunk
FROM kept JOIN judged USING ({_KEY}) WHERE passes AND NOT replayed ORDER BY {_ORDER}
"""


@dataclass(frozen=True)
class Choice:
    """Which quarantined records are meant: all, by address, or by a part of the verdict."""

    addresses: tuple[tuple[int, int], ...] = ()
    """(partition, offset) each; none for all."""
    verdict: str = ""
    replayed: bool = False
    """Whether those already replayed are meant too."""

    def where(self) -> tuple[str, dict[str, Any]]:
        """As SQL over the view ``kept``, and its values."""
        terms = ["true" if self.replayed else "NOT replayed"]
        values = {}
        if self.verdict:
            terms.append("contains(lower(verdict), lower($verdict))")
            values["verdict"] = self.verdict
        if self.addresses:
            places = ", ".join(f"({int(p)}, {int(o)})" for p, o in self.addresses)
            terms.append(f'("partition", "offset") IN ({places})')
        return " AND ".join(terms), values


class Quarantine:
    """The quarantine of one product at its newest version, for reading."""

    def __init__(
        self, product: str, settings: Settings, connection: duckdb.DuckDBPyConnection
    ) -> None:
        self.product, self._connection = product, connection
        self._contract, self._settings = contract(product), settings.product(product)
        self._snapshots = Snapshots(settings.lake.root, connection)
        name = f"quarantine.{product}"
        if not self._snapshots.exists(name):
            raise TableMissing(
                f"table {name}", "does not exist yet", f"run {product}.bronze, or give --root"
            )
        self.bronze_version = self._snapshots.pin("bronze", f"bronze.{product}").version
        self._snapshots.pin("quarantine", name)
        erased = f"erased.{product}" if self._snapshots.exists(f"erased.{product}") else None
        if erased:
            self._snapshots.pin("erased", erased)
        connection.register("no_columns", QUARANTINE_SCHEMA.empty_table())
        note = self._snapshots.note(f"bronze.{product}", "ends", self.bronze_version)
        ends = Ends.read(note) if note else Ends("", "")
        self.topic_id = ends.topic_id or None
        """The id of the topic that bronze holds; None where no commit says it."""
        rows = true_marks(_EVERY, "bronze", "erased" if erased else None, ends)
        connection.execute(_KEPT.format(rows=rows, now=ends.are_of_now(by_id=True)))

    def count(self, choice: Choice) -> int:
        """How many records are meant."""
        where, values = choice.where()
        return count(self._connection, f"every_row WHERE {where}", values)

    def rows(self, choice: Choice, limit: int) -> list[dict[str, Any]]:
        """The first of them, the oldest first, with all columns.

        Where addresses are asked for, those of the present topic come before a former one's.
        """
        where, values = choice.where()
        order = f"is_of_now DESC, {_ORDER}" if choice.addresses else _ORDER
        sql = _ROWS.format(where=where, order=order, limit=int(limit))
        return list(query(self._connection, sql, values).to_pylist())

    def judge(self, choice: Choice) -> pa.Table:
        """Decode them by today's contract and settings: address, ``now`` (a verdict), ``passes``.

        Only addresses and verdicts stay in memory.
        """
        rules = TimeRules(self._settings.earliest_time, self._settings.future_tolerance)
        where, values = choice.where()
        judging = Counted(f"judging quarantine.{self.product}", self.count(choice), "records")
        reader = self._connection.sql(_RAW.format(where=where), params=values).to_arrow_reader(2048)
        parts = []
        for batch in reader:
            found = decode_batch(batch, self._contract, rules)
            parts += [part.select(_JUDGED) for part in found]
            judging.add(batch.num_rows)
        schema = pa.schema([QUARANTINE_SCHEMA.field(n).with_nullable(True) for n in _JUDGED])
        judged = pa.Table.from_batches(parts, schema).rename_columns([*KEY, "now"])
        return judged.append_column("passes", judged["now"].is_null())

    def stats(self, choice: Choice) -> list[dict[str, Any]]:
        """By kind of verdict: how many, how many pass now, how many were replayed."""
        judged = self.judge(Choice(choice.addresses, choice.verdict))
        where, values = Choice(choice.addresses, choice.verdict, replayed=True).where()
        return list(self._about(judged, _STATS.format(where=where), values).to_pylist())

    def changes(self, judged: pa.Table) -> list[dict[str, Any]]:
        """What was judged, by the kind of verdict then and now."""
        return list(self._about(judged, _CHANGES).to_pylist())

    def passing(self, judged: pa.Table) -> Iterator[pa.Table]:
        """The addresses of what was judged and passes, oldest first, in parts of bounded bytes."""
        found = self._about(judged, _PASSING)
        for chunk in dict.fromkeys(found["chunk"].to_pylist()):
            yield found.filter(pc.equal(found["chunk"], chunk)).select(KEY)

    def _about(self, judged: pa.Table, sql: str, values: Any = None) -> pa.Table:
        with lent(self._connection, judged=judged):
            return query(self._connection, sql, values)


@contextmanager
def opened(product: str, settings: Settings) -> Iterator[Quarantine]:
    """The quarantine of a product, and an engine of its own to read it."""
    with (
        bounded(growth(settings.silver.engine_memory)),
        engine(settings) as connection,
        read_faults(f"table quarantine.{product}"),
    ):
        yield Quarantine(product, settings, connection)
