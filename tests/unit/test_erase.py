"""A client that was erased is nowhere: no row, no old file, no statistic; and all still adds up."""

import json
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

from lakehouse.audit.proof import Verdict
from lakehouse.cli.app import app
from lakehouse.cli.erase import _report
from lakehouse.core.errors import TableLocked, TableMissing, UsageError
from lakehouse.core.lock import write_locks
from lakehouse.core.paths import Lake as Paths
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.ingest.replay import finish
from lakehouse.operations.erase import Erased, erase, is_begun
from lakehouse.operations.person import find, naming
from tests.conftest import NOW, encode, long, sale, settings_at
from tests.support.audited import Kafka, proof
from tests.support.erased import GONE, OTHER, ROOT, assert_gone, bad, erased, traces, values
from tests.support.lake import (
    AtRest,
    Lake,
    assert_silver_is_a_function_of_bronze,
    left_alone,
)


def test_an_erasure_takes_the_event_ids_that_were_kept(lake):
    lake.land(encode(sale(event_id="k", client_id=GONE)), 10)
    lake.bronze.persist()
    folder = Paths(lake.settings.lake.root).state("sales.bronze")
    assert (folder / "store.json").exists()
    erased(lake)
    assert not folder.exists()


@pytest.fixture
def lake(erasable_root, settings):
    return left_alone(erasable_root, settings)


@pytest.fixture
def without_client(erased_root, settings):
    """The same lake, from which the client was erased."""
    return left_alone(erased_root, settings)


def test_nothing_of_the_client_is_left_and_the_account_holds(lake):
    assert len(traces(lake.settings.lake.root)) > 10
    done = erased(lake)
    assert (done.bronze, done.quarantine, done.audits) == (5, 3, 1)
    at_once = proof(lake, Kafka(end=10))
    assert at_once.verdict is Verdict.PROVEN, at_once.doubts
    assert {t.behind for t in at_once.tables} == {0}
    assert sorted(lake.rows("bronze/sales")["offset"]) == [0, 3]
    assert list(lake.rows("quarantine/sales")["offset"]) == [8], "c1 is not found in c12"
    found = assert_gone(lake)
    part = found.account.partitions[0]
    assert (part.bronze, part.quarantine, part.erased, part.missing) == (2, 1, 7, 0)
    ledger = lake.rows("erased/sales")
    assert sorted(zip(ledger["offset"], ledger["table"], strict=True)) == [
        (1, "bronze.sales"), (2, "bronze.sales"), (4, "bronze.sales"), (5, "bronze.sales"),
        (5, "quarantine.sales"), (6, "quarantine.sales"), (7, "quarantine.sales"),
        (9, "bronze.sales"),
    ]  # fmt: skip
    assert set(lake.rows("silver/sales_by_client")["client_id"]) == {"c1", OTHER}
    assert set(lake.rows("silver/sales_by_country")["country"]) == {"Germany"}


def test_rows_of_others_are_what_they_were(erasable_root, without_client):
    before = AtRest(settings_at(erasable_root)).rows("bronze/sales")
    rows = without_client.rows("bronze/sales").sort_values("offset").reset_index(drop=True)
    kept = before[before["offset"].isin([0, 3])].sort_values("offset").reset_index(drop=True)
    assert rows.astype(str).equals(kept.astype(str))


def test_the_flow_goes_on_behind_it(lake):
    ends = lake.bronze.position.ends
    erased(lake)
    assert lake.bronze.position.ends == ends
    assert lake.bronze.bronze.last_note("erase") == {"records": 8}
    lake.land(encode(sale(event_id="a"), sale(event_id="n", client_id="c3")), 10)
    assert list(lake.rows("bronze/sales").sort_values("offset")["is_duplicate"]) == [
        False, False, True, False,
    ]  # fmt: skip
    assert_gone(lake, end=12)


def test_time_travel_ends_there(lake):
    version = lake.bronze.bronze.version
    erased(lake)
    with pytest.raises(UsageError, match="no such version"):
        Catalogue(lake.settings.lake.root, version=version).open("bronze.sales")
    assert len(lake.bronze.bronze.dt.history()) == 1


def test_a_record_that_is_read_again_does_not_come_back(without_client):
    """Where ends are computed from the rows, they lie below what was erased last."""
    lake = without_client
    told = lake.bronze.bronze.last_note
    lake.bronze.bronze.last_note = lambda key: None if key == "ends" else told(key)
    lake.bronze.position.ends = lake.bronze.tables.ends_from_rows("t1")
    assert lake.bronze.position.ends.next == {0: 4}
    lake.bronze.position.ahead = lake.bronze.tables.addresses_above(lake.bronze.position.ends)
    lake.land(values()[4:10], 4)
    assert sorted(lake.rows("bronze/sales")["offset"]) == [0, 3]
    lake.restart()
    assert_gone(lake)


def test_again_is_no_harm_and_another_client_is_next(without_client):
    lake = without_client
    version = lake.bronze.bronze.version
    assert len(find(GONE, "sales", lake.settings)) == 0
    assert not is_begun("sales", lake.settings)
    done = erased(lake, OTHER, NOW + timedelta(hours=1))
    assert (done.bronze, done.quarantine) == (1, 0)
    assert done.addresses["offset"].to_pylist() == [3]
    assert lake.bronze.bronze.version > version
    assert traces(lake.settings.lake.root, OTHER) == []
    found = assert_gone(lake)
    assert found.account.partitions[0].erased == 8


def test_a_lake_without_silver_gets_none(settings):
    lake = Paths(settings.lake.root)
    other = Lake(settings)
    other.land(values(), 0)
    shutil.rmtree(lake.join("silver"))
    silver = ["silver.sales_clients"]  # which a flow is about to make, of what goes
    with (
        write_locks(lake.locks, silver, "the first", timedelta(0)),
        pytest.raises(TableLocked, match="written by the first"),
    ):
        erase(GONE, "sales", settings, NOW)
    erase(GONE, "sales", settings, NOW)
    assert not Path(lake.join("silver")).exists()
    assert traces(settings.lake.root) == []


@pytest.mark.parametrize(
    "client", ["x' OR '1'='1", "名前", *long("O'Brien", '"; DROP', "a\\b", "%")]
)
def test_odd_names_are_erased_and_no_others(settings, client):
    lake = Lake(settings)
    lake.land([*encode(sale(event_id="a"), sale(event_id="o", client_id=client)),
               *encode(bad(client, event_id="q"))], 0)  # fmt: skip
    lake.silver.catch_up()
    done = erased(lake, client)
    assert (done.bronze, done.quarantine) == (1, 1)
    assert list(lake.rows("bronze/sales")["event_id"]) == ["a"]
    assert proof(lake, Kafka(end=3)).verdict is not Verdict.NOT_PROVEN


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b'"c1"', True), (b"c1", True), (b"c12", False), (b"xc1", False), (b'{"c1', True),
        (b"c1-b", True), (b"\xc3\xa9c1", False), (b"\xffc1\xff", False), (b"", False),
    ],
)  # fmt: skip
def test_an_id_is_found_as_a_word(text, found):
    assert bool(naming("c1").search(text)) is found


@pytest.mark.parametrize("text", ['"M\\u00fcller"', '"M\\u00FCller"', '"Müller"'])
def test_an_id_is_found_however_json_writes_it(text):
    assert naming("Müller").search(text.encode())


def test_guests_cannot_be_erased_together(lake):
    with pytest.raises(UsageError, match="guest"):
        erased(lake, "")


def test_writers_are_named(lake):
    for table in ("bronze.sales", "silver.sales_clients", "audit.sales"):
        with (
            write_locks(Paths(lake.settings.lake.root).locks, [table], "somebody", timedelta(0)),
            pytest.raises(TableLocked, match="written by somebody, process"),
        ):
            erased(lake)


# Killed with -9 after each of its commits

KILLED = """
import os, signal, sys
from pathlib import Path
from lakehouse.operations.erase import erase
from lakehouse.products.registry import load_settings
from lakehouse.storage import table as delta
from lakehouse.storage import upkeep
from tests.conftest import NOW
from tests.support.erased import GONE, ROOT

left = int(sys.argv[1])

def counted(work):
    def both(*words, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return work(*words, **named)
    return both

for name in ("append", "replace", "delete", "mark"):
    setattr(delta.Table, name, counted(getattr(delta.Table, name)))
for name in ("_remove_old_files", "forget_before"):
    setattr(upkeep, name, counted(getattr(upkeep, name)))
Path.unlink = counted(Path.unlink)
erase(GONE, "sales", load_settings(ROOT / "config.ini").with_root(Path(sys.argv[2])), NOW)
"""


@pytest.mark.parametrize("after", [1, 24, *long(0, 2, 9, 40)])
def test_an_erasure_that_is_killed_is_completed(lake, after):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(after), lake.settings.lake.root],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert killed.returncode == -9, killed.stderr
    lake.restart()
    assert is_begun("sales", lake.settings) is (after > 0)
    finish(lake.bronze, NOW)
    lake.land(encode(sale(event_id="n")), 10)  # the flow runs before it is completed
    lake.fold()
    assert_silver_is_a_function_of_bronze(lake)
    assert proof(lake, Kafka(end=11)).faults == ()
    done = erased(lake)
    assert done.addresses.num_rows == 7
    assert_gone(lake, end=11)
    assert not is_begun("sales", lake.settings)


# The command


def run(lake, *words, code=0, **more):
    words = ["erase", *words, "--root", lake.settings.lake.root]
    environment = {"LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
                   "LAKEHOUSE_KAFKA_REQUEST_TIMEOUT": "1 s"}  # fmt: skip
    done = CliRunner().invoke(app, words, env=environment, **more)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done


def test_it_asks_first(lake):
    before = lake.bronze.bronze.version
    done = run(lake, GONE, input="n\n", code=1)
    assert "cannot be undone" in done.stderr
    assert DeltaTable(lake.bronze.bronze.uri).version() == before


def test_the_command_says_what_it_did_and_what_it_could_not_ask(lake):
    done = run(lake, GONE, "--yes", "--json")
    found = json.loads(done.stdout)["sales"]
    assert (found["bronze"], found["quarantine"], found["erased_addresses"]) == (5, 3, 7)
    assert "no answer" in found["kafka"]["unknown"]
    assert found["kafka"]["partitions"] == [
        {"partition": 0, "first": 1, "last": 9, "records": 7}
    ]  # fmt: skip
    lake.restart()
    assert_gone(lake)
    assert json.loads(run(lake, GONE, "--yes", "--json").stdout) == {}


def test_what_sinks_have_sent_on_is_said():
    found = _report(Erased("activity"), {})["not_touched"]
    assert "what activity.postgres sent on, which goes when it runs next" in found
    assert any(one.startswith("what activity.enriched sent on") for one in found)
    assert len(_report(Erased("sales"), {})["not_touched"]) == len(found) - 2


def test_a_cut_is_said_with_what_to_do(lake, monkeypatch):
    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lakehouse.operations.erase.erase", cut)
    done = run(lake, GONE, "--yes", code=130)
    assert "the erasure was cut" in " ".join(done.stderr.split())


def test_what_is_not_there_is_said(lake, tmp_path):
    assert json.loads(run(lake, "nobody", "--yes", "--json").stdout) == {}
    with pytest.raises(TableMissing):
        CliRunner().invoke(
            app, ["erase", "x", "--yes", "--root", str(tmp_path)], catch_exceptions=False
        )


def test_the_ledger_has_nothing_of_the_person(without_client):
    ledger = DeltaTable(Paths(without_client.settings.lake.root).table("erased.sales"))
    assert pa.schema(ledger.schema().to_arrow()).names == [
        "topic",
        "partition",
        "offset",
        "erased_at",
        "table",
        "batch_id",
        "topic_id",
    ]
