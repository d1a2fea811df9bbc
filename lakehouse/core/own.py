"""The user's own folder on this machine, and marks that say what in a lake was made from here.

A lake may come from a stranger, and some of its files are for us alone: caches, in formats whose
readers do not bear hostile bytes. A mark is a MAC with a key that lies in the user's state
folder, so no stranger can make one; what has none is not opened, and recreated.
"""

from __future__ import annotations

import ctypes
import hmac
import os
import secrets
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path

from lakehouse.core.errors import LakehouseError, ServiceUnavailable
from lakehouse.core.files import distrust, sync, write_whole
from lakehouse.core.within import Within

_KEY = "key"
_MARK = "made_here"
_LENGTH = 32
_HERE, _NO_LINK, _BIRTH, _BIRTH_AT = -100, 0x100, 0x800, 80
"""Of statx(2): paths from the working folder, links themselves, and where it says the birth."""


def user_folder() -> Path:
    """The user's home folder; ServiceUnavailable where neither HOME nor the system names one."""
    home = os.environ.get("HOME")
    if home is not None and not Path(home).is_absolute():  # it would be another in each folder
        raise ServiceUnavailable(
            "HOME", f"is {home!r}, which is no absolute path",
            "set HOME to your home folder, or LAKEHOUSE_CACHE and LAKEHOUSE_STATE to folders that "
            "you can write to",
        )  # fmt: skip
    try:
        return Path.home().absolute()
    except RuntimeError:
        raise ServiceUnavailable(
            "HOME", "is not set, and the system knows no home folder of this user",
            "set HOME, or LAKEHOUSE_CACHE and LAKEHOUSE_STATE, to folders that it can write to",
        ) from None  # fmt: skip


def state_folder() -> Path:
    """``$LAKEHOUSE_STATE``, else ``lakehouse`` in the user's state folder; root's is /var/lib's.

    A server that root starts runs as another user, who cannot pass through root's own folder.
    """
    if given := os.environ.get("LAKEHOUSE_STATE"):
        return Path(given).absolute()
    if base := os.environ.get("XDG_STATE_HOME"):
        return Path(base).absolute() / "lakehouse"
    is_root = os.geteuid() == 0
    return Path("/var/lib/lakehouse") if is_root else user_folder() / ".local/state/lakehouse"


def make_folder(folder: Path) -> None:
    """A folder that only this user, or root, can write to; ServiceUnavailable where others can."""
    mode = 0o711 if os.geteuid() == 0 else 0o700  # a service of root's passes through
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)
    if fault := distrust(folder.stat()):
        raise ServiceUnavailable(
            str(folder), f"{fault}, and we would believe, or start, what they wrote there",
            f"chown it to you and chmod {mode:o}, or name another folder by LAKEHOUSE_STATE",
        )  # fmt: skip


def mac(text: bytes) -> str:
    """A code of a text that only this user on this machine can make; empty where there is no key.

    That is where the state folder cannot be made: what needs a code is then recreated each time.
    """
    try:
        return hmac.digest(_key(state_folder()), text, "sha256").hex()
    except (OSError, LakehouseError) as error:
        _warn(str(error))
        return ""


def is_mac(code: object, text: bytes) -> bool:
    """Whether a code is that of the text."""
    wanted = mac(text)
    if not wanted or not isinstance(code, str):
        return False
    return hmac.compare_digest(code.encode(), wanted.encode())


def mark(folder: Path, *files: str) -> None:
    """Say that a folder and these files in it were made by this user, on this machine."""
    write_whole(folder / _MARK, mac(_identity(folder, files)).encode())


def is_marked(folder: Path, *files: str) -> bool:
    """Whether the folder and these files are those that were marked, and no copies of them."""
    try:
        with Within(folder, _MARK).read() as found:
            code = found.read(100).decode("ascii")
        return is_mac(code, _identity(folder, files))
    except (OSError, ValueError, LakehouseError):
        return False


def _identity(folder: Path, files: tuple[str, ...]) -> bytes:
    """What a copy, or another file in its place, does not have: numbers, and times of birth."""
    parts = [_born(path) for path in (folder, *(folder / name for name in files))]
    return "\n".join(["made here", *parts]).encode()


def _born(path: Path) -> str:
    """A file's number, and when it was made, as only the kernel says; 0 where it does not."""
    found = os.lstat(path)
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise OSError(f"{path} is neither a file nor a folder")
    if birth := getattr(found, "st_birthtime", None):  # not on Linux
        return f"{found.st_ino} {birth}"
    statx, told = getattr(ctypes.CDLL(None), "statx", None), ctypes.create_string_buffer(256)
    if statx is None or statx(_HERE, os.fsencode(path), _NO_LINK, _BIRTH, told):
        return f"{found.st_ino} 0"
    return f"{found.st_ino} {told.raw[_BIRTH_AT : _BIRTH_AT + 12].hex()}"


@cache
def _key(folder: Path) -> bytes:
    """The key of a state folder, made where there is none."""
    make_folder(folder)
    path = folder / _KEY
    if not path.exists():
        part = folder / f".{_KEY}.{secrets.token_hex(8)}"
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_LENGTH))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was first
            path.hardlink_to(part)
        part.unlink()
        sync(folder)
    with Within(folder, _KEY).read() as file:
        fault = distrust(os.fstat(file.fileno()))
        key = file.read(_LENGTH + 1)
    if fault or len(key) != _LENGTH:
        raise ServiceUnavailable(
            str(path), fault or "is no key", "remove it: caches in lakes are rebuilt, once"
        )
    return key


@cache
def _warn(reason: str) -> None:
    import structlog  # noqa: PLC0415  # who only looks does without

    structlog.get_logger("lakehouse").warning(
        "caches in lakes cannot be marked as ours: each start rebuilds them", reason=reason
    )
