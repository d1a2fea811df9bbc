"""Where one person's records are: in bronze, in copies of their events, in quarantine's bytes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from lakehouse.audit.pins import Snapshots, engine
from lakehouse.core.errors import TableMissing, UsageError
from lakehouse.core.sql import identifier
from lakehouse.ingest.ends import Ends
from lakehouse.ingest.erased import KEY
from lakehouse.ingest.erased import KEY_SQL as _KEY
from lakehouse.ingest.replayed import true_marks
from lakehouse.ingest.schemas import QUARANTINE_SCHEMA
from lakehouse.operations.in_memory import in_memory
from lakehouse.products.registry import contract
from lakehouse.settings.settings import Settings
from lakehouse.storage.duck import lent, query
from lakehouse.storage.faults import read_faults

_NO_ID = "CAST(NULL AS VARCHAR) AS topic_id"
_THEIRS = f"SELECT {_KEY}, batch_id, {_NO_ID} FROM bronze WHERE {{person}} = $value"
_COPIES = f"""
SELECT {_KEY}, batch_id, {_NO_ID} FROM bronze
SEMI JOIN (FROM bronze WHERE {{person}} = $value) AS theirs USING (event_id)
WHERE is_duplicate AND {{person}} IS DISTINCT FROM $value
"""
"""Copies of their events under another name: no table of silver counts them."""
_RAW = f"""
SELECT {_KEY}, batch_id, topic_id, key, value, headers, verdict,
    replayed_version IS NOT NULL AS is_theirs
FROM ({{rows}})
"""


@dataclass(frozen=True)
class Found:
    """Where a person's records are: tables of addresses."""

    bronze: pa.Table
    copies: pa.Table
    """Rows of bronze that copy the person's events under another name."""
    quarantine: pa.Table

    def __len__(self) -> int:
        return int(self.bronze.num_rows + self.copies.num_rows + self.quarantine.num_rows)


@in_memory
def find(person: str, product: str, settings: Settings) -> Found:
    """Where the person's records are now; nothing is written and no lock is taken.

    Raises UsageError where the product knows no persons, or the id is empty.
    """
    field = contract(product).person
    if not field:
        raise UsageError(
            f"product {product!r}", "has no field that says whose event it is",
            "name another product",
        )  # fmt: skip
    if not person:
        raise UsageError(f"{field} ''", "is every guest together", f"name one {field}")
    with engine(settings) as connection, read_faults(f"lake {settings.lake.root}"):
        snapshots = Snapshots(settings.lake.root, connection)
        name = f"bronze.{product}"
        if not snapshots.exists(name):
            raise TableMissing(
                f"table {name}", "does not exist yet", f"run {product}.bronze, or give --root"
            )
        version = snapshots.pin("bronze", name).version
        bronze = query(connection, _THEIRS.format(person=identifier(field)), {"value": person})
        copies = query(connection, _COPIES.format(person=identifier(field)), {"value": person})
        quarantine = bronze.schema.empty_table()
        if snapshots.exists(f"quarantine.{product}"):
            snapshots.pin("quarantine", f"quarantine.{product}")
            note = snapshots.note(name, "ends", version)
            ends = Ends.read(note) if note else Ends("", "")
            in_bronze = pa.concat_tables([bronze, copies])
            quarantine = _in_quarantine(connection, person, in_bronze, ends)
    return Found(bronze, copies, quarantine)


def _in_quarantine(
    connection: duckdb.DuckDBPyConnection, person: str, in_bronze: pa.Table, ends: Ends
) -> pa.Table:
    """Addresses of quarantined records whose bytes name the person, or bronze took as theirs."""
    every = "(SELECT * FROM quarantine UNION ALL BY NAME SELECT * FROM no_columns)"
    named = naming(person)
    found = []
    raw = _RAW.format(rows=true_marks(every, "theirs", None, ends))
    with lent(connection, theirs=in_bronze, no_columns=QUARANTINE_SCHEMA.empty_table()):
        for part in connection.sql(raw).to_arrow_reader(2048):
            for row in part.to_pylist():
                headers = [h["value"] for h in row["headers"] or []]
                texts = [row["key"], row["value"], *headers, row["verdict"].encode()]
                if row["is_theirs"] or any(t is not None and named.search(t) for t in texts):
                    found.append({name: row[name] for name in (*KEY, "batch_id", "topic_id")})
    return pa.Table.from_pylist(found, in_bronze.schema)


def naming(person: str) -> re.Pattern[bytes]:
    """Finds the id in raw bytes, as UTF-8 or as JSON may escape it.

    No letter or digit may touch it: ``c1`` is not found in ``c12``.
    """
    ascii_ = json.dumps(person)[1:-1]
    upper = re.sub(r"(?<=\\u)[0-9a-f]{4}", lambda m: m.group().upper(), ascii_)
    ways = {person, ascii_, upper, json.dumps(person, ensure_ascii=False)[1:-1]}
    choices = b"|".join(sorted(re.escape(way.encode()) for way in ways))
    word = rb"[0-9A-Za-z\x80-\xff]"
    return re.compile(rb"(?<!" + word + rb")(?:" + choices + rb")(?!" + word + rb")")
