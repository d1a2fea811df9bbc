"""A table's rows, file by file as Parquet holds them; pages that have a checksum are verified."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from lakehouse.core.errors import TableDamaged
from lakehouse.core.text import one_line
from lakehouse.storage.actions import removal
from lakehouse.storage.faults import read_fault
from lakehouse.storage.file_paths import local_path
from lakehouse.storage.partitions import logged

_ROWS = 65_536


@dataclass(frozen=True)
class DataFile:
    """One data file of a local table, and the partition values that the log gives its rows.

    ``name``, ``size`` and ``count`` (of its rows; 0 where it is not told) are the log's.
    ``schema`` is the table's: its rows have no other columns and types, whatever the file has.
    """

    table: str
    name: str
    size: int
    count: int
    partition: dict[str, pa.Scalar[Any]]
    schema: pa.Schema

    @property
    def path(self) -> Path:
        """Where it is on disk."""
        return local_path(self.table, self.name)

    @property
    def values(self) -> dict[str, str | None]:
        """Its partition's values as a log has them."""
        return {name: logged(value.as_py()) for name, value in self.partition.items()}

    @property
    def columns(self) -> pa.Schema:
        """What a file of the table has: all columns but the partition's."""
        return pa.schema([field for field in self.schema if field.name not in self.partition])

    def removal(self, *, data_change: bool = True, ago: float = 0.0) -> dict[str, Any]:
        """The action that takes it out of the table, as :func:`removal` says."""
        return removal(self.name, self.size, self.values, data_change=data_change, ago=ago)

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Its rows, a part at a time; page checksums are looked at where pages have one.

        A column that the file is older than is left out. TableDamaged where a value is
        none of the table's type.
        """
        import pyarrow.parquet as pq  # noqa: PLC0415  # who only looks into a log does without

        with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):  # a batch of several would be too large
                for batch in file.iter_batches(_ROWS, row_groups=[group], use_threads=False):
                    yield self._as_table(batch)

    def whole_rows(self) -> Iterator[pa.RecordBatch]:
        """Its rows with all columns, null where the file is older than one, to be rewritten.

        TableDamaged where it cannot be read, or a page is not what was written.
        """
        try:
            for batch in self.rows():
                lacking = {f.name: pa.nulls(len(batch), f.type) for f in self.schema
                           if f.name not in batch.schema.names}  # fmt: skip
                columns = [
                    lacking[name] if name in lacking else batch.column(name)
                    for name in self.schema.names
                ]
                yield pa.record_batch(columns, names=self.schema.names)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise read_fault(self.table, self.path, error) from None

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
            words = one_line(error, 120)
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
    actions, schema = added_files(table), pa.schema(table.schema().to_arrow())
    told = (actions[name].to_pylist() for name in ("path", "size_bytes", "num_records"))
    partitions: list[dict[str, Any]] = [{}] * len(actions)
    if "partition" in actions.schema.names:
        values = actions["partition"].combine_chunks()
        names = table.metadata().partition_columns  # in the order of a file's folders
        partitions = [{n: values.field(n)[row] for n in names} for row in range(len(actions))]
    return [
        DataFile(uri, name, size, count or 0, partition, schema)
        for name, size, count, partition in zip(*told, partitions, strict=True)
    ]


def fitted_rows(
    uri: str, files: Mapping[str, Mapping[str, str | None]], schema: pa.Schema
) -> Iterator[pa.Table]:
    """The rows of each file, in a table's own schema; its partition's values as the log has them.

    ``files`` are as :func:`lakehouse.storage.partitions.partition_values` gives them.
    TableDamaged where one cannot be read, or a page is not what was written.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415  # as above

    for file, values in files.items():
        try:
            with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
                part = parquet.read(use_threads=False)
            part = part.drop_columns([n for n in values if n in part.schema.names])  # Spark's
            for column, value in values.items():
                told = pa.repeat(pa.scalar(value, pa.string()), part.num_rows)
                part = part.append_column(column, told)
            fitted = part.select(schema.names).cast(schema)
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise read_fault(uri, file, error) from None
        yield fitted
