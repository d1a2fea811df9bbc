"""The audit's check of orders with ``--source``: what the database holds is what bronze says."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg

from lakehouse.audit.check import Check, Scene
from lakehouse.ingest.topic import Topic
from lakehouse.products.orders.against.compare import MOST, Difference, compare, settle
from lakehouse.products.orders.against.excuse import excused
from lakehouse.products.orders.against.table import Moment, moment
from lakehouse.products.orders.contract import NAME
from lakehouse.settings.postgres_client import connect, slot_of, unavailable
from producers.cdc.state import State, read_state, state_path

SAMPLE = 20
WAIT_SECONDS = 30.0
"""How long what a running capture has on its way is waited for."""
ROWS = "rows of the table in Postgres"
DIFFER = "orders that differ from Postgres"
EXCUSED = "orders whose latest change is in quarantine"


def source(scene: Scene) -> Check:
    """Compare the table with bronze, which the rest of the audit compares with all else.

    Both are taken at one moment of the database: of bronze those changes count whose
    transaction the database's snapshot sees. So it may run while writers write.
    """
    postgres, name = scene.settings.postgres, scene.settings.captured(NAME).table
    try:
        with moment(postgres, name) as now:
            return _check(scene, now)
    except psycopg.Error as error:
        raise unavailable(postgres, error) from None


def _check(scene: Scene, now: Moment) -> Check:
    bronze = f"bronze.{NAME}"
    found = compare(now, scene.snapshots, bronze, scene.say)
    counts = {ROWS: found.rows, DIFFER: found.count}
    place = f"Postgres at LSN {now.lsn >> 32:X}/{now.lsn & 0xFFFFFFFF:X}"
    if found.count > MOST:
        first = settle(now, scene.snapshots, bronze, found.keys[:SAMPLE], lambda: True)
        told = f"{found.count:,} orders differ from {place}"
        return Check("source", (told,), counts=counts, first=_listed(first))
    state, ends = read_state(state_path(scene.settings.lake.root, NAME)), _deadline(scene)
    topic = scene.broker.topic() if scene.topic else None  # it has what the state says
    different = settle(now, scene.snapshots, bronze, found.keys, lambda: time.monotonic() > ends)
    is_landed = topic is not None and _has_landed(scene, topic)
    excuses = excused(scene.snapshots.connection, different) if scene.quarantine else {}
    odd = {key: how for key, how in different.items() if key not in excuses}
    certain = [key for key, one in odd.items() if is_landed and _is_captured(one, state)]
    faults: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    if certain:
        faults = (f"{len(certain):,} orders differ from {place}: {_some(certain)}",)
    if waiting := [key for key in odd if key not in certain]:
        doubts = (
            f"{len(waiting):,} orders differ from {place}, and their changes may be on the way: "
            f"{_some(waiting)}; run the capture and the flows, and this again",
        )  # fmt: skip
    excuse = tuple({"order_id": k, "how": different[k].how, "verdict": v}
                   for k, v in list(excuses.items())[:SAMPLE])  # fmt: skip
    counts |= {DIFFER: len(odd), EXCUSED: len(excuses)}
    return Check("source", faults, doubts, counts, (*_listed(odd), *excuse))


def _has_landed(scene: Scene, topic: Topic) -> bool:
    """Whether bronze, as it was compared, has all that the topic had."""
    pin = scene.snapshots.pin("bronze_now", f"bronze.{NAME}")
    ends = scene.snapshots.ends(pin, topic.name, topic.id)
    held = ends.next if ends else {}
    return all(held.get(partition, 0) >= end for partition, (_, end) in topic.ranges.items())


def _some(keys: list[int]) -> str:
    more = f" and {len(keys) - SAMPLE:,} more" if len(keys) > SAMPLE else ""
    return f"order_id {', '.join(map(str, keys[:SAMPLE]))}{more}"


def _listed(different: dict[int, Difference]) -> tuple[dict[str, object], ...]:
    first = sorted(different)[:SAMPLE]
    return tuple({"order_id": key, "how": different[key].how} for key in first)


def _is_captured(one: Difference, state: State | None) -> bool:
    """Whether the capture says that Kafka has what wrote the table's row."""
    if state is None or one.table is None:
        return False
    return one.table.xid < (state.position if state.mode == "poll" else state.xid)


def _deadline(scene: Scene) -> float:
    """Until when to wait for what is on its way: not at all where no capture runs."""
    state = read_state(state_path(scene.settings.lake.root, NAME))
    if state is None:
        return 0.0
    if state.mode == "slot":
        with closing(connect(scene.settings.postgres)) as connection:
            slot = slot_of(connection, state.slot or scene.settings.captured(NAME).slot)
        runs = slot is not None and slot.active_pid is not None
    else:
        interval = scene.settings.captured(NAME).poll_interval
        since = datetime.now(UTC) - datetime.fromisoformat(state.written)
        runs = since < 2 * interval + timedelta(seconds=5)
    return time.monotonic() + WAIT_SECONDS if runs else 0.0
