"""A flow's state on disk, ``<root>/_state/<flow>``: a cache of what its tables and bronze say.

Spaces map bytes to bytes. All that a batch changes, and the version of bronze that it
applies, is one transaction: after a kill the store is as before the batch, or as after it.
Transactions are not synced one by one. What a power cut may have torn is told by a marker
that names the machine's run: a store that a run now past left open is not believed.
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

from lakehouse.core.errors import LakehouseError, TableDamaged
from lakehouse.core.files import write_whole

_ROOM = 1 << 38
"""Bytes that the store may grow to; an address range, neither memory nor disk."""
_FORMAT = 1
_FACTS = "facts"
_RUN = Path("/proc/sys/kernel/random/boot_id")
_MARKER = "in_use"
_OPEN: WeakValueDictionary[str, Store] = WeakValueDictionary()


class StoreDamaged(TableDamaged):
    """The state on disk is not what was written."""


class Store:
    """One flow's state; :meth:`open` gives an empty one where there is none to be believed.

    A flow's tables have one writer, who alone opens it: what this process opened before
    is closed.
    """

    def __init__(self, folder: Path, spaces: Sequence[str], env: lmdb.Environment) -> None:
        self.folder, self._env = folder, env
        self._spaces = {name: env.open_db(name.encode()) for name in (_FACTS, *spaces)}
        self._writing: lmdb.Transaction | None = None
        self._is_marked = False

    @classmethod
    def open(cls, folder: Path, spaces: Sequence[str], like: Mapping[str, Any]) -> Store:
        """The store in this folder; empty where it is damaged, or not made under facts ``like``."""
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
        """Whether it was made under these facts, or is new."""
        try:
            return self.facts("like") in (None, wanted)
        except StoreDamaged:
            return False

    def rest(self) -> None:
        """Sync it: a power cut finds it whole, until it is written again."""
        with _faults(self.folder):
            self._env.sync(True)
        (self.folder / _MARKER).unlink(missing_ok=True)
        self._is_marked = False

    def close(self) -> None:
        """Sync it, and let go of it; it may be closed twice."""
        with suppress(lmdb.Error, StoreDamaged):  # it is closed already
            self.rest()
            self._env.close()

    def forget(self) -> None:
        """Close it and remove it."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def move(self, to: Path) -> None:
        """Close it, and put it in another folder, in the place of what is there."""
        self.close()
        shutil.rmtree(to, ignore_errors=True)
        to.parent.mkdir(parents=True, exist_ok=True)
        self.folder.rename(to)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction: all that is put within, or nothing where that fails."""
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
        """The values of those keys that are there."""
        with self._cursor(space) as cursor:
            return {bytes(key): bytes(value) for key, value in cursor.getmulti(keys)}

    def put(self, space: str, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Set values; keys in order cost least."""
        with self._cursor(space) as cursor:
            cursor.putmulti(pairs)

    def under(self, space: str, prefixes: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """What keys that begin with one of these have, in order."""
        with self._cursor(space) as cursor:
            for prefix in sorted(set(prefixes)):
                found = cursor.set_range(prefix)
                while found and (key := bytes(cursor.key())).startswith(prefix):
                    yield key, bytes(cursor.value())
                    found = cursor.next()

    def remove(self, space: str, keys: Iterable[bytes]) -> None:
        """Forget these keys."""
        with self._cursor(space) as cursor:
            for key in keys:
                cursor.pop(key)

    def facts(self, name: str) -> Any:
        """What was said under a name; None where nothing was."""
        found = self.get(_FACTS, [name.encode()])
        return json.loads(found[name.encode()]) if found else None

    def say(self, name: str, value: Any) -> None:
        """Put what :meth:`facts` gives."""
        self.put(_FACTS, [(name.encode(), json.dumps(value).encode())])


def _opened(folder: Path, spaces: Sequence[str]) -> Store | None:
    """The store as it lies there; None where it is none, or a power cut may have torn it."""
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / _MARKER
    if marker.exists() and marker.read_text("utf-8") != (_run() or None):
        return None
    try:
        env = lmdb.open(
            str(folder), map_size=_ROOM, max_dbs=len(spaces) + 1, lock=False, sync=False
        )
        # of pages that a cut file lacks LMDB says that they are damaged, once they are zeros
        data, size = folder / "data.mdb", (env.info()["last_pgno"] + 1) * env.stat()["psize"]
        if data.stat().st_size < size:
            os.truncate(data, size)
        return Store(folder, spaces, env)
    except lmdb.Error:
        return None


def _run() -> str:
    """What tells this run of the machine from others; empty where nothing does."""
    return _RUN.read_text("ascii").strip() if _RUN.exists() else ""


@contextmanager
def _faults(folder: Path) -> Iterator[None]:
    place = f"state {folder}"
    try:
        yield
    except (lmdb.DiskError, lmdb.MapFullError) as error:
        fault = f"cannot be written: {error}"
        raise LakehouseError(place, fault, "make room on its disk") from None
    except lmdb.Error as error:
        raise StoreDamaged(place, str(error), "it is made anew from the tables") from None
