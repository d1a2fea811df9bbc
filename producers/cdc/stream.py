"""The replication protocol's stream: a slot's messages, and confirmations to the server.

Nothing is confirmed to the server but what :meth:`Stream.confirm` is told (psycopg2's
own loop moves a slot on by itself at keepalives, past what our state says).
https://www.postgresql.org/docs/current/protocol-replication.html
"""

from __future__ import annotations

import select
import struct
import time
from typing import Any

import psycopg
from psycopg import pq

from lakehouse.core.sql import identifier, text

_DATA = struct.Struct(">cQQq")
_KEEPALIVE = struct.Struct(">cQq?")
_STATUS = struct.Struct(">cQQQq?")
_EPOCH_US = 946_684_800_000_000  # 2000-01-01, in microseconds of Unix time


class Stream:
    """A replication slot that is being read; OperationalError when the connection is lost."""

    def __init__(self, connection: Any, slot: str, start: int, publication: str) -> None:
        self._server, self._confirmed = connection.pgconn, start
        self.end = 0
        """The LSN up to which the server has sent everything, as it said last."""
        command = (
            f"START_REPLICATION SLOT {identifier(slot)} LOGICAL "
            f"{start >> 32:X}/{start & 0xFFFFFFFF:X} "
            f"(proto_version '1', publication_names {text(identifier(publication))}, "
            "messages 'true')"
        )
        result = self._server.exec_(command.encode())
        if result.status != pq.ExecStatus.COPY_BOTH:
            raise psycopg.OperationalError(result.error_message.decode("utf-8", "replace"))

    def read(self, seconds: float) -> tuple[int, bytes] | None:
        """The next message and its LSN; None when there is none for so long."""
        while True:
            size, data = self._server.get_copy_data(1)
            if size < 0:
                said = self._server.get_result()
                reason = said.error_message.decode("utf-8", "replace") if said else ""
                raise psycopg.OperationalError(reason or "the server ended the stream")
            if size == 0:
                if seconds <= 0:
                    return None
                ready, _, _ = select.select([self._server.socket], [], [], seconds)
                self._server.consume_input()
                seconds = seconds if ready else 0
                continue
            if data[:1] == b"w":
                _, lsn, _, _ = _DATA.unpack_from(data)
                return lsn, bytes(data[_DATA.size :])
            _, self.end, _, asked = _KEEPALIVE.unpack_from(data)
            if asked:
                self.beat()
            seconds = 0

    def confirm(self, lsn: int) -> None:
        """Tell the server that everything below is captured, so that its WAL may be removed."""
        self._confirmed = lsn
        self.beat()

    def beat(self, *, ask: bool = False) -> None:
        """Tell the server that this reader is alive; ``ask`` for a keepalive in return."""
        now = time.time_ns() // 1000 - _EPOCH_US
        lsn = self._confirmed
        self._server.put_copy_data(_STATUS.pack(b"r", lsn, lsn, lsn, now, ask))
        while self._server.flush():
            select.select([], [self._server.socket], [], 1.0)
