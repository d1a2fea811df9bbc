"""Snapshots asked for and left out, other captures of one topic, and what a poll must wait for."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import time
from contextlib import closing

import msgspec
import psycopg
import pytest

from lakehouse.core.errors import Exit, ServiceUnavailable, UsageError
from lakehouse.settings.postgres_client import slot_of
from producers.cdc import plan
from producers.cdc.state import read_state, write_state
from producers.cdc.table import CannotCapture
from tests.live.orders_table import INSERT, MODES, Orders, current, until_said

pytestmark = pytest.mark.live
MANY = "INSERT INTO orders (item, amount) SELECT 'bulk', i FROM generate_series(1, 40000) i"


def state_of(orders):
    return orders.root / "capture" / "orders.json"


# Generations


@MODES
def test_a_new_snapshot_is_above_all_whatever_the_clock_says(orders, mode, monkeypatch):
    orders.capture(mode)
    orders.sql("UPDATE orders SET item = 'newer'")
    monkeypatch.setattr(plan, "now_ms", lambda: 1_000)
    orders.capture(mode, anew=True)
    assert current(orders.records()) == orders.table()
    before = read_state(state_of(orders)).generation
    orders.sql("UPDATE orders SET item = 'newest'")
    orders.capture(mode)
    state_of(orders).unlink()
    orders.capture(mode, anew=True)
    assert read_state(state_of(orders)).generation > before
    assert current(orders.records()) == orders.table()


@MODES
def test_a_state_from_before_a_new_snapshot_is_refused(orders, mode, tmp_path):
    orders.capture(mode)
    shutil.copy(state_of(orders), tmp_path / "old.json")
    orders.capture(mode, anew=True)
    shutil.copy(tmp_path / "old.json", state_of(orders))
    orders.sql("UPDATE orders SET item = 'frozen'")
    with pytest.raises(CannotCapture) as caught:
        orders.capture(mode)
    assert "newer snapshot" in str(caught.value) or "another reader took" in str(caught.value)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@MODES
def test_another_lake_in_the_same_topic_is_noticed(orders, mode, tmp_path):
    """Also while the first one runs."""
    other = Orders(f"{orders.name}_b", orders.url, orders.kafka, tmp_path / "other")
    more = {"LAKEHOUSE_ORDERS_TOPIC": orders.name}
    other_settings = other.settings(**more)
    other.settings = lambda: other_settings
    orders.capture(mode)
    other.capture(mode, snapshot="only")
    orders.sql("UPDATE orders SET item = 'frozen'")
    with pytest.raises(CannotCapture, match="newer snapshot"):
        orders.capture(mode)
    orders.capture(mode, anew=True)
    assert current(orders.records()) == orders.table()
    with pytest.raises(AssertionError, match="newer snapshot"):
        both(orders, other, mode)


def both(orders, other, mode):
    with orders.following(mode) as done:
        orders.until(lambda now: len(now) == 10)
        other.capture(mode, snapshot="only")
        deadline = time.monotonic() + 200
        for number in itertools.count():
            orders.sql(f"UPDATE orders SET amount = {number}")
            time.sleep(0.1)
            if done or time.monotonic() > deadline:
                break


# Snapshots that are not taken, or not finished


@MODES
def test_a_snapshot_that_was_not_finished_is_not_left_out(orders, mode):
    process = orders.start("--available-now", "--mode", mode, LAKEHOUSE_FAILPOINT="change-sent:5")
    process.communicate(timeout=200)
    with pytest.raises(UsageError, match="begun and not finished"):
        orders.capture(mode, snapshot="never")
    assert orders.capture(mode).counts == {"r": 10}


def test_a_new_snapshot_and_none_at_once_is_refused(orders):
    orders.capture()
    with pytest.raises(UsageError, match="and for none"):
        orders.capture(anew=True, snapshot="never")
    assert orders.capture().sent == 0


@pytest.mark.parametrize("words", [("--snapshot", "only"), ("--mode", "poll")])
def test_a_snapshot_that_is_stopped_says_so(orders, words):
    orders.sql(MANY)
    process = orders.start(*words)
    orders.until_sent(100)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=200)
    assert "was stopped after" in said
    assert process.returncode == Exit.INTERRUPTED


# A server that others use too


def test_the_slot_of_another_lake_is_left_alone(orders, tmp_path):
    """Even where this one's state, which may be a stranger's, says that the slot is its own."""
    other = Orders(orders.name, orders.url, orders.kafka, tmp_path / "other")
    orders.capture()
    write_state(state_of(other), msgspec.structs.replace(read_state(state_of(orders)), system="1"))
    other_settings = other.settings(LAKEHOUSE_ORDERS_TOPIC=f"{orders.name}_poll")
    other.settings = lambda: other_settings
    other.capture("poll", anew=True)
    with closing(orders.connect()) as connection:
        assert slot_of(connection, orders.name) is not None
    orders.sql(INSERT + "('a', 'b', 'c', 1)")
    assert orders.capture().counts == {"c": 1}


def impatient(orders):
    settings = orders.settings(LAKEHOUSE_SERVICES_PATIENCE="3 seconds")
    orders.settings = lambda: settings


def test_an_open_transaction_of_any_database_is_named(orders, postgres):
    orders.capture("poll")
    impatient(orders)
    with closing(psycopg.connect(postgres.url)) as old:
        old.execute("SELECT pg_current_xact_id()")
        orders.sql(INSERT + "('waits', 'b', 'c', 1)")
        with pytest.raises(ServiceUnavailable, match=r"process \d+ of .* in database postgres"):
            orders.capture("poll")
        old.rollback()
    assert orders.capture("poll").sent == 1


@MODES
def test_a_locked_table_is_waited_for_in_words_until_ctrl_c(orders, mode):
    orders.capture("poll") if mode == "poll" else None
    with closing(orders.connect()) as holder:
        holder.autocommit = False
        holder.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        process = orders.start("--mode", mode)
        said = until_said(process, "which is locked", str(holder.info.backend_pid))
        process.send_signal(signal.SIGINT)
        said += process.communicate(timeout=200)[1]
        assert process.returncode == Exit.INTERRUPTED, said
        assert "Traceback" not in said


def test_a_table_dropped_while_it_is_polled_is_said_in_words(orders):
    process = orders.start("--mode", "poll")
    orders.until(lambda now: len(now) == 10)
    orders.sql("DROP TABLE orders")
    _, said = process.communicate(timeout=200)
    assert process.returncode == Exit.FAULT, said
    assert "dropped" in said
    assert "Traceback" not in said


def test_the_role_s_statement_time_out_does_not_end_a_capture(orders):
    role = orders.sql("SELECT current_user")[0][0]
    orders.sql(MANY)
    orders.sql(f"ALTER ROLE {role} IN DATABASE {orders.name} SET statement_timeout = '1ms'")
    try:
        assert orders.capture("poll").sent == 40_010
    finally:
        with closing(psycopg.connect(orders.url, options="-c statement_timeout=0")) as admin:
            admin.execute(f"ALTER ROLE {role} IN DATABASE {orders.name} RESET ALL")
            admin.commit()


def test_rows_that_a_policy_hides_are_refused_with_a_right_that_helps(orders):
    role = f"{orders.name}_reader"
    orders.sql(f"CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'x'")
    try:
        orders.sql(f"GRANT ALL ON orders TO {role}; ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
        settings = orders.settings(
            LAKEHOUSE_POSTGRES_URL=orders.url.replace("//postgres@", "//").partition("?")[0],
            LAKEHOUSE_POSTGRES_USER=role, LAKEHOUSE_POSTGRES_PASSWORD="x",
        )  # fmt: skip
        orders.settings = lambda: settings
        with pytest.raises(CannotCapture, match="row-level security") as caught:
            orders.capture("poll")
        assert "BYPASSRLS" in caught.value.remedy
    finally:
        with closing(psycopg.connect(orders.url)) as admin:
            admin.autocommit = True
            admin.execute(f"DROP OWNED BY {role}")
            admin.execute(f"DROP ROLE {role}")


def test_what_is_not_on_the_disk_does_not_count(orders):
    """A commit that is not flushed is waited for: the position is below what a crash can undo."""
    orders.capture("poll")
    with closing(orders.connect()) as writer:
        writer.execute("SET synchronous_commit = off")
        for _ in range(20):
            writer.execute(INSERT + "('async', 'b', 'c', 1)")
            orders.capture("poll")
            flushed = orders.sql("SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn")[0][0]
            state = json.loads(state_of(orders).read_text())
            assert state["lsn"] <= flushed
    assert current(orders.records()) == orders.table()
