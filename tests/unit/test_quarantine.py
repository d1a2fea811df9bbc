"""Quarantine's way back: what passes today enters bronze once, whatever is killed."""

import json
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from typer.testing import CliRunner

from lakehouse.audit.proof import Verdict
from lakehouse.cli.app import app
from lakehouse.core.errors import Exit, TableLocked, TableMissing, UsageError
from lakehouse.core.lock import write_locks
from lakehouse.core.paths import Lake as Paths
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.sql import read
from lakehouse.ingest.replay import finish
from lakehouse.ingest.schemas import QUARANTINE_SCHEMA
from lakehouse.operations.maintain import maintain
from lakehouse.operations.quarantine import Choice, opened
from lakehouse.operations.replay import dry_run, replay
from lakehouse.storage.upkeep import forget_history
from tests.conftest import NOW, SALES, encode, sale, settings_at
from tests.unit.test_audit import Kafka, proof
from tests.unit.test_maintenance import ALWAYS, changed
from tests.unit.test_publish import Lake, assert_silver_is_a_function_of_bronze, copied

OLD = "1999-06-01T10:00:00Z"
"""Before [sales] earliest: a fault that a changed setting cures."""
ROOT = Path(__file__).parents[2]


def cured(settings):
    """The settings whose rules let OLD pass."""
    sales = settings.products["sales"].model_copy(update={"earliest": date(1990, 1, 1)})
    return settings.model_copy(update={"products": {**settings.products, "sales": sales}})


def events():
    """Offsets 0 to 6: good, old, broken, good, old copy of 0, old twice."""
    return [
        *encode(sale(event_id="a"), sale(event_id="old1", event_time=OLD, order_id="o9")),
        b"{\xff",
        *encode(
            sale(event_id="b", order_id="o2"),
            sale(event_id="a", event_time=OLD),
            sale(event_id="old2", event_time=OLD, client_id="c7"),
            sale(event_id="old2", event_time=OLD, client_id="c7"),
        ),
    ]


@pytest.fixture(scope="module")
def landed(tmp_path_factory):
    """The root of a lake that has landed :func:`events` in two batches, and silver with it."""
    lake = Lake(settings_at(tmp_path_factory.mktemp("landed") / "lake"))
    values = events()
    lake.land(values[:4], 0)
    lake.silver.catch_up()
    lake.land(values[4:], 4)
    lake.silver.catch_up()
    lake.silver.persist()
    return lake.settings.lake.root


@pytest.fixture
def lake(landed, settings):
    return copied(landed, settings)


def again(lake, choice=None, settings=None):
    """Replay as a process of its own would, then open the lake anew."""
    done = replay("sales", settings or cured(lake.settings), choice or Choice(), NOW)
    lake.restart()
    return done


def offsets(lake, table, where="true"):
    rows = lake.rows(table)
    return sorted(rows.query(where)["offset"] if where != "true" else rows["offset"])


def quarantined(lake):
    """Offsets that the explorer still counts as quarantined."""
    sql = 'SELECT "offset" FROM quarantine.sales WHERE replayed_version IS NULL ORDER BY 1'
    catalogue = Catalogue(lake.settings.lake.root)
    return read(catalogue, sql, lake.settings.explorer)["offset"].to_pylist()


def assert_proven(lake, end=7):
    lake.silver.catch_up()
    lake.silver.persist()
    found = proof(lake, Kafka(end=end))
    assert found.faults == found.doubts == ()
    assert found.verdict is Verdict.PROVEN
    assert_silver_is_a_function_of_bronze(lake)
    return found


def test_what_passes_today_enters_once_and_silver_follows(lake):
    done = again(lake)
    assert (done.asked, done.entered, done.refused, done.duplicates) == (5, 4, 1, 2)
    assert offsets(lake, "bronze/sales") == [0, 1, 3, 4, 5, 6]
    assert quarantined(lake) == [2]
    rows = lake.rows("bronze/sales").sort_values("offset")
    assert list(rows["is_duplicate"]) == [False, False, False, True, False, True]
    assert list(rows["is_late"]) == [False, True, False, True, True, True]
    trail = lake.rows("quarantine/sales").sort_values("offset")
    assert list(trail["offset"]) == [1, 2, 4, 5, 6], "quarantine keeps the records"
    assert list(trail["replayed_version"].fillna(-1)) == [3, -1, 3, 3, 3]
    assert set(trail["replayed_at"].dropna()) == {NOW}
    found = assert_proven(lake)
    part = found.account.partitions[0]
    assert (part.bronze, part.quarantine) == (6, 1)
    second = again(lake)
    assert (second.entered, second.asked) == (0, 1)
    assert lake.bronze.bronze.version == 3, "nothing to enter is no commit"


def test_the_flow_goes_on_behind_a_replay(lake):
    before = lake.bronze.position.ends
    again(lake)
    assert lake.bronze.position.ends.next == before.next
    assert lake.bronze.position.ends.batch == before.batch + 1
    assert lake.bronze.bronze.last_note("replay")
    lake.land(encode(sale(event_id="old1"), sale(event_id="c")), 7)
    rows = lake.rows("bronze/sales").sort_values("offset")
    assert list(rows["is_duplicate"])[-2:] == [True, False]
    assert_proven(lake, end=9)


def test_a_copy_of_what_bronze_took_long_ago_is_a_copy(settings):
    """The event_id lies outside the horizon of bronze's newest record, and inside the record's."""
    lake = Lake(settings)
    lake.land(encode(sale(event_id="a"), sale(event_id="a", event_time=OLD)), 0)
    days = [NOW + timedelta(days=3)]
    later = sale(event_id="z", event_time="2026-11-22T00:00:00Z")
    lake.land(encode(later), 2, times=days)
    lake.silver.catch_up()
    again(lake)
    assert list(lake.rows("bronze/sales").sort_values("offset")["is_duplicate"]) == [
        False, True, False,
    ]  # fmt: skip
    assert_proven(lake, end=3)


@pytest.mark.parametrize("apart", [timedelta(minutes=59), timedelta(minutes=61)])
def test_copies_among_the_replayed_count_by_the_horizon(settings, apart):
    lake = Lake(settings)
    values = encode(*[sale(event_id="a", event_time=OLD, order_id=f"o{n}") for n in range(2)])
    lake.land(values, 0, times=[NOW + apart, NOW])
    lake.silver.catch_up()
    again(lake)
    rows = lake.rows("bronze/sales").sort_values("offset")
    assert list(rows["is_duplicate"]) == [apart < timedelta(hours=1), False]
    assert_proven(lake, end=2)


def test_a_future_event_lets_the_watermark_rise(settings):
    lake = Lake(settings)
    future = (NOW + timedelta(hours=1)).isoformat()
    lake.land(encode(sale(event_id="a"), sale(event_id="f", event_time=future)), 0)
    sales = settings.products["sales"].model_copy(update={"future_tolerance": timedelta(hours=2)})
    looser = settings.model_copy(update={"products": {"sales": sales}})
    again(lake, settings=looser)
    assert lake.bronze.position.ends.newest == NOW + timedelta(hours=1)
    lake.land(encode(sale(event_id="n", event_time=NOW.isoformat())), 2)
    assert list(lake.rows("bronze/sales").sort_values("offset")["is_late"]) == [False, False, True]
    assert_proven(lake, end=3)


def test_only_what_is_chosen_is_replayed(lake):
    assert again(lake, Choice(verdict="not utf-8")).entered == 0
    assert again(lake, Choice(verdict="IS BEFORE", addresses=((0, 5), (0, 2)))).entered == 1
    assert offsets(lake, "bronze/sales") == [0, 3, 5]
    assert again(lake, Choice(addresses=((0, 6),))).duplicates == 1
    assert_proven(lake)


def test_a_dry_run_writes_nothing(lake):
    before = [lake.bronze.bronze.version, lake.bronze.quarantine.version]
    found = dry_run("sales", cured(lake.settings), Choice())
    assert (found.asked, found.entered, found.refused) == (5, 4, 1)
    assert {(c["verdict_now"], c["records"]) for c in found.changes} == {
        ("passes", 4), ("the value is not UTF-8", 1),
    }  # fmt: skip
    lake.restart()
    assert [lake.bronze.bronze.version, lake.bronze.quarantine.version] == before
    assert dry_run("sales", lake.settings, Choice()).entered == 0


def test_what_a_crash_left_above_the_ends_waits_for_the_flow(lake):
    versions = lake.bronze.bronze.version
    lake.land(encode(sale(event_id="x", event_time=OLD), sale(event_id="y")), 7)
    log = Path(lake.bronze.bronze.uri, "_delta_log", f"{versions + 1:020}.json")
    log.unlink()  # quarantine committed, bronze did not
    lake.restart()
    done = again(lake)
    assert (done.entered, done.waiting) == (4, 1)
    lake.land(encode(sale(event_id="x", event_time=OLD), sale(event_id="y")), 7)
    assert quarantined(lake) == [2, 7]
    assert again(lake).entered == 1
    assert_proven(lake, end=9)


def test_a_lake_of_an_earlier_release_is_widened(lake):
    """Without the columns: read as it is, and given them by the next writer."""
    uri = lake.bronze.quarantine.uri
    rows = lake.bronze.quarantine.dt.to_pyarrow_table()
    names = [n for n in QUARANTINE_SCHEMA.names if not n.startswith("replayed")]
    write_deltalake(
        uri,
        rows.select(names).cast(pa.schema([QUARANTINE_SCHEMA.field(n) for n in names])),
        mode="overwrite",
        schema_mode="overwrite",
    )
    assert dry_run("sales", cured(lake.settings), Choice()).entered == 4
    assert proof(lake, Kafka(end=7)).verdict is Verdict.PROVEN
    lake.restart()
    assert {*DeltaTable(uri).schema().to_arrow().names} == {*QUARANTINE_SCHEMA.names}
    assert quarantined(lake) == [1, 2, 4, 5, 6], "no file has the columns yet"
    assert proof(lake, Kafka(end=7)).verdict is Verdict.PROVEN
    assert again(lake).entered == 4
    assert_proven(lake)


def test_retention_drops_what_was_replayed_too(lake):
    again(lake)
    keep = {"quarantine_retention": timedelta(days=1), "vacuum_interval": ALWAYS}
    lake.settings = changed(lake.settings, maintenance=keep)
    lake.restart()
    lake.bronze.maintain(NOW + timedelta(hours=23))
    assert len(lake.rows("quarantine/sales")) == 5
    lake.bronze.maintain(NOW + timedelta(days=2))
    assert offsets(lake, "quarantine/sales") == [1, 4, 5, 6], "bronze can be restored to before"
    forget_history(lake.bronze.bronze, {})
    lake.restart()
    lake.bronze.maintain(NOW + timedelta(days=2))
    assert len(lake.rows("quarantine/sales")) == 0
    assert offsets(lake, "bronze/sales") == [0, 1, 3, 4, 5, 6]
    lake.restart()
    assert finish(lake.bronze, NOW) is None
    lake.ledger.persist()
    part = assert_proven(lake).account.partitions[0]
    assert (part.bronze, part.quarantine, part.erased) == (6, 0, 1), "the one that was not replayed"


def test_a_record_past_its_retention_is_not_a_lost_one(lake):
    keep = {"quarantine_retention": timedelta(days=1), "vacuum_interval": ALWAYS}
    lake.settings = changed(lake.settings, maintenance=keep)
    lake.restart()
    later = NOW + timedelta(days=2)
    lake.bronze.maintain(later)
    assert len(lake.rows("quarantine/sales")) == 0
    assert offsets(lake, "erased/sales") == [1, 2, 4, 5, 6]
    assert set(lake.rows("erased/sales")["table"]) == {"quarantine.sales"}
    assert assert_proven(lake).account.partitions[0].erased == 5
    version = DeltaTable(f"{lake.settings.lake.root}/erased/sales").version()
    lake.bronze.maintain(later)
    assert DeltaTable(f"{lake.settings.lake.root}/erased/sales").version() == version
    lake.bronze.bronze.dt.restore(1)
    lake.restart()
    assert lake.bronze.position.ends.next == {0: 4}, "bronze goes back to its first batch"
    lake.land(events()[4:], 4)
    assert offsets(lake, "bronze/sales") == [0, 3]
    assert assert_proven(lake).account.partitions[0].erased == 5


def test_a_running_flow_is_named(lake):
    tables = ["bronze.sales", "quarantine.sales"]
    with (
        write_locks(Paths(lake.settings.lake.root).locks, tables, "sales.bronze", timedelta(0)),
        pytest.raises(TableLocked, match=r"written by sales\.bronze, process"),
    ):
        again(lake)


# Killed with -9 at each step

KILLED = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from lakehouse.operations.quarantine import Choice
from lakehouse.operations.replay import replay
from lakehouse.products.registry import load_settings
from lakehouse.storage import table as delta
from tests.conftest import NOW
from tests.unit.test_quarantine import ROOT, cured

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def dies_after(work):
    def both(*words, **named):
        work(*words, **named)
        die()
    return both

step, root = sys.argv[1:]
Table = delta.Table
if step == "before the marks":
    Table.mark = die
if step == "marks written, not committed":
    merge = delta.DeltaTable.merge
    def cut(*words, **named):
        merger = merge(*words, **named)
        merger.when_matched_update = lambda *_: type("M", (), {"execute": die})()
        return merger
    delta.DeltaTable.merge = cut
if step == "marks committed":
    Table.mark = dies_after(Table.mark)
if step == "bronze's files written":
    write = delta.write_files
    def cut(*words):
        write(*words)
        die()
    delta.write_files = cut
if step == "bronze committed":
    Table.append = dies_after(Table.append)
settings = cured(load_settings(ROOT / "config.ini").with_root(Path(root)))
replay("sales", settings, Choice(), NOW)
"""
STEPS = ["before the marks", "marks written, not committed", "marks committed",
         "bronze's files written", "bronze committed"]  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_a_replay_that_is_killed_is_completed(lake, step, tmp_path):
    """By the next replay, or by the next start of the flow; and it is proven meanwhile."""
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, step, lake.settings.lake.root],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert killed.returncode == -9, killed.stderr
    cut = proof(lake, Kafka(end=7))
    assert cut.verdict is Verdict.PROVEN
    assert cut.account.partitions[0].bronze == (6 if step == "bronze committed" else 2)
    shutil.copytree(lake.settings.lake.root, tmp_path / "flow")
    assert_replay_completes(lake)
    other = Lake(cured(lake.settings).with_root(tmp_path / "flow"))
    assert_flow_completes(other, entered=not step.endswith(("the marks", "not committed")))


def test_retention_after_a_cut_replay_loses_no_address(lake):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "marks committed", lake.settings.lake.root],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert killed.returncode == -9, killed.stderr
    keep = {"quarantine_retention": timedelta(days=1), "vacuum_interval": ALWAYS}
    maintain(["quarantine.sales"], changed(lake.settings, maintenance=keep), NOW + timedelta(2))
    lake.restart()
    assert offsets(lake, "quarantine/sales") == [1, 4, 5, 6], "marked rows wait for the end"
    assert offsets(lake, "erased/sales") == [2]
    assert assert_proven(lake).account.partitions[0].erased == 1
    lake.settings = cured(lake.settings)
    lake.restart()
    assert finish(lake.bronze, NOW).rows == 4
    part = assert_proven(lake).account.partitions[0]
    assert (part.bronze, part.quarantine, part.erased) == (6, 0, 1)


def assert_replay_completes(lake):
    again(lake)
    assert offsets(lake, "bronze/sales") == [0, 1, 3, 4, 5, 6]
    assert quarantined(lake) == [2]
    assert_proven(lake)


def assert_flow_completes(lake, *, entered):
    finish(lake.bronze, NOW)
    lake.land(encode(sale(event_id="new")), 7)
    held = [0, 1, 3, 4, 5, 6, 7] if entered else [0, 3, 7]
    assert offsets(lake, "bronze/sales") == held
    assert_proven(lake, end=8)
    lake.restart()
    assert finish(lake.bronze, NOW) is None


def test_a_cut_replay_that_no_longer_passes_is_taken_back(lake):
    subprocess.run(
        [sys.executable, "-c", KILLED, "marks committed", lake.settings.lake.root],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    lake.restart()
    done = finish(lake.bronze, NOW)
    assert (done.rows, done.refused) == (0, 4)
    assert quarantined(lake) == [1, 2, 4, 5, 6]
    assert_proven(lake)


def test_a_replay_in_many_parts_is_the_same(lake, monkeypatch):
    monkeypatch.setattr("lakehouse.operations.quarantine.CHUNK_BYTES", 1)
    done = again(lake)
    assert (done.entered, done.duplicates) == (4, 2)
    assert_proven(lake)


# The command


def run(lake, *words, code=Exit.OK, **environment):
    words = ["quarantine", *words, "--root", lake.settings.lake.root]
    done = CliRunner().invoke(app, words, env={k: str(v) for k, v in environment.items()})
    if isinstance(done.exception, SystemExit | type(None)):
        assert done.exit_code == code, done.output
        return done.stdout
    raise done.exception


def cure(**more):
    return {"LAKEHOUSE_SALES_EARLIEST": "1990-01-01", **more}


def test_list_is_filtered_and_capped(lake):
    found = json.loads(run(lake, "list", "--json"))["sales"]
    assert [row["address"] for row in found] == [f"sales/0/{n}" for n in (1, 2, 4, 5, 6)]
    found = json.loads(run(lake, "list", "--verdict", "UTF-8", "--json"))["sales"]
    assert [row["beginning"] for row in found] == ["{\\xff"]
    text = run(lake, "list", "--limit", "2")
    assert "2 OF 5" in text
    assert "sales/0/4" not in text
    run(lake, "replay", "--json", **cure())
    assert len(json.loads(run(lake, "list", "--json"))["sales"]) == 1
    assert len(json.loads(run(lake, "list", "--replayed", "--json"))["sales"]) == 5


def test_show_gives_the_bytes_and_both_verdicts(lake):
    found = json.loads(run(lake, "show", "sales/0/1", "--json", **cure()))
    assert json.loads(found["value"]["text"])["event_id"] == "old1"
    assert found["passes_now"]
    assert "is before 2000-01-01" in found["verdict"]
    assert found["headers"] == [{"key": "h", "value": {"text": "v", "bytes": 1}}]
    found = json.loads(run(lake, "show", "0/2", "--json"))
    assert found["value"] == {"hex": "7bff", "bytes": 2}
    text = run(lake, "show", "0/2")
    assert "00000000  7b ff" in text
    assert "{." in text
    run(lake, "replay", "0/1", **cure())
    assert "into bronze version 3" in run(lake, "show", "0/1")


def test_what_data_says_is_never_obeyed(settings):
    lake = Lake(settings)
    lake.land([b'{"event_id": "\x1b[2J\xe2\x80\xae"'], 0)
    for words in (["list"], ["show", "0/0"], ["list", "--json"], ["show", "0/0", "--json"]):
        text = run(lake, *words)
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_stats_say_what_passes_now(lake):
    found = json.loads(run(lake, "stats", "--json", **cure()))["sales"]
    assert [(r["verdict"].strip(), r["quarantined"], r["pass_now"]) for r in found] == [
        ("'event_time' is before 2000-01-01", 4, 4), ("the value is not UTF-8", 1, 0),
    ]  # fmt: skip
    run(lake, "replay", **cure())
    found = json.loads(run(lake, "stats", "--json"))["sales"]
    assert [(r["quarantined"], r["replayed"]) for r in found] == [(1, 0), (0, 4)]


def test_replay_by_address_says_no_where_it_breaks_still(lake):
    assert (
        json.loads(run(lake, "replay", "0/2", "--json", code=Exit.FAULT))["sales"]["refused"] == 1
    )
    run(lake, "replay", "sales/0/1", "sales/0/5", **cure())
    assert quarantined_after(lake) == [2, 4, 6]
    run(lake, "replay", "sales/0/1", **cure())
    assert quarantined_after(lake) == [2, 4, 6], "again is no fault, and changes nothing"


def quarantined_after(lake):
    lake.restart()
    return quarantined(lake)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["show", "1"], UsageError), (["show", "other/0/1"], UsageError),
        (["show", "0/99"], UsageError), (["replay", "0/99"], UsageError),
        (["replay", "-1/2"], UsageError), (["show", "../../etc/passwd"], UsageError),
    ],
)  # fmt: skip
def test_wrong_addresses_are_told(lake, words, error):
    if words[1].startswith("-"):
        words = [words[0], "--", words[1]]
        with pytest.raises(error):
            CliRunner().invoke(app, ["quarantine", words[0], "--root", lake.settings.lake.root,
                                     *words[1:]], catch_exceptions=False)  # fmt: skip
        return
    with pytest.raises(error):
        run(lake, *words)


def test_no_quarantine_is_said(tmp_path):
    with pytest.raises(TableMissing):
        CliRunner().invoke(
            app, ["quarantine", "stats", "--root", str(tmp_path)], catch_exceptions=False
        )


def test_the_contract_in_use_decides(lake):
    with opened("sales", cured(lake.settings)) as quarantine:
        assert quarantine.topic_id == "t1"
        assert quarantine.judge(Choice())["passes"].to_pylist().count(True) == 4
    assert SALES.version == 2
