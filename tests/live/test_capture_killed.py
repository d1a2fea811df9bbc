"""The capture killed at any step, stopped, or without its database: nothing is lost."""

from __future__ import annotations

import json
import random
import signal
import time
from contextlib import closing
from datetime import UTC, datetime

import pytest

from lakehouse.core.errors import Exit, ServiceUnavailable
from lakehouse.products.orders.checks import checks
from lakehouse.services.home import home_of
from lakehouse.services.postgres import EmbeddedPostgres
from lakehouse.settings.postgres_client import connect
from producers.cdc.steps import Step
from producers.orders.load import load
from tests.live.conftest import verb
from tests.live.orders_table import (
    BOTH_IF_LONG,
    INSERT,
    MODES,
    Orders,
    check_order,
    current,
    until_said,
)

pytestmark = pytest.mark.live


# Faults


SNAPSHOT_STEPS = ["slot-made", "change-sent:10", "changes-taken", "state-written",
                  pytest.param("change-sent", marks=pytest.mark.long)]  # fmt: skip
POLL_STEPS = ["change-sent:7", "changes-taken", "state-written",
              pytest.param("change-sent", marks=pytest.mark.long)]  # fmt: skip
STEPS = [*POLL_STEPS, Step.SLOT_ADVANCED, pytest.param("change-sent:14", marks=pytest.mark.long)]


def killed(orders, mode, step):
    """A capture that ends itself there."""
    process = orders.start("--available-now", "--mode", mode, LAKEHOUSE_FAILPOINT=step)
    _, said = process.communicate(timeout=200)
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
    orders.assert_captured()
    assert orders.capture().sent == 0


@pytest.mark.parametrize("step", POLL_STEPS)
def test_killed_while_it_polls(orders, step):
    orders.capture("poll")
    orders.sql("UPDATE orders SET item = 'new'")
    killed(orders, "poll", step)
    orders.sql("UPDATE orders SET item = 'newer' WHERE order_id > 5")
    orders.capture("poll")
    orders.assert_captured()
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
    orders.assert_captured()


def test_ctrl_c_drains_and_says_what_was_done(orders):
    process = orders.start("--json")
    orders.until(lambda now: len(now) == 10)
    orders.sql(INSERT + "('a', 'b', 'c', 1)")
    orders.until(lambda now: len(now) == 11)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=200)
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
        said = until_said(process, "waiting for transactions that are open")
        process.send_signal(signal.SIGINT)
        said += process.communicate(timeout=200)[1]
        assert process.returncode == Exit.INTERRUPTED, said
        old.commit()
    assert orders.capture().counts == {"r": 11}


def test_no_database_is_waited_for_and_a_wrong_password_is_said_at_once(orders):
    started = time.monotonic()
    broken = Orders(orders.name, "postgresql://u@127.0.0.1:9/x", orders.kafka, orders.root)
    short = broken.settings(LAKEHOUSE_SERVICES_PATIENCE="2 seconds")
    broken.settings = lambda: short
    with pytest.raises(ServiceUnavailable, match="Connection refused"):
        broken.capture()
    assert 1.5 < time.monotonic() - started < 100, "two minutes are what is set elsewhere"
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
    found = {check.name: check for check in checks(small)}[f"slot {orders.name}"]
    assert found.state == "fail"
    assert "lakehouse capture orders" in found.fix
    assert "pg_drop_replication_slot" in found.fix
    large = {check.name: check for check in checks(orders.settings())}
    assert large[f"slot {orders.name}"].state == "pass"
    assert orders.capture().wal_held > 2**20
    deadline = time.monotonic() + 200
    while found.state != "pass":  # Postgres lets go of it at a checkpoint that the slot has read
        assert time.monotonic() < deadline, found
        orders.sql("CHECKPOINT")
        orders.sql("UPDATE orders SET item = 'short' WHERE order_id = 1")
        orders.capture()
        found = {check.name: check for check in checks(small)}[f"slot {orders.name}"]


# The verbs


def test_the_verbs_start_what_they_need_and_end_it(tmp_path):
    root = tmp_path / "lake"
    words = ["--count", 5, "--bad", 1, "--seed", 7, "--json", "--root", root]
    done = json.loads(verb("orders", "insert", *words).stdout)
    assert done == {"inserted": 5, "updated": 0, "deleted": 0, "bad": 1, "seed": 7}
    first = verb("capture", "orders", "--available-now", "--json", "--root", root)
    assert json.loads(first.stdout)["by_op"] == {"r": 15}
    more = ["--count", 5, "--updates", 3, "--deletes", 2, "--root", root]
    assert "5 inserted, 3 updated, 2 deleted" in verb("orders", "insert", *more).stderr
    second = verb("capture", "orders", "--available-now", "--json", "--root", root)
    assert json.loads(second.stdout)["by_op"] == {"c": 5, "d": 2, "tombstone": 2, "u": 3}
    assert EmbeddedPostgres.running(home_of(root)) is None
    assert not (root / "postgres").exists()
    wrong = verb("capture", "sales", "--root", root, check=False)
    assert wrong.returncode == Exit.USAGE
    assert "is not captured from a table" in wrong.stderr
    assert verb("orders", "insert", "--count", 1, "--bad", 2, "--root", root,
                check=False).returncode == Exit.USAGE  # fmt: skip


def test_the_same_seed_makes_the_same_orders(orders):
    postgres, now = orders.settings().postgres, datetime(2026, 11, 20, tzinfo=UTC)
    for _ in range(2):
        load(postgres, "orders", count=50, updates=0, deletes=0, bad=9, seed=5, now=now)
    rows = [row[1:] for key, row in sorted(orders.table().items(), key=lambda r: int(r[0]))][10:]
    assert rows[:50] == rows[50:]
    assert len(set(rows)) == 50
