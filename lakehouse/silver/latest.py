"""Latest by key: each key's latest change, and the history of one of its columns.

Both can safely be computed again: changes are united by (key, order), and the greatest order
is the latest. So a version applied twice changes nothing, a change sent twice counts once, and
a late change finds its place. The store has each key's latest row and the places of all its
changes, so that a batch costs only the keys that it touches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from lakehouse.model.flow import Keyed
from lakehouse.silver.keys import (
    ZERO,
    from_text_values,
    hash_key,
    packed,
    text_values,
    words_sql,
)
from lakehouse.silver.render import ARROW
from lakehouse.silver.store import Store
from lakehouse.storage.duck import query, reads
from lakehouse.storage.prepared import Source

BLOCK = "block"
_AT_ONCE = 100_000
"""Changes whose keys are looked at together: what that takes does not grow with a fold."""
_PLACE = "place_block, place_high, place_low"
"""Columns of a key's place in the store: keys of a block are neighbours, as they are in bronze."""
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
    """The Arrow schema of the rows that :meth:`KeyedState.absorb` gives."""
    return keyed_schemas(keyed)[keyed.current].append(pa.field("sign", pa.int32()))


HISTORY_DOCS = {
    "started_at": "time of the first change of the run; never before that of an earlier run",
    "ended_at": "when the next run began; null for the last",
    "duration_seconds": "ended_at less started_at",
    "changes": "sequence and time of every change of the run",
    BLOCK: "partition, by key",
}


GONE = "gone"
"""Column of what a batch leaves for ``current``: whether the key is gone."""


def left_schema(keyed: Keyed, name: str) -> pa.Schema:
    """The Arrow schema of the pending rows that a batch leaves for a table."""
    schema = keyed_schemas(keyed)[name]
    fields = [f.with_nullable(True) for f in schema]
    return pa.schema([*fields, *([pa.field(GONE, pa.bool_())] if name == keyed.current else [])])


class KeyedState:
    """The latest change by key, in a space of the store."""

    space = "latest"

    def __init__(self, keyed: Keyed, connection: duckdb.DuckDBPyConnection, rows: Source) -> None:
        self.keyed, self._connection = keyed, connection.cursor()
        self._connection.register("rows", rows)
        kinds = keyed_columns(keyed)[keyed.current]
        self._kind = kinds[keyed.key]
        self._words = {
            "key": keyed.key, "kind": self._kind, "seq": keyed.order, "at": keyed.time,
            "follows": keyed.follows, "gone": keyed.gone,
            "place": f"CAST(CAST({BLOCK} AS HUGEINT) + {ZERO} AS UBIGINT) AS place_block, "
            + words_sql(hash_key([keyed.key]), "place"),
            "current": from_text_values([*kinds.items()], "known[3]"),
            "row": text_values([*kinds]), "place_columns": _PLACE,
        }  # fmt: skip

    def absorb(self, store: Store) -> tuple[pa.Table, dict[str, pa.Table]]:
        """Apply ``rows``; gives signed rows, and what each touched key leaves for each table.

        Signed rows are those that entered ``current``, and with sign -1 those that left it.
        """
        keyed = self.keyed
        [(rows,)] = self._connection.execute(
            f"SELECT count(*) FROM rows WHERE {keyed.where}"
        ).fetchall()
        parts = max(1, -(-rows // _AT_ONCE))
        done = [self._absorb_part(store, part, parts) for part in range(parts)]
        signed = pa.concat_tables([of for of, _ in done])
        left = {n: pa.concat_tables([of[n] for _, of in done]) for n in done[0][1]}
        return signed, left

    def _absorb_part(
        self, store: Store, part: int, parts: int
    ) -> tuple[pa.Table, dict[str, pa.Table]]:
        """As :meth:`absorb`, of one part of the keys."""
        keyed, run = self.keyed, self._connection.execute
        columns = ", ".join(f"CAST({sql} AS {k}) AS {n}" for n, (sql, k) in keyed.columns.items())
        key, kind = keyed.columns[keyed.key]
        run(
            f"CREATE OR REPLACE TEMP TABLE changes AS SELECT {columns}, "
            f"CAST({keyed.block} AS BIGINT) AS {BLOCK}, ({keyed.deleted}) AS gone "
            f"FROM rows WHERE ({keyed.where}) AND hash(CAST({key} AS {kind})) % {parts} = {part}"
        )
        run(_TOUCHED.format(changes="changes", **self._words))
        touched = query(self._connection, f"FROM touched_keys ORDER BY {_PLACE}")
        known = store.get(self.space, _places(touched))
        values = pa.array(known.values(), pa.binary()).cast(pa.string())
        self._connection.register("known_values", pa.table({"value": values}))
        for statement in (_KNOWN, _OLD_CURRENT, _EVENTS, _RUNS, _FRESH):
            run(statement.format(**self._words))
        self._put(store)
        left = {
            keyed.current: query(self._connection, _LEFT.format(**self._words)),
            keyed.history: query(self._connection, "FROM runs"),
        }
        signed = query(self._connection, _SIGNED.format(**self._words))
        return signed, {n: _as(rows, left_schema(keyed, n)) for n, rows in left.items()}

    def load(self, tables: dict[str, list[str]], store: Store) -> Iterator[int]:
        """Load the files of both tables, a block at a time; yields how many keys each has.

        Each block is a transaction.
        """
        files = {name: _by_block(paths) for name, paths in tables.items()}
        history, current = files[self.keyed.history], files[self.keyed.current]
        self._connection.register(
            "none", keyed_schemas(self.keyed)[self.keyed.current].empty_table()
        )
        hive = f"hive_partitioning = true, hive_types = {{'{BLOCK}': BIGINT}}"
        for block, paths in sorted(history.items()):
            now = reads(current[block], hive) if block in current else "none"
            for statement in (_LOADED, _TOUCHED):
                sql = statement.format(files=reads(paths, hive), changes="events", **self._words)
                self._connection.execute(sql)
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE fresh AS FROM {now}")
            with store.writing():
                keys = self._put(store)
            yield keys

    def _put(self, store: Store) -> int:
        rows = query(self._connection, _VALUES.format(**self._words))
        values = rows["value"].cast(pa.binary()).to_pylist()
        store.put(self.space, zip(_places(rows), values, strict=True))
        return int(rows.num_rows)


def _places(rows: pa.Table) -> list[bytes]:
    return packed(rows, *_PLACE.split(", "))


def _as(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    return rows.select(schema.names).cast(schema)


def _by_block(files: Sequence[str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for file in files:
        found[int(file.rsplit("/", 2)[1].removeprefix(f"{BLOCK}="))].append(file)
    return found


_TOUCHED = """
CREATE OR REPLACE TEMP TABLE touched_keys AS
SELECT *, {place} FROM (SELECT DISTINCT {key}, block FROM {changes})
"""
_KNOWN = """
CREATE OR REPLACE TEMP TABLE held AS
SELECT CAST(known[1] AS {kind}) AS {key}, CAST(known[2] AS BIGINT) AS block, known
FROM (SELECT from_json(value, '["VARCHAR"]') AS known FROM known_values)
"""
_OLD_CURRENT = """
CREATE OR REPLACE TEMP TABLE old_current AS
SELECT {current} FROM held WHERE known[3] IS NOT NULL
"""
_EVENTS = """
CREATE OR REPLACE TEMP TABLE events AS
SELECT {key}, block, status, place, happened FROM (
    SELECT {key}, block, one[3] AS status, one[1] AS place,
        CAST(one[2] AS TIMESTAMPTZ) AS happened
    FROM (SELECT {key}, block, unnest(from_json(known[4], '[["VARCHAR"]]')) AS one FROM held)
    SEMI JOIN touched_keys USING ({key})
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
    SELECT * FROM old_current SEMI JOIN touched_keys USING ({key})
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
SELECT *, -1 AS sign FROM old_current SEMI JOIN touched_keys USING ({key})
    ANTI JOIN fresh USING ({key}, {seq})
"""
_LEFT = """
SELECT touched_keys.{key}, touched_keys.block, fresh.* EXCLUDE ({key}, block),
    fresh.{seq} IS NULL AS gone
FROM touched_keys LEFT JOIN fresh USING ({key})
"""
_VALUES = """
WITH places AS (
    SELECT {key}, to_json(list([place, CAST(happened AS VARCHAR), status] ORDER BY place)) AS listed
    FROM events GROUP BY {key}
), latest AS (SELECT {key}, {row} AS latest FROM fresh)
SELECT {place_columns},
    to_json([CAST({key} AS VARCHAR), CAST(block AS VARCHAR), CAST(latest AS VARCHAR),
        CAST(listed AS VARCHAR)]) AS value
FROM touched_keys JOIN places USING ({key}) LEFT JOIN latest USING ({key})
ORDER BY {place_columns}
"""
_LOADED = """
CREATE OR REPLACE TEMP TABLE events AS
SELECT {key}, block, {follows} AS status, unnest(changes).sequence AS place,
    unnest(changes).changed_at AS happened
FROM {files}
"""
