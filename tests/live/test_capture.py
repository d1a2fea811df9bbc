"""The capture on real parts: whatever happens to it, the topic folds to what the table holds."""

from __future__ import annotations

import random
import threading
import time
from contextlib import closing
from datetime import UTC, datetime

import psycopg
import pytest

from producers.cdc.sink import IN_FLIGHT
from producers.orders.load import load
from tests.conftest import long
from tests.live.orders_table import (
    INSERT,
    MODES,
    Orders,
    check_order,
    current,
    sequences,
)

pytestmark = pytest.mark.live


def test_a_snapshot_then_every_kind_of_change(orders):
    assert orders.capture().counts == {"r": 10}
    orders.sql(INSERT + "('a', 'b', 'c', 1), ('d', 'e', 'f', 2)")
    orders.sql("UPDATE orders SET order_status = 'delivered' WHERE order_id = 10")
    orders.sql("DELETE FROM orders WHERE order_id = 1")
    summary = orders.capture()
    assert summary.counts == {"c": 2, "u": 1, "d": 1, "tombstone": 1}
    assert summary.sent == summary.acknowledged == 5
    assert summary.transactions == 3
    records = orders.assert_captured()
    changed = next(v for k, v, _ in records if v and v["op"] == "u")
    assert changed["before"]["order_status"] == "placed"
    assert changed["after"]["order_status"] == "delivered"
    assert "change_xid" not in changed["after"]
    gone = [(v, h) for k, v, h in records if k["order_id"] == 1][1:]
    assert [v and v["op"] for v, _ in gone] == ["d", None]
    assert gone[0][0]["before"]["customer_name"] == "Amara Okafor"
    assert gone[1][1]["sequence"].decode() == gone[0][0]["source"]["sequence"]
    assert all(h["contract"] == b"orders/2" for _, _, h in records)
    assert orders.capture().sent == 0


ODD = {
    "text": ("o'q\"\\\t\n\x01ünï 𝄞 {}[],:", "", "a" * 100_000, None),
    "money": ("0.10", "123456789012345678901234567890.123456789", "-0.00", "NaN", None),
    "time": ("1999-12-31 23:59:59.999999-11:30", "2024-02-29 00:00:00+14", "0044-03-15 12:00 BC",
             "infinity", "12026-01-01 00:00:00Z", None),
}  # fmt: skip


@MODES
def test_odd_values_are_told_as_they_are(orders, mode):
    orders.capture(mode)
    texts = [(i, text, "1", "2026-01-01Z") for i, text in enumerate(ODD["text"], 100)]
    money = [(i, "x", amount, "2026-01-01Z") for i, amount in enumerate(ODD["money"], 200)]
    times = [(i, "x", "1", at) for i, at in enumerate(ODD["time"], 300)]
    for row in (*texts, *money, *times):
        orders.sql(
            "INSERT INTO orders (order_id, item, amount, created_at) "
            "VALUES (%s, %s, %s::numeric, %s::timestamptz)", *row,
        )  # fmt: skip
    orders.capture(mode)
    found = {k["order_id"]: v["after"] for k, v, _ in orders.records() if v}
    assert [found[i]["item"] for i in range(100, 104)] == list(ODD["text"])
    assert [found[i]["amount"] for i in range(200, 205)] == [
        "0.10", "123456789012345678901234567890.123456789", "0.00", "NaN", None,
    ]  # fmt: skip
    assert [found[i]["created_at"] for i in range(300, 306)] == [
        "2000-01-01T11:29:59.999999Z", "2024-02-28T10:00:00Z", "0044-03-15 12:00:00+00 BC",
        "infinity", "12026-01-01T00:00:00Z", None,
    ]  # fmt: skip


def test_a_long_text_that_an_update_leaves_alone_is_told_all_the_same(orders):
    orders.sql("UPDATE orders SET item = (SELECT string_agg(md5(i::text), '') "
               "FROM generate_series(1, 3000) i) WHERE order_id = 3")  # fmt: skip
    orders.capture()
    orders.sql("UPDATE orders SET order_status = 'delivered' WHERE order_id = 3")
    orders.capture()
    told = [v for k, v, _ in orders.records() if k["order_id"] == 3][-1]
    assert told["op"] == "u"
    assert len(told["after"]["item"]) == len(told["before"]["item"]) == 96_000
    assert current(orders.records()) == orders.table()


def test_a_new_key_is_a_delete_and_a_create(orders):
    orders.capture()
    orders.sql("UPDATE orders SET order_id = order_id + 100 WHERE order_id IN (4, 5)")
    orders.sql("BEGIN; UPDATE orders SET order_id = 0 WHERE order_id = 6;"
               "UPDATE orders SET order_id = 6 WHERE order_id = 7;"
               "UPDATE orders SET order_id = 7 WHERE order_id = 0; COMMIT")  # fmt: skip
    assert orders.capture().counts == {"d": 5, "tombstone": 5, "c": 5}
    orders.assert_captured()


def test_truncate_deletes_every_key(orders):
    orders.capture()
    orders.sql("BEGIN; " + INSERT + "('a', 'b', 'c', 1); TRUNCATE orders; "
               + INSERT + "('d', 'e', 'f', 2); COMMIT")  # fmt: skip
    assert orders.capture().counts == {"c": 2, "d": 11, "tombstone": 11}
    assert current(orders.records()) == orders.table()
    assert len(orders.table()) == 1


def test_what_was_rolled_back_is_not_told(orders):
    orders.capture()
    orders.sql("BEGIN; " + INSERT + "('no', 'b', 'c', 1); ROLLBACK")
    orders.sql("BEGIN; " + INSERT + "('yes', 'b', 'c', 1); SAVEPOINT s; " + INSERT
               + "('no', 'b', 'c', 1); DELETE FROM orders; ROLLBACK TO s; COMMIT")  # fmt: skip
    assert orders.capture().counts == {"c": 1}
    assert current(orders.records()) == orders.table()


@MODES
def test_late_commits_equal_times_and_old_transactions(orders, mode):
    """Long transactions that began first commit last, and write rows that others wrote since."""
    with orders.following(mode):
        orders.until(lambda now: len(now) == 10)
        long = [orders.connect() for _ in range(3)]
        for number, connection in enumerate(long):
            connection.autocommit = False
            cursor = connection.cursor()
            cursor.execute(INSERT + f"('long {number}', 'b', 'c', {number})")
        orders.sql(INSERT + "('short', 'b', 'c', 1)")
        orders.sql("UPDATE orders SET item = 'short', created_at = now() WHERE order_id <= 3")
        time.sleep(1)
        for number, connection in reversed(list(enumerate(long))):
            cursor = connection.cursor()
            cursor.execute(
                f"UPDATE orders SET item = 'long {number}' WHERE order_id = {number + 1}"
            )
            connection.commit()
            connection.close()
            orders.sql("UPDATE orders SET amount = amount + 1 WHERE order_id = 1")
            time.sleep(0.5)
        table = orders.table()
        orders.until(lambda now: now == table)
    check_order(orders.records())


def test_writers_at_once_while_the_snapshot_is_taken(orders):
    """Nothing falls between snapshot and stream, nor counts twice: four writers never stop."""
    orders.sql(INSERT + ", ".join(["('x', 'y', 'z', 1)"] * 20_000))
    stop = threading.Event()

    def write(seed):
        draw = random.Random(seed)
        with closing(orders.connect()) as connection, connection.cursor() as cursor:
            connection.autocommit = False
            while not stop.is_set():
                for _ in range(draw.randrange(1, 5)):
                    key = draw.randrange(1, 200)
                    cursor.execute(draw.choice((
                        f"UPDATE orders SET amount = amount + 1 WHERE order_id = {key}",
                        f"DELETE FROM orders WHERE order_id = {key}",
                        f"INSERT INTO orders (order_id, amount) VALUES ({key}, 0) "
                        "ON CONFLICT (order_id) DO UPDATE SET amount = -1",
                    )))  # fmt: skip
                    if draw.random() < 0.1:
                        time.sleep(draw.random() / 10)
                try:
                    draw.choice((connection.commit, connection.commit, connection.rollback))()
                except psycopg.Error:
                    connection.rollback()

    def patiently(seed):
        while not stop.is_set():
            try:
                write(seed)
            except psycopg.errors.DeadlockDetected:
                continue

    writers = [threading.Thread(target=patiently, args=(seed,)) for seed in range(4)]
    for writer in writers:
        writer.start()
    try:
        with orders.following():
            orders.until(lambda now: len(now) > 19_000)
            time.sleep(3)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    orders.capture()
    records = orders.records()
    assert current(records) == orders.table()
    check_order(records)
    found = sequences(records)
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("mode", "rows"),
    [("slot", IN_FLIGHT + 10_000), *long(("slot", 100_000), ("poll", 100_000))],
)
def test_more_rows_in_one_transaction_than_are_in_flight(orders, mode, rows):
    orders.capture(mode)
    orders.sql("INSERT INTO orders (customer_name, item, amount) "
               f"SELECT 'c' || i, 'dish', i / 100.0 FROM generate_series(1, {rows}) i")  # fmt: skip
    started = time.monotonic()
    summary = orders.capture(mode)
    print(f"{mode}: {summary.sent / (time.monotonic() - started):,.0f} changes a second")
    assert summary.counts == {"c" if mode == "slot" else "r": rows}
    records = orders.records()
    assert current(records) == orders.table()
    assert len(set(sequences(records))) == rows + 10


def test_slot_and_poll_tell_the_same_table(orders, tmp_path):
    other = Orders(f"{orders.name}_poll", orders.url, orders.kafka, tmp_path / "other")
    postgres, table = orders.settings().postgres, "orders"
    orders.capture("slot")
    other.capture("poll")
    for seed in range(3):
        load(postgres, table, count=300, updates=200, deletes=0, bad=20, seed=seed,
             now=datetime.now(UTC))  # fmt: skip
        orders.capture("slot")
        other.capture("poll")
        assert current(orders.records()) == current(other.records()) == orders.table()
    load(postgres, table, count=0, updates=0, deletes=40, bad=0, seed=9, now=datetime.now(UTC))
    other.capture("poll")
    assert len(current(other.records())) == len(orders.table()) + 40  # poll sees no deletes
    other.capture("poll", anew=True)
    orders.capture("slot")
    assert current(other.records()) == current(orders.records()) == orders.table()
