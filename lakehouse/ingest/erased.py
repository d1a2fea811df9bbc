"""The ledger ``erased.<product>``: addresses that left the lake on purpose, nothing of their data.

An erasure and quarantine's retention write it before rows go, so the audit tells
an erased record from a lost one, and no flow lands it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from lakehouse.core.paths import Lake
from lakehouse.core.sql import identifier, listed
from lakehouse.ingest.decode import ADDRESS
from lakehouse.ingest.ends import Ends
from lakehouse.ingest.kafka_time import TIME
from lakehouse.ingest.replayed import true_marks
from lakehouse.settings.settings import Settings
from lakehouse.storage.columns import add_missing_columns
from lakehouse.storage.duck import patterns, query, reads
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.log import commits, notes
from lakehouse.storage.log_health import oldest_version
from lakehouse.storage.table import Table
from lakehouse.storage.upkeep import drop_before

KEY = ("topic", "partition", "offset")
"""The columns of an address."""
KEY_SQL = listed(KEY)
ERASED_SCHEMA = pa.schema(
    [
        *[f.with_nullable(False) for f in ADDRESS[:3]],
        pa.field("erased_at", TIME, nullable=False),
        pa.field("table", pa.string(), nullable=False),
        pa.field("batch_id", pa.int64()),
        pa.field("topic_id", pa.string()),
    ]
)
_HELD = """
FROM read_parquet($files, union_by_name = true) UNION ALL BY NAME FROM no_rows
"""
_SAME = " AND ".join(f"found.{name} = held.{name}" for name in map(identifier, (*KEY, "table")))
_NEW = f"""
SELECT found.* FROM found ANTI JOIN held
ON {_SAME} AND found.batch_id IS NOT DISTINCT FROM held.batch_id
AND found.topic_id IS NOT DISTINCT FROM held.topic_id ORDER BY ALL
"""
"""An address may come again, in a topic recreated: batch and topic id tell the records apart."""


_PAST = f"""
SELECT {KEY_SQL}, batch_id, topic_id FROM ({{rows}})
WHERE quarantined_at < $oldest AND replayed_version IS NULL AND (mark IS NULL OR mark <= $kept)
"""


class ErasedLedger:
    """The ledger of one product, made when it is missing; its writer holds its lock."""

    def __init__(
        self, product: str, settings: Settings, connection: duckdb.DuckDBPyConnection
    ) -> None:
        self._product, self._connection = product, connection
        self.table = Table.open(
            Lake(settings.lake.root).table(f"erased.{product}"), ERASED_SCHEMA, settings,
            description=f"addresses of {product} that were erased; nothing of the person",
            fingerprinted=True,
        )  # fmt: skip
        add_missing_columns(self.table)

    def add(self, found: Mapping[str, pa.Table], now: datetime, note: Mapping[str, Any]) -> None:
        """Add addresses by the layer that holds them; those that it has already are unchanged.

        The tables have the columns of ``KEY``, ``batch_id`` and ``topic_id``.
        """
        rows = [
            places.append_column("erased_at", pa.array([now] * len(places), TIME)).append_column(
                "table", pa.array([f"{layer}.{self._product}"] * len(places), pa.string())
            )
            for layer, places in found.items()
        ]
        found, held = pa.concat_tables(rows), ERASED_SCHEMA.empty_table()
        if files := self.table.files():
            held = query(self._connection, _HELD, {"files": patterns(files)}, no_rows=held)
        new = query(self._connection, _NEW, found=found, held=held)
        new = new.select(ERASED_SCHEMA.names).cast(ERASED_SCHEMA)
        self.table.append(new, {**note, "rows": new.num_rows})

    def since(self, begun: datetime) -> pa.Table:
        """The addresses, each once, that were added since then."""
        sql = f"SELECT DISTINCT {KEY_SQL} FROM read_parquet($files) WHERE erased_at >= $since"
        if not (files := self.table.files()):
            return ERASED_SCHEMA.empty_table().select(KEY)
        return query(self._connection, sql, {"files": patterns(files), "since": begun})


def drop_old_quarantine(
    product: str,
    quarantine: Table,
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    now: datetime,
) -> None:
    """Rows past ``quarantine_retention`` leave quarantine, their addresses kept in the ledger.

    A replayed record is bronze's: its row goes without a trace here, and not before no
    older version of bronze, one without the record, can be restored. Nothing is written
    where nothing is past it; a drop that was cut is completed by the next one.
    """
    add_missing_columns(quarantine)
    bronze = f"bronze.{product}"
    oldest = (now - settings.maintenance.quarantine_retention).astimezone(UTC)
    restorable = oldest_version(Lake(settings.lake.root).table(bronze))
    rows, empty = _true_marks(product, quarantine, settings)
    values = {"oldest": oldest, "kept": restorable}
    past = query(connection, _PAST.format(rows=rows), values, **empty)
    if past.num_rows:
        ErasedLedger(product, settings, connection).add(
            {"quarantine": past}, now, {"retention": {"before": oldest.isoformat()}}
        )
    unmarked = f"(replayed_version IS NULL OR replayed_version <= {restorable})"
    drop_before(quarantine, "quarantined_at", oldest, unmarked)


def _true_marks(
    product: str, quarantine: Table, settings: Settings
) -> tuple[str, dict[str, pa.Table]]:
    """SQL for quarantine's rows by :func:`true_marks`, and ``mark``, as each row has it.

    With it the tables without rows that it reads.
    """
    lake = Lake(settings.lake.root)
    bronze, erased = lake.table(f"bronze.{product}"), lake.table(f"erased.{product}")
    table = DeltaTable(bronze)
    told = (n["ends"] for n in notes(commits(bronze, table.version())) if "ends" in n)
    ends = next((Ends.read(note) for note in told), Ends("", ""))
    held = {"bronze": files_of(table), "quarantine": quarantine.files()}
    held["erased"] = files_of(DeltaTable(erased)) if DeltaTable.is_deltatable(erased) else []
    schemas = {"quarantine": quarantine.schema, "bronze": ERASED_SCHEMA, "erased": ERASED_SCHEMA}
    of = {name: f"(SELECT * FROM no_{name})" for name in schemas}
    for name, files in held.items():
        if files:
            listed = reads(files, "union_by_name = true")
            of[name] = f"(SELECT * FROM no_{name} UNION ALL BY NAME FROM {listed})"
    rows = f"(SELECT *, replayed_version AS mark FROM {of['quarantine']})"
    empty = {f"no_{name}": schema.empty_table() for name, schema in schemas.items()}
    return true_marks(rows, of["bronze"], of["erased"], ends), empty
