"""Why the last capture ended, beside its state: whoever looks later has no terminal to read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from lakehouse.core.errors import LakehouseError
from lakehouse.core.files import write_whole
from lakehouse.core.within import Within


class Ended(msgspec.Struct, kw_only=True, frozen=True):
    """The error of a capture that has not got on since."""

    place: str
    fault: str
    remedy: str
    at: str

    def told(self) -> str:
        """When it ended, and why."""
        return f"ended at {self.at[:19].replace('T', ' ')} UTC: {self.place}: {self.fault}"


def _path(state: Path) -> Path:
    return state.with_suffix(".ended.json")


def write_fault(state: Path, error: LakehouseError) -> None:
    """Keep the error that ended a capture."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    ended = Ended(place=error.place, fault=error.fault, remedy=error.remedy, at=now)
    state.parent.mkdir(parents=True, exist_ok=True)
    write_whole(_path(state), msgspec.json.encode(ended))


def read_fault(state: Path) -> Ended | None:
    """What the last capture ended with; None where it ended well, or has got on since."""
    path = _path(state)
    try:
        return msgspec.json.decode(Within(path.parent, path.name).data(), type=Ended)
    except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def forget_fault(state: Path) -> None:
    """The capture makes progress again."""
    _path(state).unlink(missing_ok=True)
