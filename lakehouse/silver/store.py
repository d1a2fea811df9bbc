"""A flow's state on disk, ``<root>/_state/<flow>``: a cache, made from its tables and bronze.

Spaces map bytes to bytes. All changes of a batch, and the version of bronze that it applies,
are one transaction: after a kill the store is as it was before the batch, or after it. Single
transactions are not synced, so a power cut may tear the store. A marker file names the
machine's boot during which the store was opened; a store left open by an earlier boot is
thrown away. So is one that is not marked as made by this user on this machine, before LMDB, which
does not bear hostile files, has opened it: a copy of a lake, or a stranger's.

Nor does LMDB bear pages that a disk has spoiled: a read of them may end the process, at each
start again, and values of them may fail a fold each time. So the marker counts the processes that
ended while they read it, or whose fold failed, before anything was applied: after the second the
store is thrown away (:mod:`lakehouse.silver.in_use`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import lmdb
import structlog

from lakehouse.core.disk import room
from lakehouse.core.errors import LakehouseError, TableDamaged, disk_full, writing
from lakehouse.core.files import remove
from lakehouse.core.memory import let_go, mapped
from lakehouse.core.own import is_marked, mark
from lakehouse.silver.in_use import InUse

_ROOM = 1 << 38
"""Most bytes of the store: a range of addresses, which takes neither memory nor disk."""
_FORMAT = 1
_FACTS = "facts"
_ENDED = 2
"""So many processes in a row that ended as they read it, and applied nothing, are its doing."""
_DATA = "data.mdb"
_CUT_SHORT, _PAGES = "Input/output error", 1 << 20
"""What LMDB says of a write for half of which there was room, and what little is left then."""
_KEYS = 4_096
"""Keys that are looked up between two looks at memory: each brings the 64 KB that it lies in."""
_SEEN = 256 * 2**20
"""Bytes of it that stay in this process's memory; all beyond lies in the system's cache alone."""
log = structlog.get_logger("lakehouse")
_OPEN: WeakValueDictionary[str, Store] = WeakValueDictionary()


class StoreDamaged(TableDamaged):
    """The state on disk is damaged."""

    @classmethod
    def by(cls, place: str, fault: object) -> StoreDamaged:
        """With the remedy, which the flow itself takes."""
        return cls(place, str(fault), "it is rebuilt from the tables")


class Store:
    """One flow's state; :meth:`open` gives an empty one if there is none that can be trusted.

    Only the writer of the flow's tables opens it, so one that this process opened before is
    closed first.
    """

    def __init__(
        self, folder: Path, spaces: Sequence[str], env: lmdb.Environment, in_use: InUse
    ) -> None:
        self.folder, self._env, self._in_use = folder, env, in_use
        self._spaces = {name: env.open_db(name.encode()) for name in (_FACTS, *spaces)}
        self._writing: lmdb.Transaction | None = None
        self._most, self._looked_up = mapped() + _SEEN, 0

    @classmethod
    def open(cls, folder: Path, spaces: Sequence[str], like: Mapping[str, Any]) -> Store:
        """The store in this folder; emptied if it is damaged or its facts differ from ``like``."""
        place = str(folder.absolute())
        if (former := _OPEN.pop(place, None)) is not None:
            former.close()
        wanted = {**like, "format": _FORMAT}
        with writing(f"state {folder}"):
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
        """Sync it to disk: until the next write it survives a power cut, unless a fold failed."""
        with _faults(self.folder):
            self._env.sync(True)
        self._in_use.end()

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
        self._in_use.begin()
        with _faults(self.folder):
            with self._in_use.reading():
                self._writing = txn = self._env.begin(write=True)
            try:
                yield
            except BaseException as error:
                txn.abort()
                if isinstance(error, Exception) and not isinstance(error, LakehouseError):
                    self._in_use.fail()
                raise
            else:
                with self._in_use.reading():
                    txn.commit()
            finally:
                self._writing = None

    def hold(self) -> None:
        """Say that something was applied: an end of the process from here on is not its doing."""
        self._in_use.hold()

    def _let_go(self, keys: int) -> None:
        """After these keys were looked up: its pages leave where too many came."""
        self._looked_up += keys
        if self._looked_up < _KEYS:
            return
        self._looked_up = 0
        if mapped() > self._most:
            let_go(self.folder.resolve() / _DATA)
            self._most = mapped() + _SEEN

    @contextmanager
    def _cursor(self, space: str) -> Iterator[lmdb.Cursor]:
        with self._in_use.reading():
            if self._writing is not None:
                yield self._writing.cursor(self._spaces[space])
            else:
                with _faults(self.folder), self._env.begin() as txn:
                    yield txn.cursor(self._spaces[space])

    def get(self, space: str, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Key → value, of the keys that exist."""
        found: dict[bytes, bytes] = {}
        with self._cursor(space) as cursor:
            for first in range(0, len(keys), _KEYS):
                asked = keys[first : first + _KEYS]
                some: Any = cursor.getmulti(asked)  # bytes, no buffers
                found.update(some)
                self._let_go(len(asked))
        return found

    def put(self, space: str, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Set values; sorted keys are the cheapest."""
        left = iter(pairs)
        with self._cursor(space) as cursor:
            while some := [*islice(left, _KEYS)]:
                cursor.putmulti(some)
                self._let_go(len(some))

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
        try:
            return json.loads(found[name.encode()]) if found else None
        except ValueError as error:
            raise StoreDamaged.by(f"state {self.folder}", f"{name}: {error}") from None

    def say(self, name: str, value: Any) -> None:
        """Store a fact, to be read by :meth:`facts`."""
        self.put(_FACTS, [(name.encode(), json.dumps(value).encode())])


def _opened(folder: Path, spaces: Sequence[str]) -> Store | None:
    """The store in the folder; None if it is not one, or a power cut may have torn it."""
    if folder.exists() and not is_marked(folder, _DATA):
        log.info("the state was not made here, and is rebuilt", state=str(folder))
        remove(folder)
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise LakehouseError(
            str(folder), "cannot be made: a file is in the place of it, or of the folder above",
            "remove that file, which no flow made; or leave this lake alone",
        ) from None  # fmt: skip
    in_use = InUse.found(folder)
    if in_use is None:
        return None
    if in_use.ended >= _ENDED:
        log.warning("the state ended the processes that read it, and is rebuilt",
                    state=str(folder), ended=in_use.ended)  # fmt: skip
        return None
    try:
        in_use.begin()
        with in_use.reading():
            return _with_pages(folder, spaces, in_use, is_new=is_new)
    except lmdb.Error:
        return None


def _with_pages(folder: Path, spaces: Sequence[str], in_use: InUse, *, is_new: bool) -> Store:
    env = lmdb.open(str(folder), map_size=_ROOM, max_dbs=len(spaces) + 1, lock=False, sync=False)
    # LMDB calls the missing pages of a cut file damaged only once they read as zeros
    data, size = folder / _DATA, (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if data.stat().st_size < size:
        os.truncate(data, size)
    if is_new:
        mark(folder, _DATA)
    return Store(folder, spaces, env, in_use)


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
        raise StoreDamaged.by(place, error) from None
