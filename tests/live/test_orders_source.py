"""`audit orders --source`: the proof reaches the database, and names the keys that differ."""

import json
import threading
import time
from contextlib import closing

import pytest
from deltalake import DeltaTable

from lakehouse.core.errors import Exit
from lakehouse.core.paths import Lake
from tests.live.conftest import LAKEHOUSE, verb
from tests.live.orders_table import INSERT
from tests.live.test_orders import FLOWS, load, process, verified

pytestmark = pytest.mark.live


def audited(orders, *words):
    """Exit code and proof of an audit with its source."""
    done = verb("audit", "orders", "--source", "--json", *words, check=False,
                **orders.environment)  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)["orders"]


def source_of(proof):
    return next(check for check in proof["checks"] if check["name"] == "source")


def test_a_cell_changed_on_either_side_of_kafka_is_named(orders, land):
    """What differs because it is on its way, or is a bad row that still holds, is no fault."""
    load(orders, 1)
    orders.capture()
    orders.sql("UPDATE orders SET amount = -5 WHERE order_id = 20")
    orders.sql("INSERT INTO orders (order_id, item, amount) VALUES (-9223372036854775808, 'x', 1)")
    orders.capture()
    land(FLOWS, orders.environment, orders.root)
    code, proof = audited(orders)
    assert code == 0, proof["faults"] + proof["doubts"]
    found = source_of(proof)
    assert found["counts"]["rows of the table in Postgres"] == len(orders.table())
    told = {row["order_id"]: row["verdict"] for row in found["first"]}
    assert "negative" in told[20]

    orders.sql("UPDATE orders SET amount = 77.7 WHERE order_id = 21")
    code, proof = audited(orders)
    assert code == 3
    assert "order_id 21;" in proof["doubts"][0]
    orders.sql("DELETE FROM orders WHERE order_id = 20")  # nothing excuses it now
    assert {row["order_id"] for row in source_of(audited(orders)[1])["first"]} >= {20, 21}
    orders.capture()
    land(FLOWS, orders.environment, orders.root)
    assert audited(orders)[0] == 0

    bronze = DeltaTable(Lake(str(orders.root)).table("bronze.orders"))
    bronze.update(updates={"amount": "amount + 1"}, predicate="order_id = 21 AND op = 'u'")
    code, proof = audited(orders)
    assert code == 1
    assert any("order_id 21" in fault for fault in proof["faults"]), proof["faults"]
    assert "78.7" in source_of(proof)["first"][0]["how"]
    assert not verified(orders, code=1)["silver"]["ok"]


def test_a_source_that_is_written_to_is_proven_meanwhile(orders):
    stop = threading.Event()

    def write():
        with closing(orders.connect()) as connection:
            while not stop.is_set():
                connection.execute("UPDATE orders SET amount = amount + 1 WHERE order_id < 4")
                connection.execute(INSERT + "('a', 'b', 'c', 1)")
                stop.wait(0.05)

    writer = threading.Thread(target=write)
    flows = [*LAKEHOUSE, "run", *FLOWS, "--root", str(orders.root)]
    with orders.following(), process(flows, orders.environment):
        orders.until(lambda now: len(now) == 10)
        writer.start()
        try:
            deadline = time.monotonic() + 240
            while not (orders.root / "lake" / "orders").exists():
                assert time.monotonic() < deadline
                time.sleep(0.5)
            code, proof = audited(orders)
            while code == Exit.NO_TABLE and time.monotonic() < deadline:  # changes are on the way
                code, proof = audited(orders)
        finally:
            stop.set()
            writer.join()
    assert code == 0, proof["faults"] + proof["doubts"]
    assert source_of(proof)["counts"]["rows of the table in Postgres"] > 10


def test_what_has_no_source_says_so(tmp_path):
    done = verb("audit", "sales", "--source", "--root", tmp_path, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
