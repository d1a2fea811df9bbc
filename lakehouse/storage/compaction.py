"""Many small data files become few: the same rows, every page with a checksum again.

Pages are verified as they are read: a compaction does not write a changed value anew
under a checksum that fits it.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from lakehouse.storage.data_files import (
    THREADS,
    WrittenFile,
    bucket_of,
    created,
    new_name,
    writer,
)
from lakehouse.storage.file_paths import local_path
from lakehouse.storage.health import damaged, files_damage
from lakehouse.storage.log import removal
from lakehouse.storage.statistics import merged, statistics

_ROWS = 131_072
"""Rows of a row group, and held in memory by a thread."""
_FAR_MORE = 4


@dataclass(frozen=True)
class _Small:
    """A file that may go into a larger one, by the name that the log has."""

    name: str
    size: int
    rows: int


def compacted(
    table: DeltaTable,
    folder: Path,
    schema: pa.Schema,
    codec: str,
    target: int,
    *,
    seldom: bool,
    ago: float,
) -> tuple[list[WrittenFile], list[dict[str, Any]]]:
    """Write what the table's files smaller than ``target`` become, and what removes those.

    ``schema`` is that of the files: the table's without its partition columns. Nothing
    is committed. The retention of what is replaced began ``ago`` seconds before.
    """
    bins = [*_bins(table, target, seldom)]

    def write(one: tuple[Mapping[str, str | None], list[_Small]]) -> WrittenFile:
        values, small = one
        name = new_name(values, codec)
        told: list[dict[str, Any]] = []
        with created(folder, name) as out, writer(out, schema, codec, dictionary=True) as rows:
            for part in _parts(folder, small, schema):
                rows.write_table(part)
                told += statistics(part, [0, part.num_rows])
        size, now = (folder / name).stat().st_size, int(time.time() * 1000)
        told_of_all = _together(told)
        rows = int(told_of_all["numRecords"])
        return WrittenFile(name, size, values, now, json.dumps(told_of_all), rows)

    with ThreadPoolExecutor(THREADS, "compaction") as pool:
        added = list(pool.map(write, bins))
    return added, [
        removal(file.name, file.size, values, data_change=False, ago=ago)
        for values, small in bins
        for file in small
    ]


def _bins(
    table: DeltaTable, target: int, seldom: bool
) -> Iterator[tuple[Mapping[str, str | None], list[_Small]]]:
    """Two or more files of one partition at a time that come to about ``target`` bytes.

    A bucket is as large as its writer has it, and stays a file of its own.
    ``seldom`` leaves a file for later while it has far more rows than all that are smaller:
    what was compacted is not written again each time.
    """
    actions = pa.table(table.get_add_actions(flatten=True))
    columns = table.metadata().partition_columns
    partitions: dict[tuple[str | None, ...], list[_Small]] = defaultdict(list)
    values = [actions[f"partition.{name}"].cast(pa.string()).to_pylist() for name in columns]
    names, sizes = actions["path"].to_pylist(), actions["size_bytes"].to_pylist()
    counts = actions["num_records"].to_pylist()
    for row, (name, size, rows) in enumerate(zip(names, sizes, counts, strict=True)):
        if size < target and not bucket_of(name):
            partitions[tuple(column[row] for column in values)].append(
                _Small(name, size, rows or 0)
            )
    for key, files in partitions.items():
        held: list[_Small] = []
        for file in _worth_it(files) if seldom else files:
            if held and sum(one.size for one in held) + file.size > target:
                if len(held) > 1:
                    yield dict(zip(columns, key, strict=True)), held
                held = []
            held.append(file)
        if len(held) > 1:
            yield dict(zip(columns, key, strict=True)), held


def _worth_it(files: list[_Small]) -> list[_Small]:
    """The smaller files, up to the first that has far more rows than they."""
    files, rows = sorted(files, key=lambda file: file.rows), 0
    for place, file in enumerate(files):
        if place > 1 and file.rows > _FAR_MORE * rows:
            return files[:place]
        rows += file.rows
    return files


def _together(told: list[dict[str, Any]]) -> dict[str, Any]:
    """A file's statistics, of those of its parts."""
    return reduce(merged, told) if told else {"numRecords": 0}


def _parts(folder: Path, files: Sequence[_Small], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of files, as many at a time as a row group has."""
    held: list[pa.Table] = []
    rows = 0
    for batch in (batch for file in files for batch in _read(folder, file)):
        held.append(_fitted(pa.Table.from_batches([batch]), schema))
        rows += batch.num_rows
        if rows >= _ROWS:
            yield pa.concat_tables(held)
            held, rows = [], 0
    if held:
        yield pa.concat_tables(held)


def _read(folder: Path, file: _Small) -> Iterator[pa.RecordBatch]:
    """A file's rows; TableDamaged where it cannot be read, or a page is not what was written."""
    path = local_path(folder, file.name)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
            yield from parquet.iter_batches(_ROWS, use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        found = files_damage(str(folder), {file.name: f"cannot be read: {error}"})
        raise damaged(str(folder), found) from None


def _fitted(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with the table's columns: null where a file is older than the column."""
    columns = [
        rows[field.name] if field.name in rows.schema.names else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.table(columns, names=schema.names).cast(schema)
