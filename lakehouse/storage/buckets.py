"""Buckets: the rows of a partition, or of a table without any, divided among files by a hash.

A bucket is a number: 1 holds all keys, 2 and 3 those whose hashes end in 0 and in 1, 4 to 7
each half of one of these, and so on. It is one file, which is named by it: no column and no
reader knows of it. A write replaces only the buckets that its keys are in, and one that has
grown too large is written as two.

Example: a table has the buckets 2, 6 and 7. A key whose hash ends in 10 belongs to 3, which
is divided, and so by its last bit but one to 7. With 6 and 7 in the files of one commit
nobody ever sees a key in two of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakehouse.storage.actions import removal
from lakehouse.storage.data_files import WrittenFile, bucket_of
from lakehouse.storage.file_paths import local_path
from lakehouse.storage.rows import fitted_rows
from lakehouse.storage.table import Table

BUCKET = "_bucket"
"""Column that rows have on their way: their bucket."""
_FEW, _REMEMBERED = 4_000, 64
"""Files of no more rows are remembered as they were written, so many of a table."""
_AT_ONCE = 65_536
"""Rows that are merged at a time, unless one bucket alone has more: one slice."""
_DEEPEST = 24
Numbers = npt.NDArray[np.uint64]
Merge = Callable[[pa.Table, pa.Table], pa.Table]
"""New rows, and the old ones of their buckets → what these hold then."""
Hashes = Callable[[pa.Table], Numbers]
"""32 bits of the hash of each row's key; asked only where there is more than one bucket."""


@dataclass(frozen=True)
class Written:
    """What a commit wrote."""

    rows: int = 0
    bytes: int = 0
    gone: tuple[str, ...] = ()
    """The files that it replaced, by the paths that the log has."""


@dataclass(frozen=True)
class _File:
    """A file of the table's version, by the path that the log has."""

    path: str
    size: int
    rows: int
    values: Mapping[str, str | None]


@dataclass(frozen=True)
class _Group:
    """New rows, by their numbers, and the files that they go to; of one partition."""

    partition: str | None
    rows: npt.NDArray[np.intp]
    buckets: Collection[int]


def leaves(hashes: Numbers, live: Collection[int]) -> Numbers:
    """The bucket of each hash among those that there are, or beside them where it is new."""
    inner = _above(live)
    found = np.ones(len(hashes), np.uint64)
    for depth in range(_DEEPEST):
        divided = np.isin(found, inner)
        if not divided.any():
            break
        found = np.where(divided, _half(found, hashes, depth), found)
    return found


def divided(hashes: Numbers, live: Collection[int], most: int) -> Numbers:
    """As :func:`leaves`, buckets with more hashes than ``most`` divided."""
    found = leaves(hashes, live)
    for depth in range(_DEEPEST):
        numbers, counts = np.unique(found, return_counts=True)
        if not (counts > most).any():
            break
        full = numbers[(counts > most) & (numbers >> np.uint64(depth) == 1)]
        chosen = np.isin(found, full)
        found = np.where(chosen, _half(found, hashes, depth), found)
    return found


def _half(buckets: Numbers, hashes: Numbers, depth: int) -> Numbers:
    bit = (hashes >> np.uint64(depth)) & np.uint64(1)
    return buckets * np.uint64(2) + bit


def _above(live: Collection[int]) -> Numbers:
    """The buckets that are divided into these."""
    found = {bucket >> up for bucket in live for up in range(1, bucket.bit_length())}
    return np.array(sorted(found), np.uint64)


class Buckets:
    """The files of one table in buckets of about ``most`` rows, as its one writer knows them."""

    def __init__(self, table: Table, most: int, hashes: Hashes) -> None:
        self.table, self._most, self._hashes = table, most, hashes
        self._by = table.partition_by[0] if table.partition_by else ""
        self._files: dict[str | None, dict[int, list[_File]]] = defaultdict(dict)
        self._known: dict[str, pa.Table] = {}
        """Rows of small files that were written last, by path."""
        self.rows = 0
        """Rows of the table."""
        self._look()

    def _look(self) -> None:
        """Take the files from the table's log."""
        self._files.clear()
        self._known.clear()
        actions = pa.table(self.table.dt.get_add_actions(flatten=True))
        names = ["path", "size_bytes", "num_records"]
        values = actions[f"partition.{self._by}"].cast(pa.string()) if self._by else None
        for n, row in enumerate(actions.select(names).to_pylist()):
            value = values[n].as_py() if values is not None else None
            of = {self._by: value} if self._by else {}
            self._keep(_File(row["path"], row["size_bytes"], row["num_records"] or 0, of))
        self.rows = sum(actions["num_records"].drop_null().to_pylist())
        self._is_sure = True
        """Whether the last write ended well: else the log says whether it was one."""

    def write(
        self,
        new: pa.Table,
        merge: Merge,
        note: Mapping[str, Any],
        pause: Callable[[], None] | None = None,
    ) -> Written:
        """Merge new rows into their buckets, in one commit that carries ``note``.

        ``pause`` is called before each slice, and may take its time.
        Rows that lie in no bucket, of an earlier release or of another writer's compaction,
        are divided among buckets with it, those of a partition when it is touched.
        """
        if not self._is_sure:
            self._look()
        self._is_sure = False
        groups = [*self._groups(new)]
        gone = [file for group in groups for file in self._of(group)]
        removed = [removal(f.path, f.size, f.values, data_change=True) for f in gone]
        last: list[pa.Table] = []

        def merged() -> Iterator[pa.Table]:
            for part in self._at_once(groups):
                if pause:
                    pause()
                last[:] = [self._merged(new, part, merge)]
                yield last[0]

        added = self.table.exchange(merged(), removed, note, BUCKET)
        for file in gone:
            self._known.pop(file.path, None)
        for group in groups:
            for bucket in group.buckets:
                self._files[group.partition].pop(bucket, None)
        for new_file in added:
            self._keep(_added(new_file))
        written = Written(
            sum(f.rows for f in added), sum(f.size for f in added), tuple(f.path for f in gone)
        )
        self.rows += written.rows - sum(file.rows for file in gone)
        if last and last[0].num_rows == written.rows:
            self._remember(last[0], added)
        self._is_sure = True
        return written

    def _keep(self, file: _File) -> None:
        live = self._files[file.values.get(self._by)]
        live.setdefault(bucket_of(file.path), []).append(file)

    def _of(self, group: _Group) -> list[_File]:
        live = self._files[group.partition]
        return [file for bucket in group.buckets for file in live.get(bucket, [])]

    def _groups(self, new: pa.Table) -> Iterator[_Group]:
        """New rows by partition and bucket; of a partition without buckets, as one."""
        for partition, rows in self._partitions(new):
            live = self._files[partition]
            if 0 in live or live.keys() <= {1}:
                yield _Group(partition, rows, [*live])
                continue
            found = leaves(self._hashed(new, rows), live)
            order = np.argsort(found, kind="stable")
            numbers, starts = np.unique(found[order], return_index=True)
            for number, some in zip(numbers, np.split(rows[order], starts[1:]), strict=True):
                yield _Group(partition, some, [int(number)])

    def _hashed(self, rows: pa.Table, some: npt.NDArray[np.intp]) -> Numbers:
        """Their hashes, a part at a time: on its way a key takes ten times what its hash takes."""
        parts = (some[start : start + _AT_ONCE] for start in range(0, len(some), _AT_ONCE))
        return np.concatenate([self._hashes(rows.take(part)) for part in parts])

    def _partitions(self, rows: pa.Table) -> Iterator[tuple[str | None, npt.NDArray[np.intp]]]:
        if not self._by:
            if rows.num_rows:
                yield None, np.arange(rows.num_rows)
            return
        coded = rows[self._by].combine_chunks().dictionary_encode("encode")
        codes = coded.indices.to_numpy()
        for code, value in enumerate(coded.dictionary.cast(pa.string()).to_pylist()):
            yield value, np.flatnonzero(codes == code)

    def _at_once(self, groups: Collection[_Group]) -> Iterator[list[_Group]]:
        """Groups, as many as memory should hold the rows of."""
        part: list[_Group] = []
        size = 0
        for group in groups:
            rows = len(group.rows) + sum(file.rows for file in self._of(group))
            if part and size + rows > _AT_ONCE:
                yield part
                part, size = [], 0
            part.append(group)
            size += rows
        if part:
            yield part

    def _merged(self, new: pa.Table, groups: Collection[_Group], merge: Merge) -> pa.Table:
        """What the groups' buckets hold then, with their BUCKET."""
        table = self.table
        files = [file for group in groups for file in self._of(group)]
        old = pa.concat_tables([table.schema.empty_table(), *map(self._rows, files)])
        new = new.take(np.concatenate([group.rows for group in groups]))
        rows = merge(new, old).select(table.schema.names).cast(table.schema)
        buckets = np.ones(rows.num_rows, np.uint64)
        for partition, some in self._partitions(rows):
            live = [bucket for bucket in self._files[partition] if bucket]
            if len(some) > self._most or len(live) > 1:
                buckets[some] = divided(self._hashed(rows, some), live, self._most)
        return rows.append_column(BUCKET, pa.array(buckets))

    def _remember(self, rows: pa.Table, files: Collection[WrittenFile]) -> None:
        """Keep what a few small files hold: most are replaced by the next batch."""
        small = [file for file in files if file.rows <= _FEW]
        if len(small) > _REMEMBERED:
            return
        buckets, of = rows[BUCKET].to_numpy(), dict(self._partitions(rows))
        for file in small:
            mine = of[file.values.get(self._by)]
            kept = rows.take(mine[buckets[mine] == bucket_of(file.name)])
            self._known[_added(file).path] = kept.select(self.table.schema.names).combine_chunks()
        for path in [*self._known][: max(0, len(self._known) - _REMEMBERED)]:
            del self._known[path]

    def _rows(self, file: _File) -> pa.Table:
        """A file's rows, in the table's schema."""
        if file.path in self._known:
            return self._known[file.path]
        place = str(local_path(self.table.uri, file.path))
        [rows] = fitted_rows(self.table.uri, {place: file.values}, self.table.schema)
        return rows


def _added(file: WrittenFile) -> _File:
    action = file.add()["add"]
    return _File(action["path"], file.size, file.rows, file.values)
