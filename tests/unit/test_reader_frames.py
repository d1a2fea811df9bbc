"""What the driver makes of the reader's frames, in the order in which they may come."""

from datetime import UTC, datetime, timedelta
from queue import Empty
from types import SimpleNamespace

import pyarrow as pa
import pytest

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.ingest.decode import decoded_schema
from lakehouse.ingest.reader import BUSY, Fault, Start, process
from lakehouse.ingest.reader.process import ReaderProcess, _Frame
from lakehouse.ingest.reader.records import in_parts
from lakehouse.ingest.verdict import TimeRules
from tests.conftest import SALES

KAFKA = {"bootstrap.servers": "nobody"}
RULES = TimeRules(datetime(2000, 1, 1, tzinfo=UTC), timedelta(days=1))


def rows(*offsets):
    schema = decoded_schema(SALES)
    found = [{"partition": 0, "offset": offset} for offset in offsets]
    return pa.Table.from_pylist(found, schema)


def reader(at, **held):
    one = ReaderProcess(Start(KAFKA, b"", "sales", SALES, RULES, 2**24, 100), patience=0.2)
    one._at = dict(at)
    for name, frames in held.items():
        one._held[int(name[1:])].extend(frames)
    return one


def test_an_end_that_is_told_after_later_rows_does_not_take_them_back():
    one = reader(
        {0: 9, 1: 0},
        p0=[_Frame(0, 0, 12, 10, rows(9, 10, 11)), _Frame(0, 0, 10, 0)],
        p1=[_Frame(0, 1, 3, 10, rows(0, 1, 2))],
    )
    taken = one.take({0: 20, 1: 5}, 20, lambda: False)
    assert taken.ends == {0: 12, 1: 3}
    assert taken.rows.num_rows == 6


def test_the_end_that_lies_beyond_a_range_is_kept_for_the_next():
    one = reader({0: 0}, p0=[_Frame(0, 0, 3, 10, rows(0, 2)), _Frame(0, 0, 9, 0)])
    for end in (5, 7, 9):
        assert one.take({0: end}, 100, lambda: False).ends == {0: end}


def test_a_reader_that_is_at_work_is_waited_for(monkeypatch):
    """Each frame comes when half of the patience is over."""
    one, now = reader({0: 0}), 0.0
    busy = [_Frame(0, -1, 0, 0, fault=Fault(BUSY, ""))] * 6

    def come(timeout):
        nonlocal now
        now += 0.1
        if not busy:
            raise Empty
        return busy.pop()

    monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=lambda: now))
    one._frames = SimpleNamespace(get=come)
    with pytest.raises(ServiceUnavailable, match="no records come"):
        one.take({0: 9}, 100, lambda: False)
    assert 0.8 < now < 1


def test_a_partition_of_which_all_that_was_planned_expired_is_past_it():
    assert reader({0: 50}).take({0: 30}, 100, lambda: False).ends == {0: 50}


def test_records_that_grow_are_sent_in_parts_of_so_many_bytes():
    sizes = [1, 1, 1, 9, 9, 30, 1, 0, 0, 10, 1]
    parts = list(in_parts([b"x" * size for size in sizes], 10))
    assert [[len(one) for one in part] for part in parts] == [
        [1, 1, 1], [9], [9], [30], [1, 0, 0], [10], [1]
    ]  # fmt: skip
    assert list(in_parts([], 10)) == []


def test_rows_of_many_small_frames_come_in_one_piece():
    """A digest, a filter or a query takes a millisecond for each piece, of however few rows."""
    frames = [_Frame(0, 0, n + 1, 10, rows(n)) for n in range(40)]
    taken = reader({0: 0}, p0=frames).take({0: 40}, 1_000, lambda: False)
    assert taken.rows["offset"].to_pylist() == list(range(40))
    assert {column.num_chunks for column in taken.rows.itercolumns()} == {1}
