"""Compacted files are written while the table is: a commit holds what the table has by then."""

import math
import time
from pathlib import Path
from threading import Event, Timer

import pytest

from lakehouse.storage import upkeep
from tests.unit.test_maintenance import add, held, make

__all__ = ["make"]


@pytest.fixture
def beside(make, monkeypatch):
    """A table with four files, and its upkeep, which compacts when the event that comes is set."""
    table, go_on, write = make(maintenance={"compact_after_commits": 4}), Event(), upkeep._written

    def waits(*given, **more):
        assert go_on.wait(200)
        return write(*given, **more)

    monkeypatch.setattr(upkeep, "_written", waits)
    made = upkeep.Upkeep(table, beside=True)
    made._vacuumed_at = time.monotonic()
    add(table, 1, 2, 3, 4)
    made.run()
    yield table, made, go_on
    go_on.set()


def test_a_table_is_written_on_while_it_is_compacted(beside):
    table, made, go_on = beside
    add(table, 5)
    made.run()
    assert len(table.files()) == 5
    go_on.set()
    made.finish()
    assert len(table.files()) == 2
    assert held(table) == [1, 2, 3, 4, 5]
    newest = table.dt.history(1)[0]
    assert (newest["operation"], newest["userMetadata"]) == ("OPTIMIZE", '{"flow": "5"}')


def test_rows_that_were_deleted_while_they_were_compacted_do_not_come_back(beside):
    table, made, go_on = beside
    table.delete("n = 2", {})
    files = {*Path(table.uri).glob("*.parquet")}
    go_on.set()
    made.finish()
    assert held(table) == [1, 3, 4]
    assert {*Path(table.uri).glob("*.parquet")} == files


def test_vacuum_waits_for_files_that_are_not_yet_committed(beside):
    table, made, go_on = beside
    made._vacuumed_at = -math.inf
    Timer(0.5, go_on.set).start()
    made.run()
    assert len(table.files()) == 1
    assert held(table) == [1, 2, 3, 4]
