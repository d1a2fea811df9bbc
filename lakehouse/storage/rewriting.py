"""Rows of a table that fulfil a condition; their files are rewritten, without or with others.

DuckDB finds the rows; it leaves out files by partitions and by the bounds in their footers. Only
files that hold such rows are read whole then, a row group at a time, their pages verified. What
is written instead has a checksum on every page. Nothing is committed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from deltalake import DeltaTable

from lakehouse.core.sql import identifier
from lakehouse.settings.settings import Settings
from lakehouse.storage.damage import damaged, files_damage, table_name
from lakehouse.storage.data_files import THREADS, WrittenFile, write_file
from lakehouse.storage.duck import FILE, PLACE, connect, query, scan
from lakehouse.storage.faults import read_faults
from lakehouse.storage.fingerprint import Batches, by_batch, summed
from lakehouse.storage.health import broken_files
from lakehouse.storage.rows import DataFile, data_files

_MARK = "number of the mark"
_FOUND = """
SELECT {file} AS file, list({place}) AS places, list({mark}) AS marks
FROM (FROM {rows} UNION ALL BY NAME FROM no_rows) AS t {marks} WHERE {where} GROUP BY ALL
"""
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """A file, the places of rows in it in ascending order, and for each the number of its mark."""

    file: DataFile
    places: Places
    marks: Places


@dataclass(frozen=True)
class Rewritten:
    """What came of a file: what replaces it if any row is left, and what its rows came to."""

    gone: DataFile
    new: WrittenFile | None
    changed: int
    """Rows of it that were found."""
    removed: Batches
    added: Batches


def find(
    table: DeltaTable,
    uri: str,
    settings: Settings,
    where: str,
    marks: pa.Table | None = None,
    keys: Sequence[str] = (),
) -> list[Found]:
    """The rows ``t`` for which ``where`` holds, and which have the ``keys`` of a mark, if given.

    TableDamaged where a file cannot be read.
    """
    Path(uri, "_delta_log").stat()  # a folder that was moved away has no damaged files
    files = {str(file.path): file for file in data_files(table, uri)}
    if not files:
        return []
    tables = {"no_rows": pa.schema(table.schema().to_arrow()).empty_table()}
    join, mark = "", "0"
    if marks is not None:
        numbers = pa.array(np.arange(marks.num_rows))
        tables["marks"] = marks.select(keys).append_column(_MARK, numbers)
        same = " AND ".join(f"t.{key} = s.{key}" for key in map(identifier, keys))
        join, mark = f"JOIN marks AS s ON {same}", identifier(_MARK)
    sql = _FOUND.format(
        file=identifier(FILE), place=identifier(PLACE), mark=mark, marks=join, where=where,
        rows=scan(table, files, placed=True),
    )  # fmt: skip
    with read_faults(f"table {table_name(uri)}"):
        try:
            with connect(settings, uri) as connection:
                found = query(connection, sql, **tables)
        except duckdb.Error:
            if broken := broken_files(table, uri):
                raise damaged(uri, files_damage(uri, broken)) from None
            raise
    return [
        _found(files[file], places.values.to_numpy(), marks.values.to_numpy())
        for file, places, marks in zip(
            found["file"].to_pylist(), found["places"], found["marks"], strict=True
        )
    ]


def _found(file: DataFile, places: Places, marks: Places) -> Found:
    places, first = np.unique(places, return_index=True)
    return Found(file, places, marks[first])


Change = Callable[[pa.RecordBatch, Places, Places], pa.RecordBatch]
"""Rows, the places among them of those found, these rows' marks → the rows as they become."""


def left_out(rows: pa.RecordBatch, places: Places, _: Places) -> pa.RecordBatch:
    """The rows without those found."""
    is_kept = np.ones(len(rows), np.bool_)
    is_kept[places] = False
    return rows.filter(pa.array(is_kept))


def marked_by(marks: pa.Table) -> Change:
    """Sets the columns of marks in the rows found."""
    columns = {name: marks[name].combine_chunks() for name in marks.schema.names}

    def set_marks(rows: pa.RecordBatch, places: Places, numbers: Places) -> pa.RecordBatch:
        order = np.arange(len(rows))
        order[places] = len(rows) + np.arange(len(places))
        for name, values in columns.items():
            at = rows.schema.get_field_index(name)
            new = values.take(pa.array(numbers)).cast(rows.schema.field(at).type)
            whole = pa.concat_arrays([rows.column(at), new]).take(pa.array(order))
            rows = rows.set_column(at, name, whole)
        return rows

    return set_marks


def rewritten(
    found: Sequence[Found], folder: Path, codec: str, change: Change, *, digest: bool
) -> list[Rewritten]:
    """Rewrite each file with rows changed; where ``digest``, what they came to is summed up."""

    def write(one: Found) -> Rewritten:
        file, before, after = one.file, list[Batches](), list[Batches]()

        def rows() -> Iterator[pa.RecordBatch]:
            start = 0
            for batch in file.whole_rows():
                first, last = np.searchsorted(one.places, [start, start + len(batch)])
                places = one.places[first:last] - start
                start += len(batch)
                new = change(batch, places, one.marks[first:last]) if len(places) else batch
                if digest and len(places):
                    before.append(by_batch([batch.take(pa.array(places))]))
                    if len(new) == len(batch):
                        after.append(by_batch([new.take(pa.array(places))]))
                yield new

        new = write_file(folder, rows(), file.columns, file.values, codec)
        return Rewritten(file, new, len(one.places), summed(before), summed(after))

    with ThreadPoolExecutor(THREADS, "rewriting") as pool:
        return list(pool.map(write, found))
