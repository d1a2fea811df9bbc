"""Which server and database answers, and whether its history is the one that was captured.

A server can be put back to an earlier image: a backup, a point in time, a replica that
lagged. Then its log stands behind what Kafka has, or it is of another timeline. Once new
commits have carried it past that place, only the log itself tells: the capture leaves a
mark of its own in it wherever its state stands, and :mod:`producers.cdc.follow` reads
that mark first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lakehouse.core.errors import UsageError
from lakehouse.settings.postgres_client import connect
from lakehouse.settings.sections import PostgresSettings
from producers.cdc.state import State
from producers.cdc.table import CannotCapture

_SERVER = """
SELECT s.system_identifier::text, d.datname, d.oid::bigint,
    ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::bigint,
    (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint
FROM pg_control_system() s, pg_database d WHERE d.datname = current_database()
"""
LOCK_MS = 2_000
LEAST_VERSION = 140000
"""The first whose replication slots send marks."""


@dataclass(frozen=True)
class Server:
    """A server and the connection's database, as they are now."""

    system: str
    """The cluster's own identifier."""
    database: str
    database_oid: int
    timeline: int
    lsn: int
    """How far its log is on its disk."""


def patient(postgres: PostgresSettings, lock_ms: int = LOCK_MS, **options: Any) -> Any:
    """A connection whose statements may take long, whatever the role's settings say.

    A lock that somebody holds is not waited for in silence: LockNotAvailable after ``lock_ms``.
    """
    connection = connect(postgres, **options)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {lock_ms}")
    except BaseException:
        connection.close()
        raise
    return connection


def server_of(connection: Any) -> Server:
    """The server that answers; CannotCapture where it only follows another."""
    info = connection.info
    place = f"Postgres at {info.host}:{info.port}/{info.dbname}"
    if info.server_version < LEAST_VERSION:
        raise CannotCapture(
            place, f"is of version {info.server_version // 10000}", "use 14 or a later one"
        )
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_is_in_recovery()")
        if cursor.fetchone()[0]:
            raise CannotCapture(
                place, "is a standby, which writes nothing of its own",
                "name its primary by [postgres] url",
            )  # fmt: skip
        cursor.execute(_SERVER)
        return Server(*cursor.fetchone())


def belongs(server: Server, state: State, table: str, path: str, anew: str) -> None:
    """Check that the state is of this table, database and cluster."""
    here = (table, server.database, server.system)
    if (state.table, state.database, state.system) != here:
        raise UsageError(
            path,
            f"is of {state.table} in database {state.database} of cluster {state.system}, and "
            f"settings name {table} in {server.database} of {server.system}",
            f"mend the settings, or begin again: {anew}",
        )


def same_history(server: Server, state: State, heard: int, anew: str) -> None:
    """Check that the server has all that was captured of it; ``heard`` is what it sent us last.

    What an older state does not say is not compared.
    """
    fault = ""
    captured = max(state.lsn, heard, state.position if state.mode == "slot" else 0)
    if state.database_oid and server.database_oid != state.database_oid:
        fault = (
            f"is another database of that name (oid {server.database_oid}, not "
            f"{state.database_oid}): it was dropped and recreated, perhaps from a template"
        )
    elif server.lsn < captured:
        fault = (
            f"was put back to an earlier image: its log ends at {lsn_text(server.lsn)}, and "
            f"changes were captured up to {lsn_text(captured)}"
        )
    elif state.timeline and server.timeline != state.timeline:
        fault = (
            f"is on timeline {server.timeline}, and was on {state.timeline}: it was restored to "
            "a point in time, or a replica took its place. Changes that were captured may be "
            "undone, and others not be captured"
        )
    if fault:
        raise CannotCapture(f"database {state.database}", fault, f"begin again: {anew}")


def other_history(state: State, anew: str) -> CannotCapture:
    """The error of a log that lacks the mark which this capture wrote into it."""
    return CannotCapture(
        f"database {state.database}",
        f"has another history: its log does not hold the mark that this capture left at "
        f"{lsn_text(state.position)}. It was put back to an earlier image, and has gone on "
        "from there",
        f"begin again: {anew}",
    )


def lsn_of(text: str) -> int:
    """``16/B374D848`` as a number."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def lsn_text(lsn: int) -> str:
    """A number as ``16/B374D848``."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
