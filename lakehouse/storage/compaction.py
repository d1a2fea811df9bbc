"""Many small data files become few: the same rows, every page with a checksum again.

Pages are verified as they are read: a compaction does not write a changed value again
under a checksum that fits it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from lakehouse.storage.data_files import THREADS, WrittenFile, bucket_of, write_file
from lakehouse.storage.rows import DataFile, data_files

_FAR_MORE = 4


@dataclass(frozen=True)
class Compaction:
    """Files of one version of a table, in groups that become a file each; nothing is committed."""

    folder: Path
    groups: list[list[DataFile]]

    @property
    def names(self) -> set[str]:
        """The files that are replaced, as the log names them."""
        return {file.name for small in self.groups for file in small}

    def removals(self, ago: float) -> list[dict[str, Any]]:
        """What removes those files; their retention began ``ago`` seconds before."""
        return [file.removal(data_change=False, ago=ago) for some in self.groups for file in some]

    def written(
        self, codec: str, threads: int = THREADS, read: Callable[[int], None] = lambda _: None
    ) -> list[WrittenFile]:
        """Write what they become; any thread may do it, since data files never change.

        ``read`` is told the bytes of each file that is read, from any of the threads.
        """

        def rows(small: list[DataFile]) -> Iterator[pa.RecordBatch]:
            for file in small:
                yield from file.whole_rows()
                read(file.size)

        def write(small: list[DataFile]) -> WrittenFile | None:
            return write_file(self.folder, rows(small), small[0].columns, small[0].values, codec)

        with ThreadPoolExecutor(threads, "compaction") as pool:
            return [file for file in pool.map(write, self.groups) if file]


def compaction(table: DeltaTable, folder: Path, target: int, *, seldom: bool) -> Compaction:
    """What to compact of the table's files smaller than ``target``."""
    return Compaction(folder, [*_bins(table, folder, target, seldom)])


def _bins(table: DeltaTable, folder: Path, target: int, seldom: bool) -> Iterator[list[DataFile]]:
    """Two or more files of one partition at a time that come to about ``target`` bytes.

    A bucket is as large as its writer has it, and stays a file of its own.
    ``seldom`` leaves a file for later while it has far more rows than all that are smaller:
    what was compacted is not written again each time.
    """
    partitions: dict[tuple[str | None, ...], list[DataFile]] = defaultdict(list)
    for file in data_files(table, str(folder)):
        if file.size < target and not bucket_of(file.name):
            partitions[tuple(file.values.values())].append(file)
    for files in partitions.values():
        held: list[DataFile] = []
        for file in _worth_it(files) if seldom else files:
            if held and sum(one.size for one in held) + file.size > target:
                if len(held) > 1:
                    yield held
                held = []
            held.append(file)
        if len(held) > 1:
            yield held


def _worth_it(files: list[DataFile]) -> list[DataFile]:
    """The smaller files, up to the first that has far more rows than they."""
    files, rows = sorted(files, key=lambda file: file.count), 0
    for place, file in enumerate(files):
        if place > 1 and file.count > _FAR_MORE * rows:
            return files[:place]
        rows += file.count
    return files
