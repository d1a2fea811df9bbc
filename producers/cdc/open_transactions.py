"""The transaction that everything waits for: of any database of the server, or prepared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lakehouse.core.sql import text

_OLDEST = """
SELECT 'process ' || pid, pid::text, '', datname, usename, xact_start::timestamp(0)::text,
    age(backend_xid) FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
UNION ALL
SELECT 'prepared transaction ' || gid, '', gid, database, owner, prepared::timestamp(0)::text,
    age(transaction) FROM pg_prepared_xacts
ORDER BY 7 DESC LIMIT 1
"""


@dataclass(frozen=True)
class Blocker:
    """An open transaction: whose, where, since when."""

    name: str
    pid: str
    gid: str
    database: str | None
    user: str | None
    since: str | None

    def __str__(self) -> str:
        """For a message."""
        return f"{self.name} of {self.user} in database {self.database}, since {self.since} UTC"

    @property
    def remedy(self) -> str:
        """How to end it."""
        if self.gid:
            return f"in that database: COMMIT PREPARED {text(self.gid)}, or ROLLBACK PREPARED"
        return f"let it commit, or: SELECT pg_terminate_backend({self.pid})"


def oldest(connection: Any) -> Blocker | None:
    """The oldest transaction that has written, or may; None where none is open."""
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST)
        found = cursor.fetchone()
    return Blocker(*found[:6]) if found else None
