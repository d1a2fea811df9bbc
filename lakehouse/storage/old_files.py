"""What the newest version of a table does not need is kept while it is small beside the table.

A quiet flow commits twice a second. Each commit leaves a small file, which compaction
replaces, and a log entry: until retention is over that would come to gigabytes for a few
thousand rows. So the oldest of it goes when all of it takes more than is allowed; what
was replaced a short while ago stays for readers, and what a follower has not applied for it.

Example. Files of versions 1 to 50 were replaced by the compaction 51, and they go. Versions
below 51 cannot be read any more, so the log is cut at the newest checkpoint below 51 too.

A table of silver has a version for each batch, of which all but the newest are old: they may
take some times what the newest takes.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lakehouse.core.within import Within
from lakehouse.storage.entries import ODD
from lakehouse.storage.file_paths import local_path
from lakehouse.storage.log import commit_info, forget_before, note_of
from lakehouse.storage.log_health import whole_checkpoints
from lakehouse.storage.table import Table

_SHORTEST = 600.0
"""Seconds that what was replaced stays at least: for a query, a backup, a follower ..."""
_SOON = 20
"""... but of a table with a short retention only this part of it."""
_SHARE = 1 / 20
_APART = 250
"""Versions that checkpoints which stay are about apart."""
_LOOKED = 20
"""Commits in which a follower's applied version is looked for."""


@dataclass(frozen=True)
class _Replaced:
    """Files that a commit replaced: its version, when that was, and what they take on disk."""

    version: int
    at: float
    files: Collection[Path]
    size: int


class OldFiles:
    """What this process replaced, and the log; vacuum takes what others left.

    All of it may take so many times what the newest version takes: ``share``.
    """

    def __init__(self, table: Table, share: float = _SHARE) -> None:
        self._table, self._share = table, share
        retention = table.settings.table.deleted_file_retention.total_seconds()
        self._shortest = min(_SHORTEST, retention / _SOON)
        self._replaced: deque[_Replaced] = deque()
        self._since = self._live = 0
        """Bytes that were replaced since the last look, and that the newest version took then."""
        self._sizes: dict[str, int] = {}
        """What the log's files take on disk, by name: they are written once."""

    @property
    def is_due(self) -> bool:
        """Whether as much was replaced since the last look as the newest version took then."""
        return self._since > max(self._table.settings.maintenance.old_mb * 1_000_000, self._live)

    def replaced(self, names: Collection[str], now: float) -> None:
        """The newest commit has replaced these files, as the log names them."""
        files = [local_path(self._table.uri, name) for name in names]
        size = sum(map(_size, files))
        self._replaced.append(_Replaced(self._table.version, now, files, size))
        self._since += size

    def thin(self) -> None:
        """Leave the oldest and the newest checkpoints, and one of so many versions between.

        Each tells of all files, so that they take more than the commits do. The log is read
        from the oldest on all the same, and is cut at one between.
        """
        if not self._table.settings.maintenance.old_mb:
            return
        log, found = Path(self._table.uri, "_delta_log"), dict[int, list[Path]]()
        for name in _numbered(log):
            if ".checkpoint" in name and name.endswith(".parquet"):
                found.setdefault(int(name[:20]), []).append(log / name)
        newest_of = {version // _APART: version for version in sorted(found)}
        kept = {min(found, default=0), *sorted(found)[-2:], *newest_of.values()}
        for version in found.keys() - kept:
            for path in found[version]:
                path.unlink()

    def trim(self, now: float) -> None:
        """Remove the oldest, where all of it is more than is allowed; half of that stays.

        After a crash half way versions are left that cannot be read whole; the newest can.
        """
        table = self._table
        allowed = table.settings.maintenance.old_mb * 1_000_000
        if not allowed or not self._replaced:
            return
        log = Path(table.uri, "_delta_log")
        self._sizes = {n: self._sizes.get(n) or _size(log / n) for n in _numbered(log)}
        log_size, first = sum(self._sizes.values()), int(min(self._sizes)[:20])
        size = log_size + sum(one.size for one in self._replaced)
        live = sum(table.dt.get_add_actions(flatten=True)["size_bytes"].to_pylist())
        self._since, self._live = 0, live
        allowed = max(allowed, int(live * self._share))
        if size <= allowed or now - self._replaced[0].at < self._shortest:
            return
        reach = lowest_applied(Path(table.uri).parents[1], str(table.dt.metadata().id))
        gone, each = first, log_size // (table.version - first + 1)
        while self._replaced and size > allowed // 2:
            oldest = self._replaced[0]
            if now - oldest.at < self._shortest or (reach is not None and oldest.version > reach):
                break
            for file in oldest.files:
                file.unlink(missing_ok=True)
            size -= oldest.size + each * (oldest.version - gone)
            gone = oldest.version
            self._replaced.popleft()
        starts = [version for version in whole_checkpoints(table.uri) if version <= gone]
        if starts:
            forget_before(Path(table.uri), max(starts))


def lowest_applied(root: Path, bronze: str) -> int | None:
    """The lowest version of a table, by its id, that what follows it in the lake has applied.

    None where nothing follows it.
    """
    return min(_applied(root, bronze), default=None)


def _applied(root: Path, bronze: str) -> Iterator[int]:
    for log in root.glob("[!_.]*/*/_delta_log"):
        try:
            names = _numbered(log)
        except (FileNotFoundError, NotADirectoryError):  # moved by a rebuild; or it is no log
            continue
        newest = int(max((n[:20] for n in names if n.endswith(".json")), default="0"))
        for version in range(newest, max(-1, newest - _LOOKED), -1):
            source = note_of(commit_info(str(log.parent), version) or {}).get("source")
            if source:
                if source["id"] == bronze:
                    yield int(source["version"])
                break
    for taken in root.glob("*/*/_taken.json"):
        # its own flow says what is wrong with it
        with suppress(*ODD):
            record = json.loads(Within(taken.parent, taken.name).data())
            if record["bronze"] == bronze:
                yield int(record["version"])


def _numbered(log: Path) -> list[str]:
    """Names of a log's files that begin with a version, some thousands in a millisecond."""
    names = os.listdir(log)  # noqa: PTH208  # a Path of each takes ten times as long
    return [name for name in names if name[:20].isdecimal() and name[20:21] == "."]


def _size(path: Path) -> int:
    """Bytes that a file takes on disk; none where it is gone."""
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0
