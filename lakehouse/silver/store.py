"""A flow's state on disk, ``<root>/_state/<flow>``: a cache, made from its tables and bronze.

Spaces map bytes to bytes. All changes of a batch, and the version of bronze that it applies,
are one transaction: after a kill the store is as it was before the batch, or after it. Single
transactions are not synced, so a power cut may tear the store. A marker file names the
machine's boot during which the store was opened; a store left open by an earlier boot is
thrown away. So is one that is not marked as made by this user on this machine, before LMDB, which
does not bear hostile files, has opened it: a copy of a lake, or a stranger's.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import lmdb
import structlog

from lakehouse.core.disk import room
from lakehouse.core.errors import LakehouseError, TableDamaged, disk_full
from lakehouse.core.files import remove, write_whole
from lakehouse.core.own import is_marked, mark

_ROOM = 1 << 38
"""Most bytes of the store: a range of addresses, which takes neither memory nor disk."""
_FORMAT = 1
_FACTS = "facts"
_RUN = Path("/proc/sys/kernel/random/boot_id")
_MARKER = "in_use"
_DATA = "data.mdb"
_CUT_SHORT, _PAGES = "Input/output error", 1 << 20
"""What LMDB says of a write for half of which there was room, and what little is left then."""
log = structlog.get_logger("lakehouse")
_OPEN: WeakValueDictionary[str, Store] = WeakValueDictionary()


class StoreDamaged(TableDamaged):
    """The state on disk is damaged."""


class Store:
    """One flow's state; :meth:`open` gives an empty one if there is none that can be trusted.

    Only the writer of the flow's tables opens it, so one that this process opened before is
    closed first.
    """

    def __init__(self, folder: Path, spaces: Sequence[str], env: lmdb.Environment) -> None:
        self.folder, self._env = folder, env
        self._spaces = {name: env.open_db(name.encode()) for name in (_FACTS, *spaces)}
        self._writing: lmdb.Transaction | None = None
        self._is_marked = False

    @classmethod
    def open(cls, folder: Path, spaces: Sequence[str], like: Mapping[str, Any]) -> Store:
        """The store in this folder; emptied if it is damaged or its facts differ from ``like``."""
        place = str(folder.absolute())
        if (former := _OPEN.pop(place, None)) is not None:
            former.close()
        wanted = {**like, "format": _FORMAT}
        store = _opened(folder, spaces)
        if store is None or not store.is_like(wanted):
            if store is not None:
                store.close()
            shutil.rmtree(folder, ignore_errors=True)
            store = _opened(folder, spaces)
        if store is None:
            raise LakehouseError(str(folder), "cannot be made", "look at the disk and its rights")
        with store.writing():
            store.say("like", wanted)
        _OPEN[place] = store
        return store

    def is_like(self, wanted: Mapping[str, Any]) -> bool:
        """Whether it was made with these facts, or is new."""
        try:
            return self.facts("like") in (None, wanted)
        except StoreDamaged:
            return False

    def rest(self) -> None:
        """Sync it to disk: until the next write it survives a power cut."""
        with _faults(self.folder):
            self._env.sync(True)
        (self.folder / _MARKER).unlink(missing_ok=True)
        self._is_marked = False

    def close(self) -> None:
        """Sync and close it; closing twice is harmless."""
        with suppress(lmdb.Error, StoreDamaged):  # already closed
            self.rest()
            self._env.close()

    def forget(self) -> None:
        """Close it and remove it."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def move(self, to: Path) -> None:
        """Close it, and move it to another folder, replacing what is there."""
        self.close()
        shutil.rmtree(to, ignore_errors=True)
        to.parent.mkdir(parents=True, exist_ok=True)
        self.folder.rename(to)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction: everything put in the block is kept, or nothing if the block fails."""
        if not self._is_marked:
            write_whole(self.folder / _MARKER, _run().encode())
            self._is_marked = True
        with _faults(self.folder), self._env.begin(write=True) as txn:
            self._writing = txn
            try:
                yield
            finally:
                self._writing = None

    @contextmanager
    def _cursor(self, space: str) -> Iterator[lmdb.Cursor]:
        if self._writing is not None:
            yield self._writing.cursor(self._spaces[space])
        else:
            with _faults(self.folder), self._env.begin() as txn:
                yield txn.cursor(self._spaces[space])

    def get(self, space: str, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Key → value, of the keys that exist."""
        with self._cursor(space) as cursor:
            found: Any = cursor.getmulti(keys)  # bytes: our transactions give no buffers
            return dict(found)

    def put(self, space: str, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Set values; sorted keys are the cheapest."""
        with self._cursor(space) as cursor:
            cursor.putmulti(pairs)

    def under(self, space: str, prefixes: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """The (key, value) pairs whose key begins with one of these, in order."""
        with self._cursor(space) as cursor:
            for prefix in sorted(set(prefixes)):
                found = cursor.set_range(prefix)
                while found and (key := bytes(cursor.key())).startswith(prefix):
                    yield key, bytes(cursor.value())
                    found = cursor.next()

    def before(self, space: str, key: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The (key, value) pairs whose key sorts before this one, in order."""
        with self._cursor(space) as cursor:
            found = cursor.first()
            while found and bytes(cursor.key()) < key:
                yield bytes(cursor.key()), bytes(cursor.value())
                found = cursor.next()

    def remove(self, space: str, keys: Iterable[bytes]) -> None:
        """Remove these keys."""
        with self._cursor(space) as cursor:
            for key in keys:
                cursor.pop(key)

    def facts(self, name: str) -> Any:
        """The fact stored under a name; None if there is none."""
        found = self.get(_FACTS, [name.encode()])
        return json.loads(found[name.encode()]) if found else None

    def say(self, name: str, value: Any) -> None:
        """Store a fact, to be read by :meth:`facts`."""
        self.put(_FACTS, [(name.encode(), json.dumps(value).encode())])


def _opened(folder: Path, spaces: Sequence[str]) -> Store | None:
    """The store in the folder; None if it is not one, or a power cut may have torn it."""
    if folder.exists() and not is_marked(folder, _DATA):
        log.info("the state was not made here, and is made anew", state=str(folder))
        remove(folder)
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise LakehouseError(
            str(folder), "cannot be made: a file is in the place of it, or of the folder above",
            "remove that file, which no flow made; or leave this lake alone",
        ) from None  # fmt: skip
    marker = folder / _MARKER
    if marker.exists() and marker.read_text("utf-8") != (_run() or None):
        return None
    try:
        env = lmdb.open(
            str(folder), map_size=_ROOM, max_dbs=len(spaces) + 1, lock=False, sync=False
        )
        # LMDB calls the missing pages of a cut file damaged only once they read as zeros
        data, size = folder / _DATA, (env.info()["last_pgno"] + 1) * env.stat()["psize"]
        if data.stat().st_size < size:
            os.truncate(data, size)
        if is_new:
            mark(folder, _DATA)
        return Store(folder, spaces, env)
    except lmdb.Error:
        return None


def _run() -> str:
    """The id of this boot of the machine; empty if the system gives none."""
    return _RUN.read_text("ascii").strip() if _RUN.exists() else ""


@contextmanager
def _faults(folder: Path) -> Iterator[None]:
    place = f"state {folder}"
    try:
        yield
    except lmdb.MapFullError as error:
        fault = f"cannot be written: {error}"
        raise LakehouseError(place, fault, "make room on its disk") from None
    except lmdb.DiskError:
        raise disk_full(place) from None
    except lmdb.Error as error:
        if _CUT_SHORT in str(error) and room(folder).free < _PAGES:
            raise disk_full(place) from None
        raise StoreDamaged(place, str(error), "it is made anew from the tables") from None
