"""A table's rows, file by file as Parquet holds them; and those that a commit will change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, QueryBuilder

from lakehouse.core.errors import TableDamaged
from lakehouse.storage.file_paths import local_path

_ROWS = 65_536


@dataclass(frozen=True)
class DataFile:
    """One data file of a local table, and the partition values that the log gives its rows.

    ``schema`` is the table's: its rows have no other columns and types, whatever the file has.
    """

    path: Path
    partition: dict[str, pa.Scalar[Any]]
    schema: pa.Schema

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Its rows, a part at a time; page checksums are looked at where pages have one.

        A column that the file is older than is left out. TableDamaged where a value is
        none of the table's type.
        """
        with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(_ROWS, use_threads=False):
                yield self._as_table(batch)

    def _as_table(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The log's partition values hold: Spark's files have the column too."""
        columns = {
            field.name: self._cast(batch.column(field.name), field)
            for field in self.schema
            if field.name in batch.schema.names
        }
        columns |= {n: pa.repeat(value, len(batch)) for n, value in self.partition.items()}
        return pa.RecordBatch.from_pydict(columns)

    def _cast(self, column: pa.Array, field: pa.Field[Any]) -> pa.Array:
        try:
            return column.cast(field.type)
        except pa.ArrowException as error:
            words = " ".join(str(error).split())[:120]
            raise TableDamaged(
                str(self.path),
                f"column {field.name!r} has values that are no {field.type}: {words}",
                "RESTORE the version before another program changed the column or the file; "
                "or lakehouse restore BACKUP",
            ) from None


def added_files(table: DeltaTable, *, flatten: bool = False) -> pa.Table:
    """What the log tells of each data file of the version; ``pa.table`` would load pandas."""
    return pa.RecordBatchReader.from_stream(table.get_add_actions(flatten=flatten)).read_all()


def data_files(table: DeltaTable, uri: str) -> list[DataFile]:
    """The data files of the table's version."""
    actions = added_files(table)
    paths, schema = actions["path"].to_pylist(), pa.schema(table.schema().to_arrow())
    if "partition" not in actions.schema.names:
        return [DataFile(local_path(uri, path), {}, schema) for path in paths]
    partitions = actions["partition"].combine_chunks()
    names = [field.name for field in partitions.type]
    return [
        DataFile(
            local_path(uri, path), {name: partitions.field(name)[row] for name in names}, schema
        )
        for row, path in enumerate(paths)
    ]


def rows_where(table: DeltaTable, predicate: str | None) -> Iterator[pa.RecordBatch]:
    """The rows that a delete or an overwrite by ``predicate`` takes out; None takes all."""
    where = "" if predicate is None else f" WHERE {predicate}"
    schema = pa.schema(table.schema().to_arrow())
    for batch in QueryBuilder().register("t", table).execute(f"SELECT * FROM t{where}"):
        yield pa.record_batch(batch).select(schema.names).cast(schema)  # no view types


def marked_rows(
    table: DeltaTable, marks: pa.Table, keys: Sequence[str], where: str
) -> tuple[list[pa.RecordBatch], list[pa.RecordBatch]]:
    """The rows ``t`` that a merge of ``marks`` by ``keys`` changes: before it, and after it."""
    before, after = [], []
    numbers = pa.array(range(len(marks)), pa.int64())
    wanted = marks.select(keys).append_column("mark", numbers)
    names = [name for name in marks.schema.names if name not in keys]
    for batch in rows_where(table, where):
        here = pa.table([batch.column(key) for key in keys], names=list(keys))
        here = here.cast(marks.select(keys).schema)
        here = here.append_column("row", pa.array(range(len(batch)), pa.int64()))
        found = here.join(wanted, list(keys), join_type="inner").combine_chunks()
        if len(found):
            old = batch.take(found["row"].combine_chunks())
            before.append(old)
            after.append(_with_marks(old, marks.take(found["mark"]).combine_chunks(), names))
    return before, after


def _with_marks(rows: pa.RecordBatch, marks: pa.Table, names: Sequence[str]) -> pa.RecordBatch:
    for name in names:
        marked = marks[name].combine_chunks()
        rows = rows.set_column(rows.schema.get_field_index(name), name, marked)
    return rows


def fitted_rows(
    files: Mapping[str, Mapping[str, str | None]], schema: pa.Schema
) -> Iterator[pa.Table]:
    """The rows of each file, in a table's own schema; its partition's values as the log has them.

    ``files`` are as :func:`lakehouse.storage.data_files.partition_values` gives them.
    """
    for file, values in files.items():
        part = pq.ParquetFile(file).read(use_threads=False)
        for column, value in values.items():
            told = pa.repeat(pa.scalar(value, pa.string()), part.num_rows)
            part = part.append_column(column, told)
        yield part.select(schema.names).cast(schema)
