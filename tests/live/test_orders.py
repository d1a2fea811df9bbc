"""Orders from Postgres to silver on real parts: the demo, and flows killed under load."""

import itertools
import json
import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from lakehouse.audit.pins import Snapshots, engine
from lakehouse.core.failpoint import VARIABLE
from producers.orders import load as orders_load
from tests.conftest import long
from tests.live.conftest import LAKEHOUSE, rows, verb
from tests.live.orders_table import COLUMNS, ROOT

pytestmark = pytest.mark.live
FLOWS = ("orders.bronze", "orders.silver", "orders.parquet")


@contextmanager
def process(words, environment):
    """A process that is ended with the test, however that goes."""
    with subprocess.Popen(
        words, cwd=ROOT, env={**os.environ, **environment}, stderr=subprocess.DEVNULL
    ) as running:
        try:
            yield running
        finally:
            running.send_signal(signal.SIGTERM)
            try:
                running.wait(200)
            except subprocess.TimeoutExpired:
                running.kill()


def load(orders, seed, bad=0):
    """``lakehouse orders insert`` without its process."""
    orders_load.load(
        orders.settings().postgres, "orders", count=300, updates=150, deletes=20, bad=bad,
        seed=seed, now=datetime.now(UTC),
    )  # fmt: skip


def loaded_until_killed(orders, flows, armed, seeds):
    """Changes once a second, as a flow may take any number of them in one step."""
    with process(flows, armed) as doomed:
        ends = time.monotonic() + 240
        while doomed.poll() is None and time.monotonic() < ends:
            load(orders, next(seeds), bad=5)
            time.sleep(1)
        assert doomed.wait(200) == -signal.SIGKILL


def verified(orders, code=0):
    """The checks of ``orders verify`` by name."""
    done = verb("orders", "verify", "--json", check=False, **orders.environment)
    assert done.returncode == code, done.stdout + done.stderr[-2000:]
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def is_wrong(row):
    """Whether one of the loader's ways to break the contract is in a row of the table."""
    told = dict(zip(COLUMNS, row, strict=True))
    return any(
        told[name] == (None if value is None else str(value))
        for wrong in orders_load.WRONG for name, value in wrong.items()
    )  # fmt: skip


def silver(orders, sql):
    """A SELECT's rows over ``orders_current``, read in this process."""
    with engine(orders.settings()) as connection:
        Snapshots(str(orders.root), connection).pin("now", "silver.orders_current")
        return connection.execute(sql).fetchall()


def test_the_demo_of_orders_proves_itself(demonstrate, tmp_path):
    root = tmp_path / "lake"
    done = demonstrate("orders", "--root", root, LAKEHOUSE_ORDERS_TOPIC="demo-orders")
    assert "the lake equals the table" in done.stdout
    assert re.search(r"^PROVEN: (\d+) of \1 records, content of all$", done.stdout, re.MULTILINE)
    assert "NOT PROVEN" not in done.stdout
    assert "Traceback" not in done.stderr
    counted = "SELECT count(*) AS n, count(DISTINCT order_id) AS ids FROM silver.orders_current"
    assert rows(root, counted) == [{"n": 20, "ids": 20}]
    assert len(list(root.glob("lake/orders/date=*/v*.parquet"))) >= 2


# a crash between silver's tables is also tests/unit/test_orders.py's
@pytest.mark.parametrize(
    "steps", [["parquet-written:2"], *long(["finer-committed:3", "parquet-written:2"])], ids=len
)
def test_flows_killed_under_load_give_the_table(orders, land, steps):
    flows = [*LAKEHOUSE, "run", *FLOWS, "--root", str(orders.root)]
    with process([*LAKEHOUSE, "capture", "orders"], orders.environment):
        orders.until(lambda now: len(now) == 10)
        seeds = itertools.count()
        for step in steps:
            loaded_until_killed(orders, flows, {**orders.environment, VARIABLE: step}, seeds)
        load(orders, next(seeds))
        expected = orders.table()
        orders.until(lambda now: now.keys() == expected.keys())
        time.sleep(2)
    orders.capture()
    land(FLOWS, orders.environment, orders.root)
    checks = verified(orders)
    bad = {int(id_) for id_, row in expected.items() if is_wrong(row)}
    assert {row["order_id"] for row in checks["quarantined"]["first"]} <= bad
    held = {
        str(id_): (name, kitchen, item, Decimal(amount), status)
        for id_, name, kitchen, item, amount, status in silver(
            orders, "SELECT order_id, customer_name, restaurant_name, item, amount, order_status "
            "FROM now",
        )
    }  # fmt: skip
    wanted = {
        id_: (*row[1:4], Decimal(row[4]), row[5])
        for id_, row in expected.items()
        if int(id_) not in bad
    }
    assert {id_: row for id_, row in held.items() if int(id_) not in bad} == wanted
    assert len(wanted) > 300
    verb("audit", "orders", "--root", orders.root, **orders.environment)


def test_verify_finds_what_is_not_there(orders, land):
    orders.capture()
    assert not verified(orders, code=1)["bronze"]["ok"]
    land(FLOWS, orders.environment, orders.root)
    assert all(check["ok"] for check in verified(orders).values())
    orders.sql("UPDATE orders SET amount = 1 WHERE order_id = 3")
    found = verified(orders, code=1)
    assert [row["order_id"] for row in found["silver"]["first"]] == [3]
    orders.sql("UPDATE orders SET amount = -1 WHERE order_id = 3")
    orders.capture()
    land(FLOWS, orders.environment, orders.root)
    found = verified(orders)
    assert [row["order_id"] for row in found["quarantined"]["first"]] == [3]
    assert "negative" in found["quarantined"]["first"][0]["verdict"]
    file = next(orders.root.glob("lake/orders/date=*/v*.parquet"))
    file.unlink()
    assert not verified(orders, code=1)["parquet"]["ok"]
