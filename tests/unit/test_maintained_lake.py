"""Maintenance of a lake beside its flows: they go on, and silver stays a function of bronze."""

import time
from datetime import timedelta
from pathlib import Path

from deltalake import DeltaTable

from lakehouse.ingest.writers.arrow import ArrowWriter
from tests.conftest import NOW, decoded, encode, sale
from tests.support.lake import ALWAYS, Lake, assert_silver_is_a_function_of_bronze, entries

NOTHING = timedelta(0)


def test_silver_folds_on_after_bronze_was_compacted(settings):
    lake = Lake(settings.changed(maintenance={"compact_after_commits": 3}))
    for n, country in enumerate(["Germany", "France", "Germany", "France"]):
        lake.land(encode(sale(event_id=f"e{n}", order_id=f"o{n}", country=country)), n)
        lake.silver.catch_up()
        lake.silver.maintain()
        lake.bronze.maintain(NOW)
    operations = {commit["operation"] for commit in lake.bronze.bronze.dt.history()}
    assert "OPTIMIZE" in operations
    assert len(lake.bronze.bronze.files()) < 4
    assert sorted(lake.rows("bronze/sales")["event_id"]) == ["e0", "e1", "e2", "e3"]
    assert_silver_is_a_function_of_bronze(lake)
    lake.restart()
    lake.land(encode(sale(event_id="e3"), sale(event_id="e4", country="Spain")), 4)
    lake.silver.catch_up()
    assert list(lake.rows("bronze/sales").sort_values("offset")["is_duplicate"]) == [
        *[False] * 4, True, False,
    ]  # fmt: skip
    assert_silver_is_a_function_of_bronze(lake)


def test_silver_that_lags_behind_removed_files_is_folded_again(settings):
    lake = Lake(
        settings.changed(
            table={"deleted_file_retention": NOTHING},
            maintenance={"compact_after_commits": 3, "vacuum_interval": ALWAYS},
        )
    )
    lake.land(encode(sale(event_id="a")), 0)
    lake.silver.catch_up()
    for n in (1, 2):
        lake.land(encode(sale(event_id=f"e{n}", order_id=f"o{n}", country="France")), n)
    before = lake.bronze.bronze.files()
    until = time.monotonic() + 200
    while any(Path(file).exists() for file in before):  # compacted, and then past its retention
        assert time.monotonic() < until
        lake.bronze.maintain(NOW)
        time.sleep(0.01)
    lake.silver.catch_up()
    assert_silver_is_a_function_of_bronze(lake)


def test_old_quarantine_is_dropped_at_start_and_then_each_interval(settings):
    keep = {"quarantine_retention": timedelta(days=1), "vacuum_interval": timedelta(hours=1)}
    lake = Lake(settings.changed(maintenance=keep))
    for n, age in enumerate([timedelta(days=2), timedelta(hours=23), timedelta(0)]):
        ArrowWriter(lake.bronze).publish(decoded([b"{"], first=n), {0: n + 1}, NOW - age)
    lake.bronze.maintain(NOW)
    assert sorted(lake.rows("quarantine/sales")["offset"]) == [1, 2]
    version = lake.bronze.quarantine.version
    lake.bronze.maintain(NOW + timedelta(days=9))
    assert lake.bronze.quarantine.version == version, "not on every batch"
    lake.restart()
    assert lake.bronze.position.ends.next == {0: 3}
    assert not lake.bronze.position.ahead.num_rows
    lake.bronze.maintain(NOW + timedelta(hours=12))
    assert sorted(lake.rows("quarantine/sales")["offset"]) == [2]


def test_nothing_old_is_no_commit(settings):
    keep = {"quarantine_retention": timedelta(days=1), "vacuum_interval": ALWAYS}
    lake = Lake(settings.changed(maintenance=keep))
    lake.land([b"{"], 0)
    version = lake.bronze.quarantine.version
    for _ in range(3):
        lake.bronze.maintain(NOW)
    assert lake.bronze.quarantine.version == version


SHORT_LOG = {
    "table": {
        "log_retention": NOTHING, "checkpoint_interval": 3, "deleted_file_retention": NOTHING,
    },
    "maintenance": {"compact_after_commits": 4, "vacuum_interval": ALWAYS},
}  # fmt: skip


def test_state_outlives_the_log(settings):
    """Where every commit with an entry of its own is one of maintenance, nothing is lost."""
    lake = Lake(settings.changed(**SHORT_LOG))
    for n in range(7):
        lake.land(encode(sale(event_id=f"e{n}", order_id=f"o{n % 3}")), n)
        lake.fold()
        time.sleep(0.01)
        lake.silver.maintain()
        lake.bronze.maintain(NOW)
    for _ in range(4):  # an idle hour each
        time.sleep(0.01)
        lake.silver.maintain()
        lake.bronze.maintain(NOW)
    tables = [lake.bronze.bronze, *lake.silver.tables.values()]
    for table in tables:
        assert list(Path(table.uri, "_delta_log").glob("*.checkpoint.parquet"))
        assert entries(table.uri)[0] > f"{3:020}.json"
        # a vacuum in the millisecond of a compaction finds nothing to remove, and commits nothing
        assert table.dt.history(1)[0]["operation"] in {"VACUUM END", "OPTIMIZE"}
        assert table.last_note("ends") or table.last_note("source")
    ends = lake.bronze.position.ends
    lake.restart()
    assert lake.bronze.position.ends == ends
    lake.silver.catch_up()
    assert_silver_is_a_function_of_bronze(lake)


def test_silver_that_is_behind_what_the_log_keeps_is_folded_again(settings):
    often = {"vacuum_interval": ALWAYS, "log_entries": 4}
    lake = Lake(settings.changed(table={"checkpoint_interval": 3}, maintenance=often))
    for n in range(12):
        lake.land(encode(sale(event_id=f"e{n}", order_id=f"o{n % 3}")), n)
        lake.bronze.maintain(NOW)
        if n == 2:
            lake.silver.catch_up()
    assert int(entries(lake.bronze.bronze.uri)[0].removesuffix(".json")) > lake.silver.version
    lake.silver.catch_up()
    assert_silver_is_a_function_of_bronze(lake)
    lake.restart()
    assert lake.bronze.position.ends.next == {0: 12}


def test_ends_are_read_from_rows_where_another_tool_cut_the_log(settings):
    lake = Lake(settings.changed(table={"log_retention": NOTHING}))
    values = [*encode(sale(event_id="a"), sale(event_id="b")), b"{"]
    lake.land(values, 0)
    lake.land(encode(sale(event_id="c")), 3)
    other = DeltaTable(lake.bronze.bronze.uri)
    other.optimize.compact()
    other.create_checkpoint()
    time.sleep(0.01)
    other.cleanup_metadata()
    assert len(entries(other.table_uri.removeprefix("file://"))) == 1
    lake.restart()
    assert lake.bronze.bronze.last_note("ends") is None
    assert lake.bronze.position.ends.next == {0: 4}
    lake.land([*values, *encode(sale(event_id="c"), sale(event_id="d"))], 0)
    assert sorted(lake.rows("bronze/sales")["event_id"]) == ["a", "b", "c", "d"]
    assert list(lake.rows("quarantine/sales")["offset"]) == [2]
