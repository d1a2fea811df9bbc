"""pgoutput, the protocol of Postgres's own logical replication, version 1: bytes → messages.

https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_EPOCH_US = 946_684_800_000_000  # 2000-01-01, in microseconds of Unix time

UNCHANGED = object()
"""Stands for a long text that an update did not change, and that Postgres does not send."""

Cells = list[object]
"""A row's cells: text, None, or :data:`UNCHANGED`."""


@dataclass(frozen=True, slots=True)
class Begin:
    """A transaction's first message: all of it was committed at ``commit_lsn``."""

    commit_lsn: int
    commit_ms: int
    """Unix time in milliseconds."""
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """A transaction's last message."""

    end_lsn: int


@dataclass(frozen=True, slots=True)
class Relation:
    """A table's description, valid for the changes that follow."""

    oid: int
    schema: str
    name: str
    full_identity: bool
    columns: tuple[str, ...]
    type_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row inserted (``old`` None), updated, or deleted (``new`` None)."""

    oid: int
    op: str
    old: Cells | None
    new: Cells | None


@dataclass(frozen=True, slots=True)
class Truncate:
    """Tables emptied at once."""

    oids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A text that somebody wrote into the log itself, outside of all transactions."""

    lsn: int
    prefix: str
    content: bytes


Message = Begin | Commit | Relation | RowChange | Truncate | Mark

_BEGIN = struct.Struct(">QqI").unpack_from
_COMMIT = struct.Struct(">xQQq").unpack_from
_MARK = struct.Struct(">xBQ").unpack_from
_INT = struct.Struct(">I").unpack_from
_SHORT = struct.Struct(">H").unpack_from


def decode(data: bytes) -> Message | None:
    """Decode one message; None if it is not about rows (types, origins)."""
    match data[:1]:
        case b"I":
            return RowChange(_INT(data, 1)[0], "c", None, _cells(data, 6)[0])
        case b"U":
            old, place = None, 5
            if data[5:6] != b"N":
                old, place = _cells(data, 6)
            return RowChange(_INT(data, 1)[0], "u", old, _cells(data, place + 1)[0])
        case b"D":
            return RowChange(_INT(data, 1)[0], "d", _cells(data, 6)[0], None)
        case b"B":
            lsn, microseconds, xid = _BEGIN(data, 1)
            return Begin(lsn, (microseconds + _EPOCH_US) // 1000, xid)
        case b"C":
            return Commit(_COMMIT(data, 1)[1])
        case b"R":
            return _relation(data)
        case b"T":
            count = _INT(data, 1)[0]
            return Truncate(struct.unpack_from(f">{count}I", data, 6))
        case b"M":
            _, lsn = _MARK(data)
            end = data.index(0, 10)
            return Mark(lsn, data[10:end].decode(), data[end + 5 :])
    return None


def _cells(data: bytes, place: int) -> tuple[Cells, int]:
    """The row that begins at ``place``, and the place after it."""
    cells: Cells = []
    count = _SHORT(data, place)[0]
    place += 2
    for _ in range(count):
        kind = data[place]
        place += 1
        if kind == 0x74:  # t: text
            size = _INT(data, place)[0]
            place += 4
            cells.append(data[place : place + size].decode())
            place += size
        else:  # n: null; u: unchanged
            cells.append(None if kind == 0x6E else UNCHANGED)
    return cells, place


def _relation(data: bytes) -> Relation:
    end = data.index(0, 5)
    schema, place = data[5:end].decode(), end + 1
    end = data.index(0, place)
    name, place = data[place:end].decode(), end + 1
    identity, count = data[place : place + 1], _SHORT(data, place + 1)[0]
    place += 3
    columns, type_ids = [], []
    for _ in range(count):
        end = data.index(0, place + 1)
        columns.append(data[place + 1 : end].decode())
        type_ids.append(_INT(data, end + 1)[0])
        place = end + 9
    return Relation(
        _INT(data, 1)[0], schema, name, identity == b"f", tuple(columns), tuple(type_ids)
    )
