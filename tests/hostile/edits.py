"""One cell of one table changed, as a second writer does it, and what the audit says of it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake

from lakehouse.audit.proof import Proof, Verdict
from lakehouse.audit.run import audit
from tests.conftest import NOW, settings_at

NEW: dict[pa.DataType, Any] = {
    pa.string(): lambda r, v: (v or "") + r.choice("xyz "),
    pa.binary(): lambda r, v: (v or b"") + bytes([r.randrange(256)]),
    pa.int32(): lambda r, v: (v or 0) ^ 1 << r.randrange(20),
    pa.int64(): lambda r, v: (v or 0) ^ 1 << r.randrange(40),
    pa.bool_(): lambda r, v: not v,
    pa.date32(): lambda r, v: (v or date(2026, 1, 1)) + timedelta(days=r.randrange(1, 99)),
    pa.timestamp("us", "UTC"): lambda r, v: (
        (v or NOW) + timedelta(microseconds=r.randrange(1, 9**9))
    ),
}


def edited(rows: pa.Table, r: random.Random) -> tuple[pa.Table, str]:
    """The rows with another value in one cell, and where."""
    fields = [f for f in rows.schema if f.type in NEW or pa.types.is_decimal(f.type)]
    field, row = r.choice(fields), r.randrange(rows.num_rows)
    cells = rows[field.name].to_pylist()
    before = cells[row]
    if field.type in NEW:
        cells[row] = NEW[field.type](r, before)
    else:
        cells[row] = (before or 0) + Decimal(r.randrange(1, 9999)).scaleb(-field.type.scale)
    column = pa.array(cells, field.type)
    place = f"{field.name} of row {row}: {before!r} -> {cells[row]!r}"
    return rows.set_column(rows.schema.get_field_index(field.name), field, column), place


def tables(root: Path) -> list[Path]:
    """Every table of the lake that holds a row and that an audit proves; kept audits are none."""
    found = sorted(log.parent for log in root.glob("*/*/_delta_log"))
    return [t for t in found if t.parent.name != "audit" and DeltaTable(t).count()]


def verdicts(root: Path, broker: Any, seeds: range) -> Iterator[tuple[str, Proof]]:
    """After each edit of a copy of the lake, what it was and what the audit says."""
    for seed in seeds:
        r = random.Random(seed)
        copy = root.with_name(f"edited-{seed}")
        shutil.copytree(root, copy)
        path = r.choice(tables(copy))
        table = DeltaTable(path)
        rows, place = edited(_plain(table), r)
        notes = [json.loads(commit.get("userMetadata") or "{}") for commit in table.history()]
        note = next((note for note in notes if note), {})  # a forger who keeps our metadata
        commit = CommitProperties({"userMetadata": json.dumps(note)} if seed % 2 else {})
        write_deltalake(table, rows, mode="overwrite", commit_properties=commit)
        found = audit("sales", settings_at(copy), broker, NOW, lambda _: None)
        shutil.rmtree(copy)
        yield f"seed {seed}: {path.parent.name}.{path.name}, {place}", found


def _plain(table: DeltaTable) -> pa.Table:
    schema = pa.schema(table.schema().to_arrow())
    rows = pa.Table.from_batches(table.to_pyarrow_dataset().to_batches())
    return rows.select(schema.names).cast(schema)


def missed(root: Path, broker: Any, seeds: range) -> list[str]:
    """The edits that the audit did not find."""
    return [
        f"{place}: {found.headline}"
        for place, found in verdicts(root, broker, seeds)
        if found.verdict is not Verdict.NOT_PROVEN
    ]
