"""A question that is ended, and the one after it, which the same engine answers."""

import threading
import time

import duckdb
import pyarrow as pa
import pytest

from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.session import Cancelled, Session
from lakehouse.storage.duck import connect
from tests.conftest import load_settings

ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"
A_MOMENT = "SELECT sum(range * 7 % 11) AS n FROM range(40000000)"
"""Longer than it takes to interrupt again."""


def test_the_next_question_is_not_ended_with_the_one_before(tmp_path):
    with Session(Catalogue(str(tmp_path)), load_settings().explorer, {}) as session:

        def end():
            while session._running is None:
                time.sleep(0.01)
            time.sleep(0.1)
            session.cancel()

        threading.Thread(target=end).start()
        with pytest.raises(Cancelled):
            session.ask(ENDLESS)
        assert session.ask(A_MOMENT).rows.num_rows == 1


def test_ctrl_c_while_a_thread_asks_is_told_as_that_and_ends_the_question(settings):
    """DuckDB refuses to close a connection that is asked: its words came in Ctrl-C's place."""
    asked, ended = threading.Event(), threading.Event()

    def rows():
        while not ended.wait(0.01):
            asked.set()
            yield pa.record_batch({"n": [1]})

    def ask(connection):
        with pytest.raises(duckdb.InterruptException):
            connection.execute("SELECT count(*) FROM endless").fetchall()
        ended.set()

    def interrupted():
        with connect(settings) as connection:
            schema = pa.schema({"n": pa.int64()})
            connection.register("endless", pa.RecordBatchReader.from_batches(schema, rows()))
            threading.Thread(target=ask, args=[connection], daemon=True).start()
            assert asked.wait(60)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ended.wait(60)
