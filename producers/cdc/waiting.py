"""What a capture does when the database says no: wait, or say what to mend."""

from __future__ import annotations

import time
from contextlib import closing

import psycopg
import structlog

from lakehouse.core.errors import LakehouseError, ServiceAway, ServiceUnavailable
from lakehouse.core.patience import Patience
from lakehouse.settings.postgres_client import connect, place, remedy_of, unavailable
from producers.cdc.plan import Plan, Summary
from producers.cdc.table import CannotCapture

AGAIN_SECONDS = 1.0
log = structlog.get_logger()

_HOLDERS = """
SELECT string_agg(DISTINCT pid::text, ', ') FROM pg_locks
WHERE relation = to_regclass(%s) AND granted AND mode LIKE '%%Exclusive%%'
"""


class Waiting:
    """How long a capture has waited for database, broker or table already."""

    def __init__(self, plan: Plan, summary: Summary, patience: Patience) -> None:
        self.plan, self.summary, self.patience = plan, summary, patience
        self.lost = 0.0
        """When the last progress was seen to have ended, by the monotonic clock."""
        self.is_told = False

    def is_worth_it(self, error: psycopg.Error | ServiceUnavailable) -> bool:
        """Wait a moment; False once a stop is asked for; an error in words if waiting is no use."""
        if self.summary.healthy > self.lost:
            self.lost, self.is_told = time.monotonic(), False
            self.patience.progress(self.summary.healthy)
        if isinstance(error, psycopg.errors.LockNotAvailable):
            if not self.plan.stop.is_set():
                self._locked(is_over=time.monotonic() - self.lost > self.patience.limit)
            return not self.plan.stop.wait(AGAIN_SECONDS)
        if isinstance(error, psycopg.Error):
            if not _is_passing(error):
                raise in_words(self.plan, error) from None
            error = unavailable(self.plan.settings.postgres, error)
        if not isinstance(error, ServiceAway):
            raise error
        self.summary.reconnects += 1
        return self.patience.again(error)

    def _locked(self, *, is_over: bool) -> None:
        """Say once who locks the table; who is to end with what is there does not wait for ever."""
        table = self.plan.section.table
        if self.is_told and not (is_over and self.plan.available_now):
            return
        with closing(connect(self.plan.settings.postgres)) as connection:
            found = connection.execute(_HOLDERS, (table,)).fetchone()
        holders = (found and found[0]) or "that are gone by now"
        if is_over and self.plan.available_now:
            raise ServiceUnavailable(
                table, f"is locked by processes of the server: {holders}",
                "let them commit, or: SELECT pg_terminate_backend(...)",
            )  # fmt: skip
        log.warning("waiting for the table, which is locked", table=table, by=holders)
        self.is_told = True


def in_words(plan: Plan, error: psycopg.Error) -> LakehouseError:
    """An error that waiting does not mend, with what does."""
    table, said = plan.section.table, (str(error).splitlines() or ["no word"])[0]
    where, remedy = place(plan.settings.postgres), "mend that, and start again"
    match error:
        case psycopg.errors.InsufficientPrivilege() if "row-level security" in said:
            where, remedy = table, (
                "let the role see every row: ALTER ROLE ... BYPASSRLS; for the table's owner: "
                f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"
            )  # fmt: skip
        case psycopg.errors.InsufficientPrivilege():
            remedy = "grant the role SELECT on the table and REPLICATION, or mend [postgres] user"
        case psycopg.errors.UndefinedTable() | psycopg.errors.UndefinedColumn():
            where, said = table, f"was dropped or altered while it was read: {said}"
            remedy = f"put it back, or begin again: {plan.anew}"
        case psycopg.errors.QueryCanceled():
            remedy = "somebody cancelled our statement: start again"
    return CannotCapture(where, said, remedy)


def _is_passing(error: psycopg.Error) -> bool:
    """Whether waiting may help: connection lost, or a server that starts, shuts down or is full."""
    if remedy_of(error) is not None or isinstance(error, psycopg.errors.QueryCanceled):
        return False
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or (
        error.sqlstate is None
    )
