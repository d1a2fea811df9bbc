"""The capture while database and broker are restarted and killed, and over random histories."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing, suppress
from datetime import UTC, datetime

import psutil
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakehouse.core.errors import Exit
from lakehouse.services.jars import default_cache, kafka_jars
from lakehouse.services.java import find_java
from lakehouse.services.kafka import EmbeddedKafka
from lakehouse.services.postgres import EmbeddedPostgres
from producers.orders.load import load
from tests.live.conftest import open_folder
from tests.live.orders_table import BOTH_IF_LONG, ROOT, Orders, check_order, current

pytestmark = pytest.mark.live
BULK = "INSERT INTO orders (item, amount) SELECT 'bulk', i FROM generate_series(1, 8000) i"


@pytest.fixture
def tmp_path():
    with open_folder() as folder:
        yield folder


def start_broker(folder):
    cache = default_cache()
    java = find_java(cache)
    return EmbeddedKafka.start(folder, java=java, jars=kafka_jars(cache, java, print))


def made(name, url, kafka, root):
    orders = Orders(name, url, kafka, root)
    orders.sql((ROOT / "db" / "orders.sql").read_text("utf-8"))
    return orders


@BOTH_IF_LONG
def test_the_database_is_restarted_and_killed(kafka, tmp_path, mode):
    """A writer writes on through three ends of the server; the capture comes back by itself."""
    server = EmbeddedPostgres.start(tmp_path)
    orders = made(f"ended{os.getpid()}{mode}", server.url, kafka, tmp_path / "lake")
    stop, written = threading.Event(), []

    def write():
        for seed in range(10**6):
            with suppress(Exception):
                load(orders.settings().postgres, "orders", count=100, updates=50,
                     deletes=10 if mode == "slot" else 0, bad=5, seed=seed,
                     now=datetime.now(UTC))  # fmt: skip
                written.append(seed)
            if stop.wait(0.05):
                return

    def more():
        """Wait until the writer has done one more load: on a busy machine it takes its time."""
        before, deadline = len(written), time.monotonic() + 200
        while len(written) == before:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    writer = threading.Thread(target=write)
    try:
        with orders.following(mode) as done:
            writer.start()
            for end in (signal.SIGINT, signal.SIGKILL, signal.SIGQUIT):
                more()
                time.sleep(1)
                os.kill(server.pid, end)
                server._process.wait()
                time.sleep(1)
                server = EmbeddedPostgres.start(tmp_path)
            more()
            stop.set()
            writer.join()
            table = orders.table()
            orders.until(lambda now: now == table)
        assert done[0].reconnects >= 3
        check_order(orders.records())
        assert len(table) > 300
    finally:
        stop.set()
        server.stop()


def test_the_broker_is_killed_and_comes_back(postgres, tmp_path):
    broker = start_broker(tmp_path)
    name = f"broker{os.getpid()}"
    with closing(psycopg.connect(postgres.url)) as admin:
        admin.autocommit = True
        admin.cursor().execute(f"CREATE DATABASE {name}")
    url = postgres.url.replace("/postgres?", f"/{name}?")
    orders = made(name, url, broker.bootstrap_servers, tmp_path / "lake")
    try:
        with orders.following():
            orders.until(lambda now: len(now) == 10)
            orders.sql(BULK)
            time.sleep(0.3)
            psutil.Process(broker.pid).kill()
            orders.sql(BULK)
            time.sleep(3)
            broker.stop()
            broker = start_broker(tmp_path)
            orders.sql("DELETE FROM orders WHERE order_id % 3 = 0")
            table = orders.table()
            orders.until(lambda now: now == table)
        check_order(orders.records())

        process = orders.start(
            LAKEHOUSE_SERVICES_PATIENCE="8 seconds", LAKEHOUSE_KAFKA_REQUEST_TIMEOUT="8 seconds"
        )
        orders.sql("DELETE FROM orders WHERE order_id % 5 = 0")
        table = orders.table()
        orders.until(lambda now: now == table)  # it is at work
        psutil.Process(broker.pid).kill()
        orders.sql(BULK)
        _, said = process.communicate(timeout=200)
        assert process.returncode == Exit.UNAVAILABLE, said
        assert "nothing acknowledged in" in said
        assert "Traceback" not in said
        broker.stop()
        broker = start_broker(tmp_path)
        orders.capture()
        orders.assert_captured()
    finally:
        broker.stop()
        orders.sql("SELECT pg_drop_replication_slot(%s)", name)


KEYS = st.integers(1, 6)
STATEMENT = st.one_of(
    st.builds("INSERT INTO orders (order_id, item) VALUES ({}, 'i{}')".format, KEYS, KEYS),
    st.builds("UPDATE orders SET item = 'u{1}' WHERE order_id = {0}".format, KEYS, KEYS),
    st.builds("UPDATE orders SET order_id = {1} WHERE order_id = {0}".format, KEYS, KEYS),
    st.builds("DELETE FROM orders WHERE order_id = {}".format, KEYS),
    st.just("TRUNCATE orders"),
)
STEP = st.one_of(
    st.tuples(st.just("commit"), st.lists(STATEMENT, min_size=1, max_size=4)),
    st.tuples(st.just("commit"), st.lists(STATEMENT, min_size=1, max_size=4)),
    st.tuples(st.just("roll back"), st.lists(STATEMENT, min_size=1, max_size=4)),
    st.tuples(st.just("keep open"), st.builds(
        "INSERT INTO orders (order_id, item) VALUES ({}, 'late')".format, st.integers(7, 99))),
    st.tuples(st.just("close"), st.none()),
    st.tuples(st.just("capture"), st.none()),
    st.tuples(st.just("kill"), st.sampled_from(
        ["change-sent", "change-sent:3", "changes-taken", "state-written", "slot-advanced"])),
)  # fmt: skip


@pytest.fixture(scope="module")
def history(postgres, kafka, tmp_path_factory):
    """A table whose history goes on from example to example."""
    name = f"history{os.getpid()}"
    with closing(psycopg.connect(postgres.url)) as admin:
        admin.autocommit = True
        admin.cursor().execute(f"CREATE DATABASE {name}")
    url = postgres.url.replace("/postgres?", f"/{name}?")
    orders = made(name, url, kafka, tmp_path_factory.mktemp("history"))
    orders.capture()
    yield orders
    orders.sql("SELECT pg_drop_replication_slot(%s)", name)


HISTORIES = st.lists(STEP, min_size=3, max_size=12)
FEW = settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))


@FEW
@given(steps=HISTORIES)
def test_random_histories_and_crashes(history, steps):
    lived_through(history, steps)


@pytest.mark.long
@settings(FEW, max_examples=50)
@given(steps=HISTORIES)
def test_many_random_histories_and_crashes(history, steps):
    lived_through(history, steps)


def lived_through(history, steps):
    """The steps in their order; then the topic folds to what the table has."""
    late = None
    for what, how in steps:
        match what:
            case "commit" | "roll back":
                with closing(history.connect()) as connection, connection.cursor() as cursor:
                    connection.autocommit = False
                    cursor.execute("SET lock_timeout = '200ms'")
                    with suppress(psycopg.Error):  # a key that is there already
                        for statement in how:
                            cursor.execute(statement)
                        if what == "commit":
                            connection.commit()
            case "keep open" if late is None:
                late = history.connect()
                late.autocommit = False
                with suppress(psycopg.errors.UniqueViolation):
                    late.cursor().execute(how)
            case "close" if late is not None:
                late.commit()
                late.close()
                late = None
            case "capture":
                history.capture()
            case "kill":
                history.start("--available-now", LAKEHOUSE_FAILPOINT=how).communicate(timeout=200)
    if late is not None:
        late.commit()
        late.close()
    history.capture()
    records = history.records()
    assert current(records) == history.table()
    check_order(records)
