"""Where a capture stands: a small JSON file under the lake's root, written whole."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from lakehouse.core.errors import LakehouseError
from lakehouse.core.files import write_whole
from lakehouse.core.paths import Lake
from lakehouse.core.within import Within

Mode = Literal["slot", "poll"]
VERSION = 1


class State(msgspec.Struct, kw_only=True, frozen=True):
    """What one lake has captured of one table; everything below ``position`` is in Kafka.

    States of older programs lack the fields that have a default: they are taken up as they
    are, and have them from their next writing on.
    """

    version: int = VERSION
    mode: Mode
    table: str
    oid: int
    key: tuple[str, ...]
    columns: dict[str, int]
    """The contract's columns, and their numbers in the catalogue."""
    topic_id: str
    """Kafka's own identifier of the topic: one that was deleted and made again lacks changes."""
    system: str
    """The database cluster's own identifier."""
    database: str
    generation: int
    """The snapshot that this capture began with: its Unix time in milliseconds."""
    snapshot: Literal["begun", "done"]
    position: int
    """Mode slot: the LSN that the slot may be advanced to; mode poll: a transaction id."""
    marker: str = ""
    """Mode slot: the mark that this capture wrote into the server's log at ``position``; mode poll:
    that of its row in the database (:mod:`producers.cdc.own_row`)."""
    xid: int = 0
    """Mode slot: every transaction below it had ended before that mark was written."""
    database_oid: int = 0
    timeline: int = 0
    lsn: int = 0
    """How far the server's log was when we last heard of it."""
    slot: str = ""
    """The replication slot that is this lake's own."""
    ends: dict[str, int] = {}
    """Partition of the topic → the offset up to which its records are known to be ours."""
    witness: dict[str, str] = {}
    """What must be as it was: see :mod:`producers.cdc.witness`."""
    written: str = ""

    def at(self, position: int, **more: Any) -> State:
        """The same, further on, with its snapshot done."""
        return msgspec.structs.replace(self, position=position, snapshot="done", **more)


def state_path(root: str, product: str) -> Path:
    """``<root>/capture/<product>.json``."""
    return Path(Lake(root).join("capture", f"{product}.json"))


def read_state(path: Path) -> State | None:
    """The state, or None before the first; LakehouseError where it cannot be understood."""
    remedy = "restore it, or remove it and begin again: --anew"
    try:
        data = Within(path.parent, path.name).data()
    except FileNotFoundError:
        return None
    try:
        state = msgspec.json.decode(data, type=State)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise LakehouseError(str(path), f"is not a capture's state: {error}", remedy) from None
    if state.version != VERSION:
        raise LakehouseError(
            str(path), f"has version {state.version}, and this program writes {VERSION}", remedy
        )
    return state


def write_state(path: Path, state: State) -> None:
    """Replace the state; it is on the disk when this returns."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    text = msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(state, written=now)))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text + b"\n")
