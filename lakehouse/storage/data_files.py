"""Data files of a Delta table: Parquet, with a checksum on every page, written here.

delta-rs writes no checksums, and without them a value that a flipped bit changed is
read as if it had been written so. So no file is written by it. Files that an earlier
release wrote by its merges, deletes and overwrites have none until they are written
again: reading those finds only what breaks their format.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import reduce
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.storage.partitions import encoded, logged
from lakehouse.storage.statistics import merged, statistics

_FEW = 256
"""Fewer rows are written without dictionaries, which cost more than they save, and without
bounds in the file's footer, which would be the larger half of it: the log has them."""
_BUCKET = "b"
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NAMED = re.compile(rf"part-{_BUCKET}(\d+)-{_UUID}\.[^/]*$")
"""With the whole of the UUID: one alone may begin like a bucket, with b and seven digits."""
THREADS = min(4, os.cpu_count() or 1)
_SAMPLE = 2_048
"""Rows that are looked at for what comes again."""
_AGAIN = 4
"""So often a value comes again for which a dictionary pays: a reader looks for it in that alone."""
_GROUP = 131_072
"""Rows of a row group of a large file, and held in memory by a thread that writes one ..."""
_GROUP_BYTES = 64 * 1024 * 1024
"""... and its bytes, as Arrow has them, unless one row has more: whatever reads the file, DuckDB
and Spark too, unpacks some thousand rows of a row group at once."""


@dataclass(frozen=True)
class _Part:
    """Rows that become one file: their partition's values, and where they lie."""

    values: Mapping[str, str | None]
    first: int
    rows: int
    statistics: Mapping[str, Any]


@dataclass(frozen=True)
class WrittenFile:
    """A file that is written: its name below the table, and what a log tells of it."""

    name: str
    size: int
    values: Mapping[str, str | None]
    modified: int
    statistics: str
    rows: int

    def add(self, *, data_change: bool = True) -> dict[str, Any]:
        """The action that adds it to the table."""
        return {
            "add": {
                "path": quote(self.name, safe="/="),
                "partitionValues": dict(self.values),
                "size": self.size,
                "modificationTime": self.modified,
                "dataChange": data_change,
                "stats": self.statistics,
            }
        }


def write_files(
    folder: Path,
    rows: pa.Table,
    partition_by: Sequence[str],
    codec: str,
    bucket: str = "",
    threads: int = THREADS,
) -> list[WrittenFile]:
    """Write rows as one file a partition; what they are.

    ``bucket`` is a column of numbers that divides a partition's rows among files, which are
    named by it and do not hold it; their rows are chosen by keys, so the log has no bounds of
    their numbers. Nothing is committed: files of a write that is cut belong to no version, and
    vacuum removes them; where the disk is full they go at once.
    """
    made: list[str] = []
    parts, rows = _parted(
        rows, [*partition_by, bucket] if bucket else partition_by, of_numbers=not bucket
    )
    largest = max(parts, key=lambda part: part.rows, default=_Part({}, 0, 0, {}))
    repeated = _repeated(rows.slice(largest.first, largest.rows)) if largest.rows >= _FEW else []

    def write(part: _Part) -> WrittenFile:
        sink = pa.BufferOutputStream()  # a file that pyarrow opens costs half a small one
        mine = rows.slice(part.first, part.rows)
        is_small = part.rows < _FEW
        with writer(
            sink, rows.schema, codec, [] if is_small else repeated, bounds=not is_small
        ) as out:
            for group in _bounded(mine):
                out.write_table(group)
        values = {column: value for column, value in part.values.items() if column != bucket}
        whole, name = sink.getvalue(), new_name(values, codec, part.values.get(bucket))
        made.append(name)
        with created(folder, name) as file:
            file.write(whole)
        now, told = int(time.time() * 1000), json.dumps(part.statistics, ensure_ascii=False)
        return WrittenFile(name, whole.size, values, now, told, part.rows)

    with _none_left(folder, made):
        if min(len(parts), threads) <= 1:
            return [write(part) for part in parts]
        with ThreadPoolExecutor(threads, "data-files") as pool:
            return list(pool.map(write, parts))


def write_file(
    folder: Path,
    rows: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    values: Mapping[str, str | None],
    codec: str,
) -> WrittenFile | None:
    """Write rows of one partition as one file, a row group at a time; None where there are none.

    ``schema`` is that of the file: without the partition's columns. As in
    :func:`write_files` nothing is committed.
    """
    groups = _groups(rows, schema)
    if (first := next(groups, None)) is None:
        return None
    name = new_name(values, codec)
    told: list[dict[str, Any]] = []
    with (
        _none_left(folder, [name]),
        created(folder, name) as out,
        writer(out, schema, codec, _repeated(first), bounds=True) as file,
    ):
        for group in chain([first], groups):
            file.write_table(group)
            told += statistics(group, [0, group.num_rows])
    size, now = (folder / name).stat().st_size, int(time.time() * 1000)
    of_all = reduce(merged, told)
    return WrittenFile(
        name, size, values, now, json.dumps(of_all, ensure_ascii=False), int(of_all["numRecords"])
    )


@contextmanager
def _none_left(folder: Path, made: Sequence[str]) -> Iterator[None]:
    """Remove the files that the block made where a disk fails it: they would hold its last room."""
    try:
        yield
    except OSError:
        for name in made:
            with suppress(OSError):
                (folder / name).unlink()
        raise


def _groups(rows: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows in the file's columns, as many at a time as a row group has."""
    held: list[pa.RecordBatch] = []
    count = size = 0
    for batch in rows:
        held.append(batch.select(schema.names).cast(schema))
        count, size = count + batch.num_rows, size + batch.nbytes
        if count >= _GROUP or size >= _GROUP_BYTES:
            yield from _bounded(pa.Table.from_batches(held))
            held, count, size = [], 0, 0
    if count:
        yield from _bounded(pa.Table.from_batches(held))


def _bounded(rows: pa.Table) -> Iterator[pa.Table]:
    """The rows, or halves of them where they are too large for a row group."""
    if rows.nbytes <= _GROUP_BYTES or rows.num_rows <= 1:
        yield rows
        return
    half = rows.num_rows // 2
    yield from _bounded(rows.slice(0, half))
    yield from _bounded(rows.slice(half))


def writer(
    sink: Any, schema: pa.Schema, codec: str, repeated: Sequence[str], *, bounds: bool
) -> pq.ParquetWriter:
    """A Parquet writer as every file of ours has it; ``repeated`` columns get a dictionary."""
    return pq.ParquetWriter(
        sink, schema, compression=codec, write_page_checksum=True, store_schema=False,
        use_dictionary=[*repeated],
        write_statistics=bounds,
    )  # fmt: skip


def _repeated(rows: pa.Table) -> list[str]:
    """The columns whose values come again: a dictionary of unique ones only costs, 0.2 µs a row.

    Of thousands of values a sample has few twice, so those tell how many there are: of D that
    are as frequent, n rows have n² / 2D twice.
    """
    import pyarrow.compute as pc  # noqa: PLC0415  # a fifth of what a reader's start takes

    some = rows.slice(0, _SAMPLE)
    found = []
    for field in some.schema:
        if pa.types.is_nested(field.type):
            continue
        n, different = some.num_rows, pc.count_distinct(some[field.name]).as_py()
        enough = 2 * (n - different) * rows.num_rows >= _AGAIN * n * n
        if 2 * different <= n or (rows.num_rows > n and enough):
            found.append(field.name)
    return found


def new_name(values: Mapping[str, str | None], codec: str, bucket: str | None = None) -> str:
    """A name that no file has, below the table, in the folder of these partition values."""
    names = [f"{quote(n)}={encoded(value)}" for n, value in values.items()]
    mark = "" if bucket is None else f"{_BUCKET}{bucket}-"
    return "/".join([*names, f"part-{mark}{uuid4()}.{codec}.parquet"])


def bucket_of(name: str) -> int:
    """The bucket that a data file is named by; 0 where it is named by none."""
    found = _NAMED.search(name)
    return int(found[1]) if found else 0


def created(folder: Path, name: str) -> BinaryIO:
    """The file, open and new; its partition's folder is made, the table's must be there."""
    try:
        return (folder / name).open("wb")
    except FileNotFoundError:
        for above in reversed(Path(name).parents[:-1]):
            (folder / above).mkdir(exist_ok=True)
        return (folder / name).open("wb")


def _parted(
    rows: pa.Table, partition_by: Sequence[str], *, of_numbers: bool
) -> tuple[list[_Part], pa.Table]:
    """Where each partition's rows lie in the rows, which are put in order where need be."""
    import pyarrow.compute as pc  # noqa: PLC0415  # a fifth of what a reader's start takes

    if not rows.num_rows:
        return [], rows
    bounds = [0, rows.num_rows]
    values: list[dict[str, str | None]] = [{}]
    if partition_by:
        keys = rows.select(partition_by)
        order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in partition_by])
        rows, keys = rows.take(order), keys.take(order)
        bounds = [0, *_changes(keys), rows.num_rows]
        firsts = keys.take(pa.array(bounds[:-1])).to_pylist()
        values = [{name: logged(value) for name, value in first.items()} for first in firsts]
        rows = rows.drop_columns([*partition_by])
    told = statistics(rows, bounds, of_numbers=of_numbers)
    spans = zip(pairwise(bounds), values, told, strict=True)
    return [_Part(of, a, b - a, one) for (a, b), of, one in spans], rows


def _changes(keys: pa.Table) -> list[int]:
    """The places, but the first, where another key begins."""
    import pyarrow.compute as pc  # noqa: PLC0415  # as above

    places: set[int] = set()
    for column in keys.itercolumns():
        codes = column.combine_chunks().dictionary_encode("encode").indices
        changed = pc.indices_nonzero(pc.not_equal(codes.slice(1), codes.slice(0, len(codes) - 1)))
        places |= {place + 1 for place in changed.to_pylist()}
    return sorted(places)
