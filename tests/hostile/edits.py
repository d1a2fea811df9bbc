"""One cell of one table changed, as a second writer does it, and what the audit says of it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.types as pat
from deltalake import CommitProperties, DeltaTable, write_deltalake

from lakehouse.audit.proof import Proof, Verdict
from lakehouse.audit.run import Broker, audit
from tests.conftest import NOW, settings_at

LONG = 64
"""Texts up to this size are fingerprinted in another way than longer ones."""


def _text(r: random.Random, value: Any) -> Any:
    """A text that is nearly the same: what somebody types, or a broken disk makes of it."""
    value = value or type(value or "")()
    zero, letter = ("\0", r.choice("xyzAQ")) if isinstance(value, str) else (b"\0", b"\xfe")
    at = r.randrange(len(value) + 1)
    other = r.randrange(len(value) + 1)
    low, high = sorted((at, other))
    ways = [
        value + letter,
        value + zero,
        value[:at] + letter + value[at + 1 :],
        value[:low] + value[high : high + 1] + value[low + 1 : high]
        + value[low : low + 1] + value[high + 1 :],
        value[:0],
        value + letter * (LONG - len(value)),
        value + letter * LONG,
    ]  # fmt: skip
    return r.choice(ways)


def _nested(r: random.Random, value: Any, kind: pa.DataType) -> Any:
    """A list with one element more, fewer or changed."""
    element = kind.value_type
    empty = dict.fromkeys((field.name for field in element), None)
    if not value or r.random() < 0.2:
        return [*(value or []), empty]
    at = r.randrange(len(value))
    field = element.field(r.randrange(element.num_fields))
    changed = {**value[at], field.name: _value(r, value[at][field.name], field)}
    return r.choice([[*value[:at], changed, *value[at + 1 :]], value[:at] + value[at + 1 :]])


def _value(r: random.Random, value: Any, field: pa.Field) -> Any:
    """Another value of the field's type."""
    kind = field.type
    if field.nullable and value is not None and r.random() < 0.1:
        return None
    if pat.is_string(kind) or pat.is_binary(kind):
        return _text(r, value if value is not None else ("" if pat.is_string(kind) else b""))
    if pat.is_integer(kind):
        return (value or 0) ^ 1 << r.randrange(20 if kind.bit_width == 32 else 40)
    if pat.is_boolean(kind):
        return not value
    if pat.is_date(kind):
        return (value or date(2026, 1, 1)) + timedelta(days=r.randrange(1, 99))
    if pat.is_timestamp(kind):
        return (value or NOW) + timedelta(microseconds=r.randrange(1, 9**9))
    if pat.is_decimal(kind):
        sign = r.choice((-1, 1))
        return (value or 0) + sign * Decimal(r.randrange(1, 9999)).scaleb(-kind.scale)
    return _nested(r, value, kind)


def edited(rows: pa.Table, r: random.Random) -> tuple[pa.Table, str]:
    """The rows with another value in one cell, and where."""
    field, row = r.choice(list(rows.schema)), r.randrange(rows.num_rows)
    cells = rows[field.name].to_pylist()
    before = cells[row]
    while cells[row] == before:
        cells[row] = _value(r, before, field)
    column = pa.array(cells, field.type)
    place = f"{field.name} of row {row}: {before!r} -> {cells[row]!r}"
    return rows.set_column(rows.schema.get_field_index(field.name), field, column), place


def tables(root: Path) -> list[Path]:
    """Every table of the lake that holds a row and that an audit proves; kept audits are none."""
    found = sorted(log.parent for log in root.glob("*/*/_delta_log"))
    return [t for t in found if t.parent.name != "audit" and DeltaTable(t).count()]


def verdicts(
    root: Path, broker: Broker, seeds: range, product: str = "sales"
) -> Iterator[tuple[str, Proof]]:
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
        found = audit(product, settings_at(copy), broker, NOW, _silent)
        shutil.rmtree(copy)
        yield f"seed {seed}: {path.parent.name}.{path.name}, {place}", found


def _silent(_: str) -> None:
    """Narration that nobody reads."""


def _plain(table: DeltaTable) -> pa.Table:
    schema = pa.schema(table.schema().to_arrow())
    rows = pa.Table.from_batches(table.to_pyarrow_dataset().to_batches())
    return rows.select(schema.names).cast(schema)


def missed(
    root: Path,
    broker: Broker,
    seeds: range,
    product: str = "sales",
    say: Callable[[str], None] = _silent,
) -> list[str]:
    """The edits that the audit did not find; all are told to ``say``."""
    found = []
    for place, proof in verdicts(root, broker, seeds, product):
        told = f"{place}: {proof.headline}"
        say(told)
        if proof.verdict is not Verdict.NOT_PROVEN:
            found.append(told)
    return found
