"""The ledger of late and doubled events: a function of bronze, however written, whenever killed."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.core.errors import TableDamaged
from lakehouse.ingest.ledger import LEDGER_SCHEMA, Ledger
from lakehouse.ingest.writers.arrow import ArrowWriter
from lakehouse.operations.repair import Repair
from lakehouse.products.registry import load_settings
from tests.conftest import NOW, decoded, drawn, encode, sale
from tests.support.lake import Lake, looking

ROOT = Path(__file__).parents[2]
AT_ONCE = {"silver": {"finer_persist_interval": timedelta(0)}}
LATE, OLD, NEW = "2026-11-20T10:00:00Z", "2026-11-19T00:00:00Z", "2026-11-20T11:00:00Z"


def event(name, when=NEW):
    return sale(event_id=name, event_time=when)


def rows(lake):
    """What the table holds, by version."""
    files = DeltaTable(lake.ledger.table.uri).file_uris()
    if not files:
        return []
    sql = f"FROM read_parquet({files!r}) ORDER BY bronze_version"
    return looking().cursor().sql(sql).fetchall()


def wanted(lake):
    """The same, from bronze's rows and the versions in its log, by other means."""
    table = DeltaTable(lake.bronze.bronze.uri)
    found = []
    for version in range(1, table.version() + 1):
        table.load_as_version(version)
        now = set(table.file_uris())
        table.load_as_version(version - 1)
        files = sorted(now - set(table.file_uris()))
        batch = looking().cursor().sql(f"FROM read_parquet({files!r})").df() if files else None
        if batch is None or not (batch["is_late"] | batch["is_duplicate"]).any():
            continue
        late = batch[batch["is_late"]]
        times = sorted(late["event_time"])
        watermark = batch["watermark"][0]
        found.append(
            (
                batch["batch_id"][0], version, batch["ingest_time"][0], watermark,
                len(batch), len(late), batch["is_duplicate"].sum(),
                (watermark - times[0]) // timedelta(microseconds=1) if times else None,
                times[0] if times else None, times[-1] if times else None,
            )
        )  # fmt: skip
    return found


def assert_the_ledger_is_bronzes(lake):
    found = [tuple(None if v is None else v for v in row) for row in rows(lake)]
    assert [str(row) for row in _plain(found)] == [str(row) for row in _plain(wanted(lake))]


def _plain(found):
    """Values of both sides alike."""
    for row in found:
        yield tuple(
            None if v is None or v != v else v.timestamp() if hasattr(v, "timestamp") else int(v)
            for v in row
        )


@pytest.fixture
def lake(settings):
    return Lake(settings)


def land(lake):
    """Four batches: plain, two late, a copy, plain."""
    lake.land(encode(event("a"), event("b")), 0)
    lake.land(encode(event("c", LATE), event("d", OLD), event("e")), 2)
    lake.land(encode(event("a"), event("f")), 5)
    lake.land(encode(event("g")), 7)


def test_a_row_says_what_a_batch_held(lake):
    land(lake)
    lake.ledger.persist()
    late, doubled = (dict(zip(LEDGER_SCHEMA.names, row, strict=True)) for row in rows(lake))
    assert (late["batch_id"], late["bronze_version"]) == (1, 2)
    assert (late["rows"], late["late"], late["duplicates"]) == (3, 2, 0)
    assert late["most_late_us"] == (34 * 60 + 50) * 60 * 1_000_000
    assert late["watermark"] - late["first_late"] == timedelta(hours=34, minutes=50)
    assert late["last_late"] - late["first_late"] == timedelta(hours=34)
    assert late["ingest_time"] == NOW
    assert (doubled["rows"], doubled["late"], doubled["duplicates"]) == (2, 0, 1)
    assert doubled["most_late_us"] is doubled["first_late"] is doubled["last_late"] is None
    assert_the_ledger_is_bronzes(lake)


def test_batches_commit_nothing_until_it_is_time(settings):
    lake = Lake(settings)
    land(lake)
    assert lake.ledger.table.version == 0
    lake.ledger.persist()
    lake.ledger.persist()
    assert lake.ledger.table.version == 1
    note = lake.ledger.table.last_note("source")
    assert (note["table"], note["version"]) == ("bronze.sales", 4)
    often = Lake(settings.changed(**AT_ONCE))
    often.land(encode(event("h")), 8)
    assert often.ledger.table.version == 1, "nothing was late"
    often.land(encode(event("i", OLD)), 9)
    assert often.ledger.table.version == 2
    assert_the_ledger_is_bronzes(often)


def test_what_was_not_written_is_read_from_bronzes_log(lake):
    land(lake)
    assert rows(lake) == []
    lake.restart()
    assert_the_ledger_is_bronzes(lake)
    version = lake.ledger.table.version
    lake.restart()
    assert lake.ledger.table.version == version, "all was taken in"


def test_it_stands_beside_a_bronze_that_is_older(lake):
    land(lake)
    shutil.rmtree(lake.ledger.table.uri)
    lake.restart()
    assert_the_ledger_is_bronzes(lake)


def test_rows_that_stay_with_spark_are_read_from_the_log(lake):
    land(lake)
    lake.restart()
    values = encode(event("x", OLD), event("a"))
    landed = ArrowWriter(lake.bronze).publish(decoded(values, first=8), {0: 10}, NOW)
    lake.ledger.take_batch(type(landed)(**{**vars(landed), "rows": None}))
    lake.ledger.persist()
    assert_the_ledger_is_bronzes(lake)
    assert len(rows(lake)) == 3


def test_versions_that_only_compact_are_stepped_over(settings):
    every = {"compact_after_commits": 2, "vacuum_interval": timedelta(microseconds=1)}
    lake = Lake(settings.changed(maintenance=every))
    for n in range(6):
        lake.land(encode(event("a"), event(f"e{n}", OLD)), 2 * n)
        lake.bronze.maintain(NOW)
        lake.ledger.maintain()
    operations = {c["operation"] for c in lake.bronze.bronze.dt.history()}
    assert "OPTIMIZE" in operations
    lake.ledger.persist()
    held = rows(lake)
    assert [row[0] for row in held] == [1, 2, 3, 4, 5], "nothing is late before the first event"
    shutil.rmtree(lake.ledger.table.uri)
    lake.restart()
    assert rows(lake) == held


def test_it_is_rebuilt_where_the_log_has_gone(lake):
    land(lake)
    lake.ledger.persist()
    held = rows(lake)
    lake.land(encode(event("h", OLD)), 8)
    bronze = DeltaTable(lake.bronze.bronze.uri)
    bronze.optimize.compact()
    bronze.create_checkpoint()
    folder = Path(lake.bronze.bronze.uri, "_delta_log")
    for version in range(5):
        (folder / f"{version:020}.json").unlink()
    shutil.rmtree(lake.ledger.table.uri)
    lake.ledger = Ledger.at_bronze("sales", lake.settings, lake.connection)
    found = rows(lake)
    assert {row[0]: row[1] for row in found} == {1: None, 2: None, 4: 5}
    assert sorted(row[:1] + row[2:] for row in found)[:2] == [row[:1] + row[2:] for row in held]


def test_it_is_rebuilt_beside_another_bronze_or_an_older_one(lake):
    land(lake)
    lake.ledger.persist()
    bronze = Path(lake.bronze.bronze.uri)
    for version in (3, 4):
        (bronze / "_delta_log" / f"{version:020}.json").unlink()
    lake.restart()
    assert [row[0] for row in rows(lake)] == [1]
    assert_the_ledger_is_bronzes(lake)
    shutil.rmtree(bronze)
    lake.restart()
    assert rows(lake) == []
    lake.land(encode(event("a"), event("a")), 0)
    lake.ledger.persist()
    assert_the_ledger_is_bronzes(lake)


def test_rows_taken_from_bronze_leave_the_ledger(lake):
    land(lake)
    lake.ledger.persist()
    DeltaTable(lake.bronze.bronze.uri).delete("event_id = 'd'")
    lake.restart()
    late = dict(zip(LEDGER_SCHEMA.names, rows(lake)[0], strict=True))
    assert (late["batch_id"], late["rows"], late["late"]) == (1, 2, 1)


EVENT = st.builds(
    event, st.sampled_from([f"e{n}" for n in range(6)]), st.sampled_from([NEW, LATE, OLD])
)
STEP = st.sampled_from(["on", "crash", "persist", "compact"])


@drawn(5)
@given(st.lists(st.tuples(st.lists(EVENT, max_size=4), STEP), min_size=1, max_size=6))
def test_it_is_the_same_however_batches_come_and_processes_end(steps):
    with tempfile.TemporaryDirectory() as root:
        lake = Lake(load_settings(ROOT / "config.ini").with_root(Path(root)))
        first = 0
        for events, step in steps:
            lake.land(encode(*events), first)
            first += len(events)
            if step == "crash":
                lake.restart()
            if step == "persist":
                lake.ledger.persist()
            if step == "compact":
                lake.bronze.bronze.dt.optimize.compact()
                lake.bronze.bronze.refresh()
        lake.ledger.persist()
        held = rows(lake)
        shutil.rmtree(lake.ledger.table.uri)
        lake.restart()
        assert rows(lake) == held


ENDLESS = """
import sys
from pathlib import Path
from lakehouse.products.registry import load_settings
from tests.conftest import encode, sale
from tests.support.lake import Lake
from datetime import timedelta
settings = load_settings(Path("config.ini")).with_root(Path(sys.argv[1]))
often = {"finer_persist_interval": timedelta(milliseconds=30)}
lake = Lake(settings.changed(silver=often))
first = lake.bronze.position.ends.next.get(0, 0)
while True:
    old = sale(event_id=f"e{first}", event_time="2026-11-19T00:00:00Z")
    lake.land(encode(old, sale(event_id=f"e{first - 1}")), first)
    first += 2
    print(lake.ledger.table.version, flush=True)
"""


def test_killed_at_any_time_it_is_exact_after_the_next_start(settings):
    for version, wait in enumerate((0.1, 0.13, 0.07), 1):
        process = subprocess.Popen(
            [sys.executable, "-c", ENDLESS, settings.lake.root],
            cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert any(int(line) >= version for line in process.stdout)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    lake = Lake(settings)
    assert len(rows(lake)) >= 3
    assert DeltaTable(lake.ledger.table.uri).version() >= 3
    assert_the_ledger_is_bronzes(lake)


@pytest.mark.parametrize("damage", ["cut", "empty", "no file"])
def test_a_damaged_one_is_told_set_aside_and_rebuilt(lake, damage):
    land(lake)
    lake.ledger.persist()
    held, table = rows(lake), Path(lake.ledger.table.uri)
    newest = max(table.glob("_delta_log/*.json"))
    if damage == "no file":
        Path(lake.ledger.table.files()[0]).unlink()
    else:
        newest.write_bytes(newest.read_bytes()[: 50 if damage == "cut" else 0])
    with pytest.raises(TableDamaged, match=r"lakehouse repair ledger\.sales"):
        lake.restart()
    done = Repair("ledger.sales", lake.settings, lambda: None, print).run()
    assert done
    assert len(list(Path(lake.settings.lake.root, "_aside").iterdir())) == 1
    lake.restart()
    assert rows(lake) == held
    assert Repair("ledger.sales", lake.settings, lambda: None, print).run() == []
