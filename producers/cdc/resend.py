"""Sends rows again of which a change was too large for its topic: as they are at one moment.

The moment is that of a temporary slot, which says between which commits it lies. A row goes
into the topic there, as a snapshot's record: after every change that it has, before every one
that it lacks. Worked example. The change 41 of row 3 was too large, and its mark was sent.

- Before: the slot is at 40. The moment is 44: it has 41 to 43. They are read and sent.
- 44 comes: row 3 is sent as of 44, then 44. Crash here: the row may come again, as it is then.
- The mark stays in quarantine: the values between two moments are lost, and listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import structlog

from lakehouse.core.sql import identifier
from producers.cdc.events import Events, Place, now_ms
from producers.cdc.plan import Run
from producers.cdc.slot import make_slot, replication
from producers.cdc.snapshot import columns_of, moment, text_cursor
from producers.cdc.table import Table

log = structlog.get_logger()
Key = dict[str, Any]


class Resend:
    """Rows that wait for their place in the stream; ``held`` keeps their moment readable."""

    def __init__(
        self, reader: Any, table: Table, keys: list[Key], point: int, held: ExitStack
    ) -> None:
        self._reader, self._table, self._keys = reader, table, keys
        self._point, self._held = point, held

    def reach(self, position: int, events: Events) -> None:
        """Send them if the stream comes to their moment, which is then let go."""
        if not self._keys or position < self._point:
            return
        where = Place(position=self._point, index=0, ms=now_ms(), lsn=self._point, snapshot=True)
        sent = 0
        for key in self._keys:
            for texts in row_of(self._reader, self._table, key):
                events.put("r", None, self._table.row(texts), where)
                sent += 1
        log.info("rows of large changes are sent again", rows=sent, gone=len(self._keys) - sent)
        self._keys = []
        self._held.close()


def row_of(reader: Any, table: Table, key: Key) -> list[Any]:
    """The row of a key as texts, if there is one."""
    wanted = " AND ".join(f"{identifier(name)} = %s" for name in key)
    with text_cursor(reader, table, "resend") as cursor:
        cursor.execute(
            f"SELECT {columns_of(table)} FROM ONLY {table.quoted} WHERE {wanted}", [*key.values()]
        )
        return list(cursor)


@contextmanager
def resending(work: Run) -> Iterator[Resend | None]:
    """The rows that the plan asks for, at a moment that stays readable meanwhile; None for none."""
    keys = work.sink.marked(work.table.key) if work.plan.resend else []
    if work.plan.resend and not keys:
        log.info("no row's last change was too large", topic=work.plan.section.topic)
    with ExitStack() as held:
        made = None
        if keys:
            connection = held.enter_context(closing(replication(work)))
            name = f"{work.plan.section.slot}_resend"[:63]
            made = make_slot(work, connection, name, "TEMPORARY")
        if made is None:
            yield None
            return
        point, snapshot = made
        reader = held.enter_context(moment(work.plan.settings.postgres, work.table, snapshot))
        yield Resend(reader, work.table, keys, point, held)
