"""Connections to Postgres as settings name it; where one fails, which key to mend."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from lakehouse.core.errors import ServiceAway, ServiceUnavailable
from lakehouse.settings.sections import PostgresSettings
from lakehouse.settings.settings import secret

TEXT_FORMS = (
    "-c datestyle=ISO -c timezone=UTC -c intervalstyle=postgres -c extra_float_digits=1 "
    "-c bytea_output=hex -c quote_all_identifiers=off"
)
"""A value has one text form, whoever reads it: a query, a snapshot or a replication slot."""

ALL_ROWS = "-c row_security=off"
"""Rows that a policy hides are an error, not a gap."""

UNTIMED = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0"
"""No limits of the role's own. Part of the start: a SET would be a statement under the limit."""

_LATER = {"idle_session_timeout": 140000, "transaction_timeout": 170000}
"""More limits → the first version that has them; older ones let nobody in who names them."""

_CREDENTIALS = (
    "mend [postgres] user and the password (LAKEHOUSE_POSTGRES_PASSWORD or password_file)"
)
_REFUSALS = {
    r"password authentication failed|no password supplied|role .* does not exist": _CREDENTIALS,
    r"no pg_hba.conf entry": "let this user and host in by the server's pg_hba.conf, "
    "or mend [postgres] user and sslmode",
    r"database .* does not exist": "mend the database's name in [postgres] url",
    r"certificate|SSL|sslmode|root\.crt|private key": "mend [postgres] sslmode, sslrootcert, "
    "sslcert and sslkey",
    r"superuser or replication role|permission denied to start WAL sender": "let the role "
    "replicate: ALTER ROLE ... REPLICATION",
    r"too many clients|remaining connection slots": "raise the server's max_connections, "
    "or end other clients",
}
"""What Postgres or libpq says of a client that it will not let in, to remedy."""
_LOST = r"SSL SYSCALL error|SSL connection has been closed unexpectedly"
"""What libpq says of a connection by TLS whose server has ended."""


def place(postgres: PostgresSettings) -> str:
    """The database as errors name it; never with a secret."""
    parts = urlsplit(postgres.url)
    return f"Postgres at {parts.netloc.rpartition('@')[2]}{parts.path}"


def connect(postgres: PostgresSettings, **options: Any) -> psycopg.Connection:
    """An autocommitting connection whose values have :data:`TEXT_FORMS`.

    Its statements may take long, whatever the role's settings say. ``options`` are
    psycopg.connect's. ServiceUnavailable where there is none, raised from psycopg's
    error, of which :func:`remedy_of` says whether waiting may help.
    """
    try:
        made = psycopg.connect(postgres.url, autocommit=True, **{**_options(postgres), **options})
        for name in (name for name, since in _LATER.items() if made.info.server_version >= since):
            made.execute(f"SET {name} = 0")
    except psycopg.OperationalError as error:
        raise unavailable(postgres, error) from error
    return made


def _options(postgres: PostgresSettings) -> dict[str, Any]:
    own = conninfo_to_dict(postgres.url).get("options") or ""
    seconds = max(2, round(postgres.connect_timeout.total_seconds()))  # libpq's least is 2
    found: dict[str, Any] = {
        "connect_timeout": seconds,
        "application_name": "lakehouse",
        "client_encoding": "UTF8",
        "options": f"{own} {TEXT_FORMS} {ALL_ROWS} {UNTIMED}".strip(),
        "keepalives_idle": 30,
        "tcp_user_timeout": 60_000,
    }
    for key in ("user", "sslmode", "sslrootcert", "sslcert", "sslkey"):
        if getattr(postgres, key):
            found[key] = getattr(postgres, key)
    if postgres.password is not None or postgres.password_file:
        where = "[postgres] password_file"
        found["password"] = secret(postgres.password, postgres.password_file, where)
    return found


def remedy_of(error: psycopg.Error) -> str | None:
    """What to mend where the server will not let us in; None where waiting may help."""
    said = str(error)
    if re.search(_LOST, said):
        return None
    return next((remedy for pattern, remedy in _REFUSALS.items() if re.search(pattern, said)), None)


def unavailable(postgres: PostgresSettings, error: psycopg.Error) -> ServiceUnavailable:
    """The error of a database that does not answer, or refuses us."""
    lines = str(error).strip().splitlines() or ["no answer"]
    told = re.sub(r"^(connection failed: )?(connection to server .*? failed: )?", "", lines[0])
    told = told.replace("FATAL:  ", "")
    if remedy := remedy_of(error):
        return ServiceUnavailable(place(postgres), told, remedy)
    if isinstance(error, psycopg.errors.DiskFull):
        return ServiceAway(place(postgres), told, "make room on the server's disk")
    return ServiceAway(
        place(postgres), told,
        "start the server, or mend [postgres] url; leave url empty for the embedded Postgres",
    )  # fmt: skip


def right_lacking(error: psycopg.Error) -> str | None:
    """What to mend where the server does not let us read or write; None of any other error."""
    match error:
        case psycopg.errors.ReadOnlySqlTransaction():
            return (
                "name the primary by [postgres] url, or let it be written: "
                "default_transaction_read_only = off"
            )
        case psycopg.errors.InsufficientPrivilege() if "row-level security" in str(error):
            return (
                "let the role see and write every row: ALTER ROLE ... BYPASSRLS; for the table's "
                "owner: ALTER TABLE ... NO FORCE ROW LEVEL SECURITY"
            )
        case psycopg.errors.InvalidSchemaName():
            return "grant the role USAGE on the tables' schema, and let its search_path name that"
        case psycopg.errors.InsufficientPrivilege():
            return (
                "grant the role of [postgres] user SELECT, INSERT, UPDATE and DELETE on the "
                "sink's tables, TEMPORARY on the database, and CREATE on the schema of a table "
                "that is missing"
            )
    return None


@dataclass(frozen=True)
class Slot:
    """A replication slot as the server has it."""

    plugin: str
    database: str
    active_pid: int | None
    """The server's process that reads it for someone."""
    wal_status: str
    """``reserved``, ``extended``, ``unreserved`` or ``lost``."""
    confirmed: int
    """The LSN up to which its reader has everything."""
    held: int
    """Bytes of WAL that the server keeps for it."""
    behind: int = 0
    """Bytes of WAL since ``confirmed``."""


def slot_of(connection: Any, name: str) -> Slot | None:
    """The slot of this name, or None."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT plugin, database, active_pid, wal_status, "
            "coalesce(confirmed_flush_lsn - '0/0'::pg_lsn, 0)::bigint, "
            "coalesce(pg_current_wal_lsn() - restart_lsn, 0)::bigint, "
            "coalesce(pg_current_wal_lsn() - confirmed_flush_lsn, 0)::bigint "
            "FROM pg_replication_slots WHERE slot_name = %s",
            (name,),
        )
        found = cursor.fetchone()
    return Slot(*found) if found else None
