"""What logs and file footers say of a file's rows, against the rows themselves.

Readers leave out a file, or a part of it, by these counts and bounds: where they are
wrong a query gives fewer rows than the table has, though no row was touched.
"""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pat
from deltalake import DeltaTable

from lakehouse.audit.check import Check, Scene
from lakehouse.audit.steps import is_told
from lakehouse.audit.topic import SAMPLE
from lakehouse.storage.file_paths import local_path
from lakehouse.storage.rows import added_files

_ROWS = 65_536
_MILLISECOND = 1_000
"""Spark cuts a bound of a time to milliseconds, in µs."""
_CUT = 32
"""So many letters of a bound are kept, at least, where a writer cuts it."""


@dataclass
class _Seen:
    """Rows, and of each column the nulls and the least and greatest value."""

    rows: int | None = 0
    nulls: dict[str, int] = field(default_factory=dict)
    low: dict[str, Any] = field(default_factory=dict)
    high: dict[str, Any] = field(default_factory=dict)

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a part of the rows."""
        bounds = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if not pat.is_nested(column.type):
                found = pc.min_max(column)
                bounds[name] = column.null_count, _value(found["min"]), _value(found["max"])
        self.join(_Seen(batch.num_rows, *({n: b[i] for n, b in bounds.items()} for i in range(3))))

    def join(self, other: _Seen) -> None:
        """Count what another has seen."""
        self.rows = (self.rows or 0) + (other.rows or 0)
        for name, nulls in other.nulls.items():
            self.nulls[name] = self.nulls.get(name, 0) + nulls
        for mine, theirs, choose in ((self.low, other.low, min), (self.high, other.high, max)):
            for name, value in theirs.items():
                known = [v for v in (mine.get(name), value) if v is not None]
                mine[name] = choose(known) if known else None

    def contradicts(self, told: _Seen) -> str:
        """Where the statistics would hide a row; empty where they hide none."""
        if told.rows is not None and told.rows != self.rows:
            return f"{told.rows:,} rows"
        for name, nulls in told.nulls.items():
            if name in self.nulls and nulls is not None and nulls != self.nulls[name]:
                return f"{nulls:,} nulls of {name}"
        for name, low in told.low.items():
            if _is_above(low, self.low.get(name)):
                return f"no {name} below {low}"
        for name, high in told.high.items():
            if _is_above(self.high.get(name), high) and not _is_cut(high, self.high.get(name)):
                return f"no {name} above {high}"
        return ""


def _value(scalar: pa.Scalar[Any]) -> Any:
    """As Python has it; times as numbers, which have no end."""
    if pat.is_temporal(scalar.type):
        return scalar.cast(pa.int32() if pat.is_date32(scalar.type) else pa.int64()).as_py()
    return scalar.as_py()


def _is_above(value: Any, other: Any) -> bool:
    """Whether a value lies above another; not where one is lacking, or they are of two kinds."""
    if value is None or other is None or isinstance(value, str) != isinstance(other, str):
        return False
    if isinstance(value, Decimal):  # a log has the nearest double
        return float(value) > float(other)
    return bool(value > other)


def _is_cut(told: Any, value: Any) -> bool:
    """Whether a bound is the value without its end: long texts and times are cut so."""
    if isinstance(told, (str, bytes)):
        return len(told) >= _CUT and value.startswith(told)
    whole = isinstance(told, int) and not isinstance(told, bool) and told % _MILLISECOND == 0
    return whole and 0 < value - told < _MILLISECOND


def bounds(scene: Scene) -> Check:
    """Every file of the product's tables; a file that cannot be read is others' to tell."""
    snapshots, product = scene.snapshots, scene.product
    pinned = {pin.name: pin.version for pin in (scene.bronze, scene.quarantine) if pin}
    tables = {name: snapshots.open(name, version) for name, version in pinned.items()}
    names = [f"ledger.{product}", f"erased.{product}"]
    names += [f"silver.{product}_{r.name}" for r in scene.recomputes.tables]
    tables |= {name: snapshots.opened(name) for name in names if snapshots.exists(name)}
    scene.say("comparing what the logs say of their files with the rows")
    faults, first = [], []
    with ThreadPoolExecutor(2) as pool:
        wrong = {
            name: _wrong(table, snapshots.lake.table(name), pool) for name, table in tables.items()
        }
    for name, found in wrong.items():
        if found:
            path, what = found[0]
            faults.append(
                f"{name}: {len(found):,} files are not what log or footer say, and readers "
                f"would leave out rows: {path}: {what}"
            )
        first += [{"table": name, "file": path, "told": what} for path, what in found[:SAMPLE]]
    return Check("files whose counts or bounds are wrong", tuple(faults), first=tuple(first))


def _wrong(table: DeltaTable, uri: str, pool: Executor) -> list[tuple[str, str]]:
    actions = added_files(table)
    paths = [local_path(uri, path) for path in actions["path"].to_pylist()]
    told = [_told(actions, row) for row in range(len(paths))]
    found = zip(paths, pool.map(_fault, paths, told), strict=True)
    return [(str(path), fault) for path, fault in found if fault]


def _told(actions: pa.Table, row: int) -> _Seen:
    """What the log tells of a file."""
    held = actions.slice(row, 1)
    told: dict[str, dict[str, Any]] = {"null_count": {}, "min": {}, "max": {}}
    for name in told.keys() & {*held.schema.names}:
        struct = held[name].combine_chunks()
        ordered = [f.name for f in struct.type if not pat.is_nested(f.type)]
        told[name] = {column: _value(struct.field(column)[0]) for column in ordered}
    rows = held["num_records"][0].as_py() if "num_records" in held.schema.names else None
    return _Seen(rows, told["null_count"], told["min"], told["max"])


def _fault(path: Path, told: _Seen) -> str:
    """Which statistics of a file are wrong; empty where none is, or where it cannot be read."""
    whole = _Seen()
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                here = _Seen()
                for batch in file.iter_batches(_ROWS, row_groups=[group], use_threads=False):
                    here.add(batch)
                if what := here.contradicts(_footer(file.metadata.row_group(group))):
                    return f"its footer says {what}"
                whole.join(here)
    except BaseException as error:
        if not is_told(error):
            raise
        return ""
    what = whole.contradicts(told)
    return f"the log says {what}" if what else ""


def _footer(group: pq.RowGroupMetaData) -> _Seen:
    """What a file's footer tells of a part of it."""
    told = _Seen(group.num_rows)
    for number in range(group.num_columns):
        column = group.column(number)
        stats, name = column.statistics, column.path_in_schema
        if stats is None or "." in name:
            continue
        if stats.has_null_count:
            told.nulls[name] = stats.null_count
        if stats.has_min_max:
            is_raw = stats.logical_type.type in {"TIMESTAMP", "DATE"}
            told.low[name] = stats.min_raw if is_raw else stats.min
            told.high[name] = stats.max_raw if is_raw else stats.max
    return told
