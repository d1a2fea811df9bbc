"""The SHA-256 of files that seldom change: computed once for each inode, size and time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lakehouse.core.files import distrust, write_whole
from lakehouse.core.lock import one_at_a_time

_KNOWN = "sums.json"


def sha256(path: Path) -> str:
    """The file's sum, computed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sums(paths: Sequence[Path], cache: Path) -> dict[Path, str]:
    """Each file that is there, and its sum: remembered in ``cache`` while nothing has touched it.

    What writes to a file changes its times, the second of which no program can set.
    """
    known, found, now = _known(cache), {}, {}
    for path in paths:
        if not path.is_file():
            continue
        at = path.stat()
        mark = [at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns]
        entry = known.get(str(path))
        is_known = isinstance(entry, list) and entry[:-1] == mark
        now[str(path)] = entry if is_known and entry else [*mark, sha256(path)]
        found[path] = str(now[str(path)][-1])
    if {**known, **now} != known:
        with suppress(OSError), one_at_a_time(cache / "sums.lock", wait=False) as alone:
            if alone:  # where nothing can be written, they are computed each time
                write_whole(cache / _KNOWN, json.dumps({**known, **now}).encode(), 0o600)
    return found


def _known(cache: Path) -> dict[str, list[object]]:
    try:
        if any(distrust(path.stat()) for path in (cache, cache / _KNOWN)):
            return {}  # who else can write there could vouch for a jar of theirs
        known = json.loads((cache / _KNOWN).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
