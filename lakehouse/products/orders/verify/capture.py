"""The capture: its state, and the slot that it reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from lakehouse.products.orders.contract import NAME
from lakehouse.products.orders.verify.check import Check, Parts
from lakehouse.settings.postgres_client import connect, slot_of
from producers.cdc.state import read_state, state_path


def capture_checks(parts: Parts) -> Iterator[Check]:
    """The capture's state, and the slot that it reads."""
    settings, section = parts.settings, parts.settings.captured(NAME)
    again, state = parts.capture, read_state(state_path(settings.lake.root, NAME))
    if state is None:
        yield Check("capture", False, "nothing is captured yet", again)
        return
    detail = f"mode {state.mode}, snapshot {state.snapshot}, position {state.position}"
    done = state.snapshot == "done"
    if state.mode == "poll":
        detail += "; deletes are not seen"
    else:
        with closing(connect(settings.postgres)) as connection:
            slot = slot_of(connection, section.slot)
        limit = settings.postgres.wal_limit_mb * 2**20
        lost = slot is None or slot.wal_status == "lost"
        held = "is gone" if slot is None else f"holds {slot.held / 2**20:,.1f} MB of WAL"
        done = done and not lost and slot is not None and slot.held <= limit
        detail += f"; slot {section.slot} {held}"
        again += " --anew" if lost else ""
    yield Check("capture", done, detail, "" if done else again)
