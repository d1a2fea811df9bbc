"""Where the data of a lake's embedded services lies: in the user's state folder, by the lake's id.

A server runs what its data folder tells it to, and a lake may come from a stranger. So no server is
ever started on a folder of a lake: the lake has an id, and the data lies in a folder of that name
which only this user (or root) can write to. That folder knows the lake's root: a copy of a lake
gets an id of its own, a lake that was moved keeps its data.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from uuid import uuid4

import psutil

from lakehouse.core.errors import LakehouseError, ServiceUnavailable, TableLocked, UsageError
from lakehouse.core.files import write_whole
from lakehouse.core.lock import one_at_a_time
from lakehouse.core.own import make_folder, state_folder
from lakehouse.core.paths import IDENTITY, root_option
from lakehouse.core.within import Within, check_file

SERVICES = ("kafka", "postgres")
_IDENTITY = re.compile("[0-9a-f]{32}")
_ROOT = "lake"
"""The file in a home that has the path of its lake."""


class InLake(UsageError):
    """A lake holds data of services, as lakes of an earlier version do, and a stranger's may."""


def home_of(root: Path) -> Path:
    """The folder of a lake's services, made where there is none; the lake gets an id.

    InLake where the lake itself holds data of services: it is moved by :func:`move_in`.
    """
    root = root.resolve()
    if left := left_in(root):
        raise InLake(
            str(root),
            f"it holds the data of embedded services ({', '.join(left)}), as lakes of an earlier "
            "version do; a stranger's would run the stranger's commands",
            f"where this lake is your own, move them: lakehouse move-services {root_option(root)}; "
            f"else remove them: rm -r {' '.join(str(root / name) for name in left)}",
        )
    try:
        return _claimed(root)
    except OSError as error:
        raise unusable(root, error) from None


def known_home(root: Path) -> Path | None:
    """The folder of a lake's services, None where it has none; makes nothing."""
    root = root.resolve()
    home = state_folder() / _identity(root)
    return home if home != state_folder() and _root_of(home) == root else None


def forsaken() -> list[tuple[Path, Path]]:
    """Homes whose lake is no longer where it was, and where that was: removed, or moved since."""
    try:
        homes = [home for home in state_folder().iterdir() if _IDENTITY.fullmatch(home.name)]
    except (OSError, ServiceUnavailable):
        return []
    found = [(home, root) for home in sorted(homes) if (root := _root_of(home))]
    return [(home, root) for home, root in found if _identity(root) != home.name]


def empty(root: Path) -> None:
    """Remove what a lake's services hold: none of them runs."""
    if home := known_home(root):
        for name in SERVICES:
            shutil.rmtree(home / name, ignore_errors=True)


def left_in(root: Path) -> list[str]:
    """Which services have data in the lake itself."""
    return [name for name in SERVICES if (root / name / "data").exists()]


def move_in(root: Path) -> Path:
    """Move services' data out of a lake that the user says is their own; gives the new place."""
    root = root.resolve()
    for name in left_in(root):
        _check_unused(root / name)
        _check_plain(root / name)
    try:
        home = _claimed(root)
        for name in left_in(root):
            if (home / name).exists():
                raise UsageError(
                    str(home / name), f"is there already, beside {root / name}",
                    "remove the one that you do not need, then run it again",
                )  # fmt: skip
            _move(root / name, home / name)
    except OSError as error:
        raise unusable(root, error) from None
    return home


def _claimed(root: Path) -> Path:
    """The home of a lake's id, which is the lake's own: a copy of a lake is given another."""
    state = state_folder()
    make_folder(state)
    with one_at_a_time(state / "lock"):
        home = state / _identity(root)
        owner = _root_of(home) if home != state else None
        if home == state or (owner not in {None, root} and _identity(owner) == home.name):
            home = state / uuid4().hex
            root.mkdir(parents=True, exist_ok=True)
            write_whole(root / IDENTITY, f"{home.name}\n".encode())
        make_folder(home)
        if owner != root:
            write_whole(home / _ROOT, os.fsencode(root), 0o600)
    return home


def _identity(root: Path | None) -> str:
    """A lake's id; empty where it has none that is one."""
    try:
        if root is None:
            return ""
        with Within(root, IDENTITY).read() as file:
            text = file.read(64).decode("ascii").strip()
    except (OSError, ValueError, LakehouseError):
        return ""
    return text if _IDENTITY.fullmatch(text) else ""


def _root_of(home: Path) -> Path | None:
    """The root of the lake that a home belongs to."""
    try:
        return Path(os.fsdecode((home / _ROOT).read_bytes()))
    except OSError:
        return None


def _check_unused(folder: Path) -> None:
    """Raise TableLocked where a server of an earlier version still runs in a lake's folder."""
    marks = {str(folder / "server.properties"), str(folder / "data")}
    for process in psutil.process_iter(["pid", "cmdline"]):
        if marks & {*(process.info["cmdline"] or ())}:
            pid = process.info["pid"]
            raise TableLocked(
                str(folder), f"process {pid} serves from it", f"end it with: kill {pid}"
            )


def _check_plain(folder: Path) -> None:
    """Raise where anything below a folder is a link, a pipe or a device."""
    for above, folders, files in os.walk(folder):
        for name in files:
            check_file(Path(above, name))
        for name in folders:
            if Path(above, name).is_symlink():
                check_file(Path(above, name))


def _move(source: Path, to: Path) -> None:
    """Move a folder, whole or not at all, also to another disk."""
    part = to.with_name(f"{to.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        source.rename(to)
    except OSError:
        shutil.copytree(source, part)
        part.rename(to)
        shutil.rmtree(source)
    to.chmod(0o711 if os.geteuid() == 0 else 0o700)


def unusable(root: Path, error: OSError) -> ServiceUnavailable:
    """The error of the state folder, or of the lake, which has its id."""
    place = Path(os.fsdecode(error.filename or state_folder()))
    if root in place.parents:
        fault = f"cannot be written: {error.strerror or error}"
        return ServiceUnavailable(
            f"lake {root}", fault, "mend the folder's rights, or name another lake by --root"
        )
    return ServiceUnavailable(
        str(place), f"cannot be used: {error.strerror or error}",
        "mend the folder's rights, or name another one by LAKEHOUSE_STATE",
    )  # fmt: skip
