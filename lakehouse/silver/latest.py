"""A keyed state: each key's latest change, and the history of one column of it.

Both tables are a fold that may be done again: the union of changes by (key, order),
and of it the greatest. So a version that was taken in already changes nothing, a
change that was sent twice counts once, and one that comes late takes its place.
"""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa

from lakehouse.model.flow import Keyed
from lakehouse.silver.render import ARROW
from lakehouse.storage.duck import query, reads
from lakehouse.storage.table import Table

BLOCK = "block"
_CHANGES = pa.list_(
    pa.struct(
        [pa.field("sequence", pa.string()), pa.field("changed_at", pa.timestamp("us", "UTC"))]
    )
)


def keyed_columns(keyed: Keyed) -> dict[str, dict[str, str]]:
    """Column → SQL type of the tables ``current`` and ``history``."""
    kinds = {name: kind for name, (_, kind) in keyed.columns.items()}
    history = {
        keyed.key: kinds[keyed.key], keyed.follows: "VARCHAR", "started_at": "TIMESTAMPTZ",
        "ended_at": "TIMESTAMPTZ", "duration_seconds": "DECIMAL(18,3)",
        "changes": "STRUCT(sequence VARCHAR, changed_at TIMESTAMPTZ)[]", BLOCK: "BIGINT",
    }  # fmt: skip
    return {keyed.current: {**kinds, BLOCK: "BIGINT"}, keyed.history: history}


def keyed_schemas(keyed: Keyed) -> dict[str, pa.Schema]:
    """The Arrow schemas of both tables."""
    certain = {keyed.key, keyed.order, keyed.time, BLOCK, "started_at", "changes"}
    return {
        table: pa.schema(
            [pa.field(n, ARROW.get(k, _CHANGES), nullable=n not in certain) for n, k in of.items()]
        )
        for table, of in keyed_columns(keyed).items()
    }


def signed_schema(keyed: Keyed) -> pa.Schema:
    """The Arrow schema of what :meth:`KeyedState.absorb` gives."""
    return keyed_schemas(keyed)[keyed.current].append(pa.field("sign", pa.int32()))


HISTORY_DOCS = {
    "started_at": "time of the first change of the run; never before that of an earlier run",
    "ended_at": "when the next run began; null for the last",
    "duration_seconds": "ended_at less started_at",
    "changes": "sequence and time of every change of the run",
    BLOCK: "partition, by key",
}


class KeyedState:
    """The tables ``current`` and ``history`` of one product, at the version ``held``."""

    def __init__(
        self, keyed: Keyed, current: Table, history: Table, connection: duckdb.DuckDBPyConnection
    ) -> None:
        self.keyed, self._connection = keyed, connection
        self._current, self._history = current, history
        self.tables = (history, current)
        self.held = -1
        self._blocks: list[int] = []

    def absorb(self) -> pa.Table:
        """Take in ``rows``: what came into ``current``, and with sign -1 what left it."""
        run, keyed = self._connection.execute, self.keyed
        columns = ", ".join(f"CAST({sql} AS {k}) AS {n}" for n, (sql, k) in keyed.columns.items())
        run(
            f"CREATE OR REPLACE TEMP TABLE changes AS SELECT {columns}, "
            f"CAST({keyed.block} AS BIGINT) AS {BLOCK}, ({keyed.deleted}) AS gone "
            f"FROM rows WHERE {keyed.where}"
        )
        found = run(f"SELECT DISTINCT {BLOCK} FROM changes ORDER BY 1").fetchall()
        self._blocks = [int(block) for (block,) in found]
        run(f"CREATE OR REPLACE TEMP TABLE touched AS SELECT DISTINCT {keyed.key} FROM changes")
        for table, name in ((self._current, "old_current"), (self._history, "old_history")):
            self._read(table, name)
        names = {"key": keyed.key, "seq": keyed.order, "at": keyed.time, "follows": keyed.follows}
        for statement in (_EVENTS, _RUNS, _FRESH):
            run(statement.format(**names, gone=keyed.gone))
        return query(self._connection, _SIGNED.format(**names))

    def _read(self, table: Table, name: str) -> None:
        """What a table holds of the touched blocks, as a view."""
        wanted = {f"{BLOCK}={block}" for block in self._blocks}
        files = [file for file in table.files() if file.rsplit("/", 2)[1] in wanted]
        self._connection.register(f"no_{name}", table.schema.empty_table())
        source = f"no_{name}"
        if files:
            listed = ", ".join(f'"{column}"' for column in table.schema.names)
            source = f"(SELECT {listed} FROM {reads(files, 'hive_partitioning = true')})"
        self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT * FROM {source}")

    def persist(self, note: dict[str, Any], version: int) -> None:
        """Write the touched blocks of both tables anew; they hold ``version`` then."""
        predicate = f"{BLOCK} IN ({', '.join(map(str, self._blocks))})"
        for table, name, fresh in (
            (self._history, "old_history", "runs"), (self._current, "old_current", "fresh"),
        ):  # fmt: skip
            if not self._blocks:
                table.append(table.schema.empty_table(), note)
                continue
            listed = ", ".join(table.schema.names)
            kept = f"SELECT {listed} FROM {name} ANTI JOIN touched USING ({self.keyed.key})"
            rows = query(
                self._connection,
                f"{kept} UNION ALL SELECT {listed} FROM {fresh} ORDER BY {self.keyed.key}",
            )
            table.replace(rows.cast(table.schema), predicate, note)
        self.held = version


_EVENTS = """
CREATE OR REPLACE TEMP TABLE events AS
SELECT {key}, block, status, place, happened FROM (
    SELECT {key}, block, {follows} AS status, unnest(changes).sequence AS place,
        unnest(changes).changed_at AS happened
    FROM old_history SEMI JOIN touched USING ({key})
    UNION ALL
    SELECT {key}, block, CASE WHEN gone THEN '{gone}' ELSE {follows} END, {seq}, {at} FROM changes
) QUALIFY row_number() OVER (PARTITION BY {key}, place ORDER BY happened, status) = 1
"""
_RUNS = """
CREATE OR REPLACE TEMP TABLE runs AS
WITH ordered AS (
    SELECT *, max(happened) OVER by_place AS moment,
        status IS DISTINCT FROM lag(status) OVER by_place AS starts
    FROM events WINDOW by_place AS (PARTITION BY {key} ORDER BY place)
), numbered AS (
    SELECT *, sum(CAST(starts AS BIGINT)) OVER (
        PARTITION BY {key} ORDER BY place ROWS UNBOUNDED PRECEDING) AS run
    FROM ordered
), grouped AS (
    SELECT {key}, block, run, any_value(status) AS {follows}, min(moment) AS started_at,
        list(struct_pack(sequence := place, changed_at := happened) ORDER BY place) AS changes
    FROM numbered GROUP BY {key}, block, run
), closed AS (
    SELECT *, lead(started_at) OVER (PARTITION BY {key} ORDER BY run) AS ended_at FROM grouped
)
SELECT *, CAST(CAST(epoch_ms(ended_at) - epoch_ms(started_at) AS DECIMAL(15, 0))
    * CAST(0.001 AS DECIMAL(4, 3)) AS DECIMAL(18, 3)) AS duration_seconds
FROM closed
"""
_FRESH = """
CREATE OR REPLACE TEMP TABLE fresh AS
SELECT * FROM (
    SELECT * FROM old_current SEMI JOIN touched USING ({key})
    UNION ALL BY NAME
    SELECT * EXCLUDE (gone) FROM changes WHERE NOT gone
) SEMI JOIN (
    SELECT {key}, max(place) AS {seq} FROM events GROUP BY {key}
) USING ({key}, {seq})
QUALIFY row_number() OVER (PARTITION BY {key}) = 1
"""
_SIGNED = """
SELECT *, 1 AS sign FROM fresh ANTI JOIN old_current USING ({key}, {seq})
UNION ALL BY NAME
SELECT *, -1 AS sign FROM old_current SEMI JOIN touched USING ({key})
    ANTI JOIN fresh USING ({key}, {seq})
"""
