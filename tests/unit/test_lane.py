"""Large tables are published beside the folds: small ones do not wait, and nothing is lost."""

from threading import Event

import pyarrow as pa
import pytest

from lakehouse.core.errors import LakehouseError
from lakehouse.silver.fold import PLACE
from lakehouse.silver.journal import Pending, _written, rows_of
from lakehouse.silver.turns import Turns
from lakehouse.storage.buckets import Buckets, Written
from tests.conftest import encode
from tests.support.lake import Lake, assert_silver_is_a_function_of_bronze
from tests.support.money import assert_audited, assert_whole
from tests.unit.test_fold_failed import block
from tests.unit.test_silver_state import events


@pytest.fixture
def lake(settings):
    """A lake whose by_client is a large table."""
    lake = Lake(settings)
    take(lake, 0)
    lake.silver.persist()
    large(lake)
    return lake


def large(lake):
    """The last turn of by_client wrote much: it is large from here on."""
    lake.silver._publishing.turns.took("by_client", 0.0, Written(rows=5_000), 8)
    lake.silver._publishing.turns._is_old = lambda pending: True


def take(lake, first):
    landed = lake.land(encode(*events(first)), first)
    lake.silver.take(landed.version - 1, landed.version, landed.rows)


def held(lake, name):
    return lake.silver._publishing.held[name].version


@pytest.fixture
def go_on(monkeypatch):
    """The turn of by_client lasts until this is set."""
    go_on, write = Event(), Buckets.write

    def waits(self, *given):
        if self.table.uri.endswith("by_client"):
            assert go_on.wait(200)
        return write(self, *given)

    monkeypatch.setattr(Buckets, "write", waits)
    yield go_on
    go_on.set()


def test_small_tables_do_not_wait_for_a_large_one(lake, go_on):
    for first in (8, 16, 24):
        take(lake, first)
    assert (held(lake, "by_country"), held(lake, "by_client")) == (4, 1)
    go_on.set()
    lake.silver.settle()
    assert held(lake, "by_client") == 2
    take(lake, 32)
    lake.silver.persist()
    assert {held(lake, name) for name in lake.silver.tables} == {5}
    assert_silver_is_a_function_of_bronze(lake)
    assert_audited(lake, 40)


def test_what_a_large_table_got_before_a_crash_is_not_merged_again(lake):
    take(lake, 8)
    lake.silver.settle()  # its commit is there, and the state has not forgotten what is in it
    assert held(lake, "by_client") == 2
    lake.restart()
    take(lake, 16)
    assert_whole(lake, 24)


def test_a_large_table_that_fails_is_told_and_published_later(lake):
    place = block(lake.silver.tables["by_client"].uri)
    take(lake, 8)
    lake.silver.settle()
    with pytest.raises(LakehouseError):
        take(lake, 16)
    place.rmdir()
    take(lake, 24)
    assert_whole(lake, 32)


def test_the_end_waits_for_a_large_table(lake, go_on):
    take(lake, 8)
    go_on.set()
    lake.silver.persist()
    assert {held(lake, name) for name in lake.silver.tables} == {2}
    lake.restart()
    assert lake.silver.catch_up() == 2
    assert_silver_is_a_function_of_bronze(lake)


def test_a_table_that_is_written_again_for_a_few_rows_waits_as_a_large_one_does(settings):
    """In a quiet shop each event would write all clients, and all products, again."""
    turns = Turns(settings.silver, windowed=["by_minute"])
    for name, wrote, merged, is_small in (
        ("by_segment", 4, 1, True),
        ("by_country", 150, 1, True),
        ("trends", 1_500, 48, True),
        ("by_client", 600, 1, False),
        ("product_trends", 1_800, 3, False),
        ("by_client", 2_001, 900, False),
        ("by_minute", 8_000, 80, True),
        ("by_minute", 8_001, 900, False),
    ):
        turns.took(name, 0.0, Written(rows=wrote), merged)
        assert turns.is_small(name, 0) is is_small, name


def test_a_table_that_a_drain_fills_waits_for_its_first_turn_too(settings):
    """It was published at the first batch, and written whole again at the end."""
    clock = [0.0]
    turns = Turns(settings.silver, lambda: clock[0])
    few, many = Pending(200, 0.0), Pending(400_000, 0.0)
    assert turns.due("trends", few)
    assert not turns.due("trends", many)
    clock[0] = 30.0  # a twentieth pays for it
    assert turns.due("trends", many)
    assert not turns.due("trends", Pending(1_000_000, clock[0]))
    clock[0] += settings.silver.greatest_age.total_seconds()
    assert turns.due("trends", Pending(1_000_000, 30.0))
    assert turns.due("trends", Pending(2_000_000, clock[0]))  # they are in memory


def test_finer_tables_that_take_long_wait_until_a_twentieth_of_the_time_pays_for_them(settings):
    """Millions of units were written again each minute for the few that had changed."""
    clock = [0.0]
    turns = Turns(settings.silver, lambda: clock[0])
    pending, rows = {"orders": (Pending(9, 0.0), 0), "units": (Pending(9, 0.0), 5_000_000)}, 9
    clock[0] = settings.silver.finer_persist_interval.total_seconds()
    assert turns.finer_due(pending)
    turns.took("orders", 1.0, Written(rows=rows), rows)
    turns.took("units", 9.0, Written(rows=5_000_000), rows)
    assert not turns.finer_due(pending)
    clock[0] = 200.0
    assert turns.finer_due(pending)
    assert turns.finer_due({"units": (Pending(2_000_000, clock[0]), 5_000_000)})
    turns.took("units", 900.0, Written(rows=5_000_000), rows)
    assert not turns.finer_due(pending)
    clock[0] = 4 * settings.silver.finer_persist_interval.total_seconds()
    assert turns.finer_due(pending)  # what follows it would say that it is behind


def test_what_is_pending_is_in_one_piece():
    """Each slice of it that was taken copied all of it before."""
    schema = pa.schema([pa.field("key", pa.string())])
    entries = []
    for place in range(3):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as out:
            out.write_table(pa.table({"key": [f"k{place}"]}, schema))
        entries.append((place, bytes(8) + bytes(sink.getvalue())))
    rows = rows_of(entries, schema)
    assert rows["key"].num_chunks == 1
    assert rows.to_pydict() == {"key": ["k0", "k1", "k2"], PLACE: [0, 1, 2]}
    assert rows_of([], schema).to_pydict() == {"key": [], PLACE: []}


def test_what_is_pending_is_in_memory_once():
    """With its copy in one piece it was there twice."""
    rows = pa.table({f"c{n}": pa.array(range(50_000)) for n in range(8)})
    entries = [(place, bytes(8) + _written(rows)) for place in range(4)]
    own, before = pa.proxy_memory_pool(pa.system_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(own)
    try:
        found = rows_of(entries, rows.schema)
        count, size = found.num_rows, found.nbytes
        del found  # before the pool that it lies in
    finally:
        pa.set_memory_pool(before)
    assert count == 200_000
    assert size < own.max_memory() < 1.4 * size
