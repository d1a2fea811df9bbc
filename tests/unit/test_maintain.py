"""``lakehouse maintain``: upkeep on an operator's word, by one process at a time."""

import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from secrets import token_hex

import pytest
from deltalake import DeltaTable

from lakehouse.core.errors import Exit, TableLocked, TableMissing
from lakehouse.core.progress import told_to
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.sql import read
from lakehouse.operations.maintain import maintain
from tests.conftest import NOW, encode, sale, settings_at
from tests.support.full_disk import KIB, disk_at, full
from tests.support.holding import ROOT, holding
from tests.support.lake import Lake, assert_silver_is_a_function_of_bronze, copied


@pytest.fixture(scope="module")
def landed(tmp_path_factory):
    """The root of a lake of six small batches, and silver with it."""
    made = Lake(settings_at(tmp_path_factory.mktemp("landed") / "lake"))
    for n in range(6):
        made.land([*encode(sale(event_id=f"e{n}", order_id=f"o{n}")), b"{"], 2 * n)
        made.silver.catch_up()
    made.silver.persist()
    return made.settings.lake.root


@pytest.fixture
def lake(landed, settings):
    return copied(landed, settings)


def program(lake, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "lakehouse", "maintain", "--root", lake.settings.lake.root, *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_it_is_told_how_far_the_compaction_of_one_table_is(lake):
    told = []
    with told_to(lambda *step: told.append(step)):
        maintain(["bronze.sales"], lake.settings, NOW)
    assert len(told) == 8  # its beginning, each of its six files, then the rest of its folder
    assert {(what, of, unit) for what, _, of, unit in told} == {
        ("maintaining", told[-1][1], "bytes")
    }
    assert 0 == told[0][1] < told[1][1] < told[6][1] < told[7][1]


def test_on_a_full_disk_old_files_go_first_so_that_there_is_room_to_compact(tmp_path):
    with disk_at(tmp_path / "disk") as mounted:
        short = {"deleted_file_retention": timedelta(0), "log_retention": timedelta(0)}
        lake = Lake(settings_at(mounted / "lake").changed(table=short))
        for n in range(2):
            lake.land(
                [*encode(sale(event_id=f"e{n}", product_name=token_hex(30_000))), b"{"], 2 * n
            )
        old = Path(lake.settings.lake.root, "quarantine/sales/part-left.snappy.parquet")
        old.write_bytes(b"\0" * 1_000_000)  # by a crash, say
        with full(mounted, 48 * KIB):
            [bronze, _] = maintain(["bronze.sales", "quarantine.sales"], lake.settings, NOW)
        assert (bronze.files_before, bronze.files, old.exists()) == (2, 1, False)
        assert {*lake.rows("bronze/sales")["event_id"]} == {"e0", "e1"}


def test_files_become_few_and_rows_stay(lake):
    before = lake.rows("bronze/sales").sort_values("offset").reset_index(drop=True)
    done = {u.table: u for u in maintain([], lake.settings, NOW)}
    assert {"bronze.sales", "ledger.sales", "quarantine.sales", "silver.sales_orders"} <= {*done}
    bronze = done["bronze.sales"]
    assert (bronze.version_before, bronze.files_before, bronze.files) == (6, 6, 1)
    assert bronze.version > bronze.version_before
    assert 0 < bronze.bytes < bronze.bytes_before < bronze.disk
    after = lake.rows("bronze/sales").sort_values("offset").reset_index(drop=True)
    assert before.equals(after[before.columns])
    ends = lake.bronze.position.ends
    lake.restart()
    assert lake.bronze.position.ends.next == ends.next
    lake.land(encode(sale(event_id="e0"), sale(event_id="x")), 12)
    lake.silver.catch_up()
    assert_silver_is_a_function_of_bronze(lake)


def test_time_travel_and_history_are_right_after_it(lake):
    count = "SELECT count(*) AS n FROM bronze.sales"
    maintain([], lake.settings, NOW)
    catalogue = Catalogue(lake.settings.lake.root)
    for version, rows in ((0, 0), (3, 3), (6, 6), (7, 6)):
        old = catalogue.back_to(version=version)
        assert read(old, count, lake.settings.explorer).to_pylist() == [{"n": rows}]
    history = catalogue.history("bronze.sales", 99)
    assert [c["version"] for c in history] == list(range(len(history)))[::-1]
    assert [c["operation"] for c in history][-7:] == ["WRITE"] * 6 + ["CREATE TABLE"]
    assert "OPTIMIZE" in {c["operation"] for c in history}
    assert all("ends" in json.loads(c["note"]) for c in history[:-1])


def test_what_is_past_its_retention_goes(settings):
    short = {"deleted_file_retention": timedelta(0), "log_retention": timedelta(0)}
    keep = {"quarantine_retention": timedelta(days=1)}
    lake = Lake(settings.changed(table=short, maintenance=keep))
    lake.land([b"{", *encode(sale())], 0)
    lake.land([b"{", *encode(sale(event_id="b"))], 2)
    old = lake.bronze.bronze.files()
    first = {u.table: u for u in maintain([], lake.settings, NOW)}
    assert first["bronze.sales"].bytes < first["bronze.sales"].bytes_before
    assert len(lake.rows("quarantine/sales")) == 2
    time.sleep(0.01)
    done = {u.table: u for u in maintain([], lake.settings, NOW + timedelta(days=2))}
    assert not any(Path(file).exists() for file in old)
    assert lake.rows("quarantine/sales").empty
    assert done["quarantine.sales"].files == 0
    assert done["quarantine.sales"].disk < done["quarantine.sales"].disk_before


def test_only_the_tables_named_are_touched(lake):
    versions = {n: DeltaTable(lake.bronze.bronze.uri.replace("bronze/sales", n)).version()
                for n in ("bronze/sales", "quarantine/sales")}  # fmt: skip
    assert [u.table for u in maintain(["bronze.sales", "bronze.sales"], lake.settings, NOW)] == [
        "bronze.sales"
    ]
    assert lake.bronze.quarantine.refresh() == versions["quarantine/sales"]
    for name in ("bronze.nothing", "../x", "audit.sales", ""):
        with pytest.raises(TableMissing):
            maintain([name], lake.settings, NOW)


def test_it_is_refused_while_a_flow_writes_and_changes_nothing(lake):
    folder = Path(lake.settings.lake.root, "_locks")
    with holding(folder, "sales.silver", "silver.sales_trends") as holder:
        with pytest.raises(TableLocked, match=f"sales.silver, process {holder.pid}"):
            maintain([], lake.settings, NOW)
        refused = program(lake)
        out, said = refused.communicate(timeout=200)
        assert (refused.returncode, out) == (Exit.LOCKED, "")
        assert f"silver.sales_trends: is being written by sales.silver, process {holder.pid}" in (
            " ".join(said.split())
        )
        assert "Traceback" not in said
        assert lake.bronze.bronze.refresh() == 6
        free = program(lake, "bronze.sales", "--json")
        out, said = free.communicate(timeout=200)
        assert free.returncode == 0, said
        assert [row["files"] for row in json.loads(out)["maintained"]] == [1]


def test_two_at_once_do_no_harm(lake):
    both = [program(lake, "--json") for _ in range(2)]
    ended = [(p, *p.communicate(timeout=300)) for p in both]
    codes = sorted(p.returncode for p, _, _ in ended)
    assert codes in ([0, 0], [0, 6]), [said for _, _, said in ended]
    for process, _, said in ended:
        if process.returncode:
            assert "is being written by maintain, process" in " ".join(said.split())
    assert len(lake.rows("bronze/sales")) == 6
    assert len(set(lake.rows("bronze/sales")["offset"])) == 6
    lake.restart()
    lake.silver.catch_up()
    assert_silver_is_a_function_of_bronze(lake)


def test_killed_in_the_middle_it_is_done_again(lake):
    for wait in (0.9, 1.1, 1.3):
        running = program(lake)
        time.sleep(wait)
        running.kill()
        running.communicate()
    maintain([], lake.settings, NOW)
    assert len(lake.rows("bronze/sales")) == 6
    lake.restart()
    lake.silver.catch_up()
    assert_silver_is_a_function_of_bronze(lake)
