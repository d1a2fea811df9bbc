"""Mode poll: a row of our own in the database, by which a server that was put back is known.

Each look that moves the state on first gives the row a new token, which is on the server's disk
when that returns; then the state has it. Worked example: state and row have token A.

- Before: a look has read up to transaction 91. The row becomes (B, before it A); then the state, B.
- Crash between: the row is (B, A), the state A. The row came after the state: nothing is lost.
- Put back to an image from before B: the row is (A, …), or there is none, and the state B. It is
  refused, however far the server has gone on since.
"""

from __future__ import annotations

import secrets
from typing import Any

from psycopg import errors

from lakehouse.core.sql import identifier
from producers.cdc.state import State
from producers.cdc.table import CannotCapture, Table

NAME = "lakehouse_capture"
_MAKE = "CREATE TABLE IF NOT EXISTS {name} (id text PRIMARY KEY, token text, before text)"
_MAY = """
SELECT bool_and(has_table_privilege(c.oid, p)) FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) p
CROSS JOIN (SELECT to_regclass(%s)::oid) c(oid) WHERE c.oid IS NOT NULL
"""
_RENEW = """
INSERT INTO {name} VALUES (%s, %s, %s)
ON CONFLICT (id) DO UPDATE SET token = excluded.token, before = excluded.before
RETURNING pg_current_xact_id()::text::bigint
"""
_READ = "SELECT token, before FROM {name} WHERE id = %s"


class OwnRow:
    """The row of one capture; ``is_kept`` is False where the role may not write one.

    A state's ``marker`` is its id and its token, as ``id.token``.
    """

    def __init__(self, connection: Any, table: Table) -> None:
        """Make the table beside the captured one, where it is not there."""
        self._connection, self._name = connection, f"{identifier(table.schema)}.{identifier(NAME)}"
        self._xid = 0
        self.is_kept = self._may() or self._made()

    def _may(self) -> bool:
        with self._connection.cursor() as cursor:
            cursor.execute(_MAY, (self._name,))
            return bool(cursor.fetchone()[0])

    def _made(self) -> bool:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(_MAKE.format(name=self._name))
        except errors.InsufficientPrivilege:
            return False
        except errors.UniqueViolation:  # another capture makes it at this moment
            pass
        return self._may()

    def renewed(self, marker: str) -> str:
        """The marker with a new token, which the row has by now; empty where none is kept."""
        if not self.is_kept:
            return ""
        own, _, before = marker.partition(".")
        own, token = own or secrets.token_hex(8), secrets.token_hex(8)
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit = on")
            cursor.execute(_RENEW.format(name=self._name), (own, token, before))
            self._xid = cursor.fetchone()[0]
        return f"{own}.{token}"

    def is_all(self, position: int, horizon: int) -> bool:
        """Whether nothing but this row's own transaction lies between the two."""
        return (position, horizon) == (self._xid, self._xid + 1)

    def check(self, reader: Any, state: State, anew: str) -> None:
        """CannotCapture where the row, as the reader sees it, is not as the state left it."""
        own, _, token = state.marker.partition(".")
        if not own:
            return
        try:
            with reader.cursor() as cursor:
                cursor.execute(_READ.format(name=self._name), (own,))
                found = cursor.fetchone()
        except errors.UndefinedTable:
            found = None
        if found is None or token not in found:
            raise CannotCapture(
                f"database {state.database}",
                "was put back to an earlier image, and has gone on from there: it does not hold "
                f"the row that this capture left in {self._name}",
                f"begin again: {anew}",
            )
