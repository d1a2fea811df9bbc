"""A file within a folder, named by text that a stranger may have written.

A log, a manifest or a checkpoint names files. :func:`relative` is the one function that takes
such text, and :class:`Within` the one class whose files are opened, copied and moved by it. It
goes from the folder down by handles, follows no link, and opens a regular file or nothing: what
is outside of the folder is neither read nor written, and a pipe makes nobody wait.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote

from lakehouse.core.errors import TableDamaged

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_LONGEST = 4096
LARGEST = 256 * 1024 * 1024
"""Bytes of a text that is read whole: a commit, or a manifest, of a million files has as many."""
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ODD = "no flow made it so: restore a backup that is whole, or leave this folder alone"


class Outside(TableDamaged):
    """A name, or what lies under it, that is no file within its folder."""

    def __init__(self, place: str, fault: str) -> None:
        super().__init__(place, fault, _ODD)


def relative(folder: str | Path, name: object, *, encoded: bool = False) -> str:
    """The name as a path below the folder, which it does not leave; Outside where it may.

    ``encoded`` is for percent-encoded names, as a log's are. What would lead out after
    being decoded once more is refused too: the next reader may do so.
    """
    if not isinstance(name, str):
        raise Outside(str(folder), f"a file is named by {type(name).__name__}, not by text")
    path = unquote(name, errors="surrogateescape") if encoded else name
    for text in (name, path, unquote(path)) if "%" in name else (name,):
        if fault := _fault(text):
            raise Outside(str(folder), f"it names the file {name[:120]!r}, which {fault}")
    return path


def _fault(text: str) -> str:
    """What keeps a text from being a path below a folder; empty where nothing does."""
    if ".." in text and ".." in re.split(r"[/\\]", text):
        return "leads out of the folder"
    if not text.strip("./") or len(text) > _LONGEST or "\0" in text:
        return "is no name"
    if text.startswith(("/", "\\")) or _ADDRESS.match(text.partition("/")[0]):
        return "is an address, or begins at another folder"
    return ""


def check_file(path: str | Path, *, or_socket: bool = False) -> None:
    """Raise Outside where a path that is there is a link, a folder, a pipe or a device."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return  # opening it says what is missing
    if not (stat.S_ISREG(mode) or (or_socket and stat.S_ISSOCK(mode))):
        raise Outside(str(path), f"is {_kind(mode)}, and no file")


def check_folders(root: str | Path, paths: Iterable[str | Path]) -> None:
    """Raise Outside where a link is on the way from the root to one of these files."""
    known = {Path(root)}

    def check(folder: Path) -> None:
        if folder not in known:
            check(folder.parent)
            if folder.is_symlink():
                raise Outside(str(folder), "is a link, and no folder of the lake's own")
            known.add(folder)

    for folder in dict.fromkeys(map(os.path.dirname, paths)):  # a Path for each file takes long
        check(Path(folder))


def check_tree(folder: Path) -> None:
    """Raise Outside where a link lies anywhere below a folder, or it is one itself."""
    if folder.is_symlink():
        raise Outside(str(folder), "is a link, and no folder")
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if (path := Path(above, name)).is_symlink():
                raise Outside(str(path), "is a link, and no file")


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "a device")


@dataclass(frozen=True)
class Within:
    """A file's place below a folder: made by :meth:`of`, and safe to open, make and move."""

    root: Path
    name: str

    @classmethod
    def of(cls, root: Path, name: object, *, encoded: bool = False) -> Within:
        """The place that a text names; Outside where that is not below the folder."""
        return cls(root, str(PurePosixPath(relative(root, name, encoded=encoded))))

    @property
    def path(self) -> Path:
        """The place, for messages and for names."""
        return self.root / self.name

    def read(self) -> IO[bytes]:
        """The file, open; Outside where it is not a file, or a link is on the way."""
        return os.fdopen(self.handle(os.O_RDONLY), "rb")

    def data(self) -> bytes:
        """The whole content; Outside where it is not a file, or larger than any text of ours."""
        with self.read() as file:
            if (size := os.fstat(file.fileno()).st_size) > LARGEST:
                raise Outside(str(self.path), f"has {size:,} bytes, more than its writer writes")
            return file.read(LARGEST)

    def make(self) -> IO[bytes]:
        """A new file, open, and the folders above it; FileExistsError where something is there."""
        return os.fdopen(self.handle(os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb")

    def move(self, to: Within) -> None:
        """Rename whatever lies there, itself: a link is moved, not what it leads to."""
        with self._folder() as (source, name), to._folder(make=True) as (target, new):
            os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)
            os.fsync(target)

    def handle(self, flags: int) -> int:
        """A handle of the file; with O_CREAT the folders above it are made."""
        with self._folder(make=bool(flags & os.O_CREAT)) as (folder, name):
            try:
                handle = os.open(name, flags | _OPEN, 0o666, dir_fd=folder)
            except OSError as error:
                raise self._told(error) from None
        found = os.fstat(handle).st_mode
        if not stat.S_ISREG(found):
            os.close(handle)
            raise Outside(str(self.path), f"is {_kind(found)}, and no file")
        return handle

    @contextmanager
    def _folder(self, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """A handle of the folder that the file lies in, and its name there."""
        *above, name = PurePosixPath(self.name).parts
        handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in above:
                try:
                    if make:
                        _make_folder(part, handle)
                    below = os.open(part, _FOLDER, dir_fd=handle)
                except NotADirectoryError as error:
                    if stat.S_ISLNK(os.lstat(part, dir_fd=handle).st_mode):
                        raise Outside(str(self.path), "a link is on the way to it") from None
                    raise self._named(error) from None
                except OSError as error:
                    raise self._told(error) from None
                os.close(handle)
                handle = below
            yield handle, name
        finally:
            os.close(handle)

    def _told(self, error: OSError) -> Exception:
        """What another kind of file than the one that is looked for is reported as."""
        if error.errno in {errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR}:
            return Outside(str(self.path), "a link, or another thing than a file, is in its place")
        return self._named(error)

    def _named(self, error: OSError) -> OSError:
        return type(error)(error.errno, error.strerror, str(self.path))


def _make_folder(name: str, within: int) -> None:
    try:
        os.mkdir(name, dir_fd=within)
    except FileExistsError:
        return


def rewritten(folder: Path, name: str) -> IO[bytes]:
    """A log of ours, open and empty."""
    return os.fdopen(open_own(folder, name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb")


def open_own(root: Path, name: str, flags: int) -> int:
    """A handle of a file of ours to write to, below a folder that is made where it is lacking.

    The file itself: never what a link leads to that a stranger left in its place.
    """
    root.mkdir(parents=True, exist_ok=True)
    return Within(root, name).handle(flags)
