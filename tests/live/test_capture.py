"""The capture on real parts: whatever happens to it, the topic folds to what the table holds."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from contextlib import closing
from datetime import UTC, datetime

import psycopg
import pytest
from kafka import KafkaAdminClient

from lakehouse.core.errors import Exit, LakehouseError, ServiceUnavailable, TableLocked, UsageError
from lakehouse.core.failpoint import Step
from lakehouse.doctor.doctor import postgres_checks
from lakehouse.services.postgres import EmbeddedPostgres
from lakehouse.settings.postgres_client import connect, slot_of
from producers.cdc.table import CannotCapture
from producers.orders.load import load
from tests.live.conftest import command
from tests.live.orders_table import ROOT, Orders, check_order, current, sequences

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]
INSERT = "INSERT INTO orders (customer_name, restaurant_name, item, amount) VALUES "
MODES = pytest.mark.parametrize("mode", ["slot", "poll"])
BOTH_IF_LONG = pytest.mark.parametrize(
    "mode", ["slot", pytest.param("poll", marks=pytest.mark.long)]
)


@pytest.fixture
def orders(request, postgres, kafka, tmp_path):
    """Ten seeded orders in a database of the test's own."""
    name = f"o{abs(hash((request.node.name, tmp_path))) % 10**10}"
    url = postgres.url.replace("/postgres?", f"/{name}?")
    made = Orders(name, url, kafka, tmp_path / "lake")
    with closing(psycopg.connect(postgres.url)) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        cursor.execute(f"CREATE DATABASE {name}")
        made.sql((ROOT / "db" / "orders.sql").read_text("utf-8"))
        yield made
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        time.sleep(0.2)
        cursor.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
            "WHERE database = %s", (name,),
        )  # fmt: skip
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


# What is captured


def test_a_snapshot_then_every_kind_of_change(orders):
    assert orders.capture().counts == {"r": 10}
    orders.sql(INSERT + "('a', 'b', 'c', 1), ('d', 'e', 'f', 2)")
    orders.sql("UPDATE orders SET order_status = 'delivered' WHERE order_id = 10")
    orders.sql("DELETE FROM orders WHERE order_id = 1")
    summary = orders.capture()
    assert summary.counts == {"c": 2, "u": 1, "d": 1, "tombstone": 1}
    assert summary.sent == summary.acknowledged == 5
    assert summary.transactions == 3
    records = orders.records()
    assert current(records) == orders.table()
    check_order(records)
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
    records = orders.records()
    assert current(records) == orders.table()
    check_order(records)


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


@BOTH_IF_LONG
def test_a_hundred_thousand_rows_in_one_transaction(orders, mode):
    orders.capture(mode)
    orders.sql("INSERT INTO orders (customer_name, item, amount) "
               "SELECT 'c' || i, 'dish', i / 100.0 FROM generate_series(1, 100000) i")  # fmt: skip
    started = time.monotonic()
    summary = orders.capture(mode)
    print(f"{mode}: {summary.sent / (time.monotonic() - started):,.0f} changes a second")
    assert summary.counts == {"c" if mode == "slot" else "r": 100_000}
    records = orders.records()
    assert current(records) == orders.table()
    assert len(set(sequences(records))) == 100_010


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


# Beginnings, and changes of mind


def test_never_begins_with_what_comes(orders):
    assert orders.capture(snapshot="never").sent == 0
    orders.sql(INSERT + "('a', 'b', 'c', 1)")
    assert orders.capture().counts == {"c": 1}


def test_only_leaves_no_slot_and_no_state(orders):
    assert orders.capture(snapshot="only").counts == {"r": 10}
    with closing(orders.connect()) as connection:
        assert slot_of(connection, orders.name) is None
    assert not (orders.root / "capture" / "orders.json").exists()
    assert orders.capture().counts == {"r": 10}
    with pytest.raises(UsageError, match="follows the table already"):
        orders.capture(snapshot="only")


def test_another_mode_asks_for_a_new_snapshot_by_its_command(orders):
    orders.capture("slot")
    with pytest.raises(UsageError, match="by slot") as caught:
        orders.capture("poll")
    assert "lakehouse capture orders --mode poll --anew" in caught.value.remedy
    orders.sql("DELETE FROM orders WHERE order_id = 2")
    assert orders.capture("poll", anew=True).counts == {"r": 9, "d": 1, "tombstone": 1}
    with closing(orders.connect()) as connection:
        assert slot_of(connection, orders.name) is None
    assert orders.capture("slot", anew=True).counts == {"r": 9}
    assert current(orders.records()) == orders.table()


def test_a_slot_that_is_lost_foreign_or_taken_is_refused(orders, tmp_path):
    other = Orders(orders.name, orders.url, orders.kafka, tmp_path / "other")
    orders.capture()
    with pytest.raises(CannotCapture, match="knows nothing of it"):
        other.capture()
    orders.sql(INSERT + "('a', 'b', 'c', 1)")
    orders.sql("SELECT pg_logical_slot_get_binary_changes(%s, NULL, NULL, 'proto_version', '1', "
               "'publication_names', %s)", orders.name, orders.name)  # fmt: skip
    with pytest.raises(CannotCapture, match="another reader took"):
        orders.capture()
    orders.sql("SELECT pg_drop_replication_slot(%s)", orders.name)
    with pytest.raises(CannotCapture, match="is gone") as caught:
        orders.capture()
    assert "--anew" in caught.value.remedy
    assert orders.capture(anew=True).counts == {"r": 11}
    assert current(orders.records()) == orders.table()


def test_a_topic_made_anew_asks_for_a_new_snapshot(orders):
    orders.capture()
    admin = KafkaAdminClient(bootstrap_servers=orders.kafka)
    admin.delete_topics([orders.name])
    admin.close()
    time.sleep(1)
    with pytest.raises(CannotCapture, match="was made anew") as caught:
        orders.capture()
    assert "--anew" in caught.value.remedy
    assert orders.capture(anew=True).counts == {"r": 10}


def test_two_captures_of_one_lake_are_refused(orders):
    with orders.following():
        orders.until(lambda now: len(now) == 10)
        with pytest.raises(TableLocked, match="capture orders"):
            orders.capture()


def test_poll_without_its_column_prints_the_statements_that_add_it(orders):
    orders.sql("ALTER TABLE orders DROP COLUMN change_xid")
    orders.sql("DROP TRIGGER orders_stamp ON orders")
    with pytest.raises(CannotCapture, match="change_xid") as caught:
        orders.capture("poll")
    orders.sql(caught.value.remedy.partition(":")[2])
    assert orders.capture("poll").counts == {"r": 10}
    orders.sql("UPDATE orders SET item = 'new' WHERE order_id = 4")
    assert orders.capture("poll").counts == {"r": 1}
    assert current(orders.records()) == orders.table()
    orders.sql("ALTER TABLE orders DISABLE TRIGGER orders_stamp")
    with pytest.raises(CannotCapture, match="a trigger keeps"):
        orders.capture("poll")


# A table that changes


@MODES
def test_a_column_that_is_added_passes_through(orders, mode):
    orders.capture(mode)
    orders.sql("ALTER TABLE orders ADD COLUMN tip numeric(6, 2)")
    orders.sql("ALTER TABLE orders ADD COLUMN is_gift boolean DEFAULT true")
    orders.sql("UPDATE orders SET tip = 1.5 WHERE order_id = 4")
    orders.capture(mode)
    told = [v["after"] for k, v, _ in orders.records() if k["order_id"] == 4][-1]
    assert (told["tip"], told["is_gift"]) == ("1.50", True)
    assert current(orders.records()) == orders.table()


@MODES
@pytest.mark.parametrize(
    ("change", "back", "said"),
    [
        ("DROP COLUMN item", "ADD COLUMN item text", "'item' is gone or renamed"),
        ("RENAME COLUMN amount TO price", "RENAME COLUMN price TO amount", "'amount' is gone"),
        ("ALTER COLUMN amount TYPE float8", "ALTER COLUMN amount TYPE numeric",
         "'amount' is now a number with a fraction, not a decimal"),
    ],
)  # fmt: skip
def test_a_change_that_the_contract_cannot_bear_stops_and_loses_nothing(
    orders, mode, change, back, said
):
    orders.capture(mode)
    orders.sql(INSERT + "('before', 'b', 'c', 1)")
    orders.sql(f"ALTER TABLE orders {change}")
    orders.sql("INSERT INTO orders (customer_name) VALUES ('meanwhile')")
    with pytest.raises(CannotCapture, match=said):
        orders.capture(mode)
    with pytest.raises(CannotCapture, match=said):
        orders.capture(mode)
    orders.sql(f"ALTER TABLE orders {back}")
    orders.sql("UPDATE orders SET order_status = 'placed' WHERE order_id = 1")
    if change.startswith("RENAME") and mode == "poll":
        orders.capture(mode)
    else:  # the slot has what was written meanwhile; a poll does not see values change
        if mode == "slot" or change.startswith("DROP"):
            with pytest.raises(CannotCapture):
                orders.capture(mode)
        orders.capture(mode, anew=True)
    assert {row[1] for row in orders.table().values()} >= {"before", "meanwhile"}
    assert current(orders.records()) == orders.table()


def test_what_cannot_be_captured_is_refused_with_its_remedy(orders):
    def refused(*statements, **how):
        with pytest.raises(LakehouseError) as caught:
            orders.capture(**how)
        assert caught.value.remedy
        for statement in statements:
            orders.sql(statement)
        return str(caught.value)

    orders.sql("ALTER TABLE orders REPLICA IDENTITY DEFAULT")
    assert "ALTER TABLE public.orders REPLICA IDENTITY FULL" in refused(
        "ALTER TABLE orders REPLICA IDENTITY FULL",
        "ALTER TABLE orders DROP CONSTRAINT orders_pkey",
    )
    assert "has no primary key" in refused(
        "ALTER TABLE orders ADD CONSTRAINT orders_pkey PRIMARY KEY (order_id) DEFERRABLE"
    )
    assert "is deferrable" in refused(
        "ALTER TABLE orders DROP CONSTRAINT orders_pkey",
        "ALTER TABLE orders ADD PRIMARY KEY (order_id)",
        f"CREATE PUBLICATION {orders.name} FOR TABLE orders WITH (publish = 'insert')",
    )
    assert "does not publish every kind" in refused(
        f"DROP PUBLICATION {orders.name}",
        f"CREATE PUBLICATION {orders.name} FOR TABLE orders WHERE (order_id > 5)",
    )
    assert "filters rows" in refused(f"DROP PUBLICATION {orders.name}")
    assert orders.capture().counts == {"r": 10}
    orders.sql("ALTER TABLE orders RENAME TO old_orders")
    assert "was dropped or renamed" in refused("CREATE TABLE orders (LIKE old_orders)")
    assert "another table took its name" in refused() or "no primary key" in refused()


# Faults


SNAPSHOT_STEPS = ["slot-made", "change-sent:10", "changes-taken", "state-written",
                  pytest.param("change-sent", marks=pytest.mark.long)]  # fmt: skip
POLL_STEPS = ["change-sent:7", "changes-taken", "state-written",
              pytest.param("change-sent", marks=pytest.mark.long)]  # fmt: skip
STEPS = [*POLL_STEPS, Step.SLOT_ADVANCED, pytest.param("change-sent:14", marks=pytest.mark.long)]


def killed(orders, mode, step):
    """A capture that ends itself there."""
    process = orders.start("--available-now", "--mode", mode, LAKEHOUSE_FAILPOINT=step)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, said


def change(orders):
    """Fourteen changes in two transactions."""
    orders.sql(INSERT + "('a', 'b', 'c', 1)")
    orders.sql(
        "BEGIN; UPDATE orders SET item = 'new'; DELETE FROM orders WHERE order_id < 3; COMMIT"
    )


@pytest.mark.parametrize("step", SNAPSHOT_STEPS)
@MODES
def test_killed_in_the_snapshot(orders, mode, step):
    if (mode, step) == ("poll", "slot-made"):
        pytest.skip("there is no slot")
    killed(orders, mode, step)
    change(orders)
    orders.capture(mode)
    records = orders.records()
    if mode == "slot" or step != "state-written":  # after that, poll sees no deletes
        assert current(records) == orders.table()
    check_order(records)


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_it_follows(orders, step):
    orders.capture()
    change(orders)
    killed(orders, "slot", step)
    change(orders)
    orders.capture()
    records = orders.records()
    assert current(records) == orders.table()
    check_order(records)
    assert orders.capture().sent == 0


@pytest.mark.parametrize("step", POLL_STEPS)
def test_killed_while_it_polls(orders, step):
    orders.capture("poll")
    orders.sql("UPDATE orders SET item = 'new'")
    killed(orders, "poll", step)
    orders.sql("UPDATE orders SET item = 'newer' WHERE order_id > 5")
    orders.capture("poll")
    records = orders.records()
    assert current(records) == orders.table()
    check_order(records)
    assert orders.capture("poll").sent == 0


@BOTH_IF_LONG
def test_killed_at_random_while_writers_write(orders, mode):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    draw, postgres = random.Random(seed), orders.settings().postgres
    for number in range(4):
        process = orders.start("--mode", mode)
        try:
            load(postgres, "orders", count=draw.randrange(1, 900), updates=300,
                 deletes=30 if mode == "slot" else 0, bad=0, seed=seed + number,
                 now=datetime.now(UTC))  # fmt: skip
            time.sleep(draw.uniform(0, 1.5))
        finally:
            process.kill()
            process.wait()
    orders.capture(mode)
    records = orders.records()
    assert current(records) == orders.table()
    check_order(records)


def test_ctrl_c_drains_and_says_what_was_done(orders):
    process = orders.start("--json")
    orders.until(lambda now: len(now) == 10)
    orders.sql(INSERT + "('a', 'b', 'c', 1)")
    orders.until(lambda now: len(now) == 11)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=30)
    assert process.returncode == Exit.INTERRUPTED, said
    summary = json.loads(out)
    assert summary["sent"] == summary["acknowledged"] == 11
    assert summary["by_op"] == {"c": 1, "r": 10}
    assert summary["wal_held"] is not None
    assert orders.capture().sent == 0


def test_ctrl_c_while_the_slot_waits_for_an_old_transaction(orders):
    with closing(orders.connect()) as old:
        old.autocommit = False
        old.cursor().execute(INSERT + "('a', 'b', 'c', 1)")
        process = orders.start()
        time.sleep(6)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode == Exit.INTERRUPTED, said
        assert "waiting for transactions that are open" in said
        old.commit()
    assert orders.capture().counts == {"r": 11}


def test_no_database_is_said_at_once(orders):
    started = time.monotonic()
    broken = Orders(orders.name, "postgresql://u@127.0.0.1:9/x", orders.kafka, orders.root)
    with pytest.raises(ServiceUnavailable, match="Connection refused"):
        broken.capture()
    assert time.monotonic() - started < 5
    wrong = orders.settings(LAKEHOUSE_POSTGRES_PASSWORD="c4n4ry")
    with pytest.raises(ServiceUnavailable, match="password") as caught:
        connect(wrong.postgres)
    assert "c4n4ry" not in str(caught.value) + repr(wrong)
    assert "LAKEHOUSE_POSTGRES_PASSWORD" in caught.value.remedy


def test_a_slot_left_behind_is_seen(orders, capfd):
    orders.capture()
    orders.sql("UPDATE orders SET item = repeat(md5(random()::text), 10000)")
    orders.sql("SELECT pg_switch_wal()")
    orders.sql(INSERT + "('a', 'b', 'c', 1)")
    small = orders.settings(LAKEHOUSE_POSTGRES_WAL_LIMIT_MB="1")
    found = {check.name: check for check in postgres_checks(small)}[f"slot {orders.name}"]
    assert found.state == "fail"
    assert "lakehouse capture orders" in found.fix
    assert "pg_drop_replication_slot" in found.fix
    large = {check.name: check for check in postgres_checks(orders.settings())}
    assert large[f"slot {orders.name}"].state == "pass"
    assert orders.capture().wal_held > 2**20
    deadline = time.monotonic() + 60
    while found.state != "pass":  # Postgres lets go of it at a checkpoint that the slot has read
        assert time.monotonic() < deadline, found
        orders.sql("CHECKPOINT")
        orders.sql("UPDATE orders SET item = 'short' WHERE order_id = 1")
        orders.capture()
        found = {check.name: check for check in postgres_checks(small)}[f"slot {orders.name}"]


# The verbs


def test_the_verbs_start_what_they_need_and_end_it(tmp_path):
    root = tmp_path / "lake"
    words = ["--count", 5, "--bad", 1, "--seed", 7, "--json", "--root", root]
    done = json.loads(command("orders", "insert", *words).stdout)
    assert done == {"inserted": 5, "updated": 0, "deleted": 0, "bad": 1, "seed": 7}
    first = command("capture", "orders", "--available-now", "--json", "--root", root)
    assert json.loads(first.stdout)["by_op"] == {"r": 15}
    more = ["--count", 5, "--updates", 3, "--deletes", 2, "--root", root]
    assert "5 inserted, 3 updated, 2 deleted" in command("orders", "insert", *more).stderr
    second = command("capture", "orders", "--available-now", "--json", "--root", root)
    assert json.loads(second.stdout)["by_op"] == {"c": 5, "d": 2, "tombstone": 2, "u": 3}
    assert EmbeddedPostgres.running(root) is None
    wrong = command("capture", "sales", "--root", root, check=False)
    assert wrong.returncode == Exit.USAGE
    assert "is not captured from a table" in wrong.stderr
    assert command("orders", "insert", "--count", 1, "--bad", 2, "--root", root,
                   check=False).returncode == Exit.USAGE  # fmt: skip


def test_the_same_seed_makes_the_same_orders(orders):
    postgres, now = orders.settings().postgres, datetime(2026, 11, 20, tzinfo=UTC)
    for _ in range(2):
        load(postgres, "orders", count=50, updates=0, deletes=0, bad=9, seed=5, now=now)
    rows = [row[1:] for key, row in sorted(orders.table().items(), key=lambda r: int(r[0]))][10:]
    assert rows[:50] == rows[50:]
    assert len(set(rows)) == 50
