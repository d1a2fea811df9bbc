"""A disk that runs short is told of with figures; a full one stops flows in words, and no more."""

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest

from lakehouse.core import disk
from lakehouse.core.disk import GIB, DiskWatch, Room, disks, gained
from lakehouse.core.errors import LakehouseError, ServiceUnavailable
from lakehouse.explorer.export import export
from tests.conftest import NOW, decoded, encode, sale, settings_at
from tests.support.copies import Flow, assert_marked_by_the_rule, every
from tests.support.full_disk import KIB, disk_at, full


def test_room_is_told_with_figures_and_short_by_bytes_share_or_hours():
    folder = Path("/lake")
    assert not Room(folder, 200 * GIB, 1000 * GIB, 1 * GIB).is_short
    assert Room(folder, 4 * GIB, 20 * GIB).is_short
    assert Room(folder, 15 * GIB, 1000 * GIB).is_short
    soon = Room(folder, 200 * GIB, 1000 * GIB, 20 * GIB)
    assert soon.is_short
    assert soon.told() == (
        "200.0 GiB free, 20 % of the disk of /lake; fills at 20.00 GiB an hour: 10 h left"
    )


def test_an_export_to_a_full_disk_is_refused_in_words_and_leaves_the_room(tmp_path):
    rows = pa.table({"n": range(50_000)})
    with disk_at(tmp_path / "disk") as mounted:
        file = mounted / "rows.csv"
        with full(mounted, 64 * KIB), pytest.raises(LakehouseError, match="No space left"):
            export(rows, file)
        assert [*mounted.iterdir()] == []
        assert export(rows, file) == rows.num_rows


def test_a_disk_that_fills_is_told_of_once_in_a_while_with_its_rate(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "LEAST", 0)
    with disk_at(tmp_path / "lake", "64m") as lake:
        watch = DiskWatch(lake)
        assert [*watch.short(0.0)] == []
        (lake / "data").write_bytes(b"\0" * (16 << 20))
        assert [*watch.short(30.0)] == []  # not looked yet
        assert [*watch.short(300.0)] == []  # too soon to say
        (found,) = watch.short(900.0)
        assert found.hourly == pytest.approx(64 << 20, rel=0.01)
        assert found.hours == pytest.approx(0.75, rel=0.02)
        assert [*watch.short(1_000.0)] == []
        assert len([*watch.short(3_000.0)]) == 1


def test_each_disk_under_a_lake_is_looked_at(tmp_path):
    lake = tmp_path / "lake"
    assert disks(lake) == [tmp_path]
    with disk_at(lake / "bronze" / "sales") as mounted:
        assert disks(lake) == [lake, mounted]
        (mounted / "new").write_bytes(b"1" * (1 << 20))
        old = mounted / "old"
        old.write_bytes(b"1" * (1 << 20))
        os.utime(old, (time.time() - 7_200,) * 2)
        assert gained(lake, time.time())[mounted.stat().st_dev] == 1 << 20


@pytest.mark.parametrize("place", ["bronze", "quarantine", "_state"])
def test_a_full_disk_stops_a_flow_in_words_and_nothing_is_lost(tmp_path, place):
    lake, stops = tmp_path / "lake", []
    settings = every(settings_at(lake))
    with disk_at(lake / place) as mounted:
        flow, first = Flow(settings), 0
        for room in range(0, 48 * KIB, 4 * KIB):
            good = encode(*[sale(event_id=f"e{n // 2}") for n in range(first, first + 40)])
            values = [value for one in good for value in (one, b"{broken")]
            rows = decoded(values, first=2 * first, times=[NOW] * len(values))
            ends = {0: 2 * first + len(values)}
            with full(mounted, room):
                try:
                    _land(flow, rows, ends)
                except ServiceUnavailable as error:
                    stops.append(str(error))
            flow.restart()
            _land(flow, rows, ends)  # as after a restart: what is held is cut from it
            first += 40
        assert_marked_by_the_rule(flow)
        assert len(flow.rows()) == first
        assert flow.bronze.quarantine.rows().num_rows == first
    assert stops
    assert [s for s in stops if "its disk is full" not in s or str(mounted) not in s] == []


def _land(flow, rows, ends):
    flow.next = ends
    flow.publish(rows)
    flow.bronze.maintain(NOW)
