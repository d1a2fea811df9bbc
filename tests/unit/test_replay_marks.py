"""A mark is true when bronze holds the record, and no other commit makes it so."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse.audit.proof import Verdict
from lakehouse.core.failpoint import VARIABLE, Step
from lakehouse.ingest.erased import ErasedLedger
from lakehouse.ingest.replay import finish
from lakehouse.ingest.topic import Topic
from lakehouse.operations.erase import erase
from lakehouse.operations.maintain import maintain
from lakehouse.operations.quarantine import Choice, opened
from tests.conftest import NOW, encode, sale, settings_at
from tests.support.audited import Kafka, proof
from tests.support.lake import ALWAYS, copied
from tests.support.quarantined import (
    OLD,
    ROOT,
    again,
    assert_proven,
    cured,
    killed,
    offsets,
    quarantined,
)


def two_files(quarantined_root, settings):
    """Two files of bronze, so that upkeep has something to compact; offsets 0 to 7."""
    lake = copied(quarantined_root, settings)
    lake.land(encode(sale(event_id="more", order_id="o8")), 7)
    lake.fold()
    return lake


@pytest.fixture
def lake(quarantined_root, settings):
    """A lake of two files that nothing was replayed in."""
    return two_files(quarantined_root, settings)


@pytest.fixture(scope="module")
def cut_root(quarantined_root, tmp_path_factory):
    """The root of the same lake after a replay that died when its marks were committed."""
    lake = two_files(quarantined_root, settings_at(tmp_path_factory.mktemp("cut") / "lake"))
    root = lake.settings.lake.root
    step = "marks committed"
    return killed(root, tmp_path_factory.mktemp("killed"), [step])[step]


def test_the_verb_is_killed_at_its_failpoint_and_upkeep_commits(lake):
    """As the row ``replay-marked`` of the crash matrix does it."""
    words = [sys.executable, "-m", "lakehouse"]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LAKEHOUSE_")}
    kept |= {"LAKEHOUSE_LAKE_ROOT": lake.settings.lake.root}
    cure = {"LAKEHOUSE_SALES_EARLIEST": "1990-01-01", VARIABLE: f"{Step.REPLAY_MARKED.value}:1"}
    killed = subprocess.run(
        [*words, "quarantine", "replay"], cwd=ROOT, env=kept | cure, check=False
    )
    assert killed.returncode == -9
    lake.restart()
    assert sum(lake.rows("quarantine/sales")["replayed_version"].notna()) == 4
    maintain(["bronze.sales"], lake.settings, NOW)
    lake.settings = cured(lake.settings)
    lake.restart()
    assert quarantined(lake) == [1, 2, 4, 5, 6]
    assert finish(lake.bronze, NOW).rows == 4
    assert_proven(lake, end=8)


def others_commit(lake, what):
    """Another commit of bronze, under the version that the marks name."""
    before = lake.bronze.bronze.version
    if what == "maintain":
        maintain(["bronze.sales"], lake.settings, NOW)
    elif what == "accept-gap":
        lake.bronze.position.accept(Topic("sales", "t1", {0: (10, 12)}))
    elif what == "a batch":
        lake.land(encode(sale(event_id="new")), 8)
    else:
        DeltaTable(lake.bronze.bronze.uri).optimize.z_order(["event_id"])
    lake.restart()
    assert lake.bronze.bronze.version > before


@pytest.mark.parametrize(
    ("what", "end"), [("maintain", 8), ("accept-gap", 10), ("a batch", 9), ("a stranger", 8)]
)
def test_another_commit_does_not_complete_a_cut_replay(cut_root, settings, what, end):
    lake = copied(cut_root, settings)
    others_commit(lake, what)
    assert quarantined(lake) == [1, 2, 4, 5, 6]
    with opened("sales", lake.settings) as quarantine:
        assert quarantine.count(Choice()) == 5
    at_once = proof(lake, Kafka(end=end, beginning=10 if end == 10 else 0))
    assert at_once.faults == ()
    assert at_once.account.partitions[0].quarantine == 5
    lake.settings = cured(lake.settings)
    lake.restart()
    assert finish(lake.bronze, NOW).rows == 4
    assert [o for o in offsets(lake, "bronze/sales") if o < 7] == [0, 1, 3, 4, 5, 6]
    assert quarantined(lake) == [2]
    lake.fold()
    assert proof(lake, Kafka(end=end, beginning=10 if end == 10 else 0)).faults == ()


def test_a_replay_that_bronze_was_restored_from_before_is_undone(lake):
    before = lake.bronze.bronze.version
    again(lake)
    DeltaTable(lake.bronze.bronze.uri).restore(before)
    others_commit(lake, "maintain")
    assert quarantined(lake) == [1, 2, 4, 5, 6]
    lake.restart()
    finish(lake.bronze, NOW)
    assert_proven(lake, end=8)
    marks = lake.rows("quarantine/sales")["replayed_version"]
    assert marks.isna().all(), "upkeep does not hide that bronze went back"
    assert again(lake).entered == 4
    assert_proven(lake, end=8)


def test_a_replayed_row_outlives_every_version_without_its_record(lake):
    """quarantine_retention goes by the time of quarantine; the replay is younger."""
    before = lake.bronze.bronze.version
    again(lake)
    keep = {"quarantine_retention": timedelta(days=1), "vacuum_interval": ALWAYS}
    lake.settings = lake.settings.changed(maintenance=keep)
    lake.restart()
    lake.bronze.maintain(NOW + timedelta(days=2))
    DeltaTable(lake.bronze.bronze.uri).restore(before)
    lake.restart()
    part = proof(lake, Kafka(end=8)).account.partitions[0]
    assert (part.bronze, part.quarantine, part.erased, part.missing) == (3, 4, 1, 0)


def test_what_is_erased_from_bronze_is_erased_from_quarantine_and_stays_away(lake):
    """A copy of the client's event under another name: its bytes do not name the client."""
    values = encode(
        sale(event_id="m", client_id="Gone"), sale(event_id="m", client_id="c9", event_time=OLD)
    )
    lake.land(values, 8)
    again(lake)
    lake.silver.catch_up()
    erase("Gone", "sales", lake.settings, NOW)
    lake.settings = cured(lake.settings)
    lake.restart()
    assert 9 not in offsets(lake, "quarantine/sales")
    assert finish(lake.bronze, NOW) is None
    assert 9 not in offsets(lake, "bronze/sales")
    assert proof(lake, Kafka(end=10)).verdict is Verdict.PROVEN


def test_an_erased_address_is_not_replayed(lake):
    """Where only its row in bronze was erased, as releases before did."""
    again(lake)
    ledger = ErasedLedger("sales", lake.settings, lake.connection)
    rows = lake.connection.sql(
        'SELECT topic, "partition", "offset", batch_id, CAST(NULL AS VARCHAR) AS topic_id '
        f'FROM read_parquet({lake.bronze.bronze.files()!r}) WHERE "offset" = 5'
    ).to_arrow_table()
    ledger.add({"bronze": rows}, NOW, {})
    lake.bronze.bronze.delete('"offset" = 5', {})
    lake.settings = cured(lake.settings)
    lake.restart()
    assert finish(lake.bronze, NOW) is None
    assert offsets(lake, "bronze/sales") == [0, 1, 3, 4, 6, 7]
    assert quarantined(lake) == [2]
    part = proof(lake, Kafka(end=8)).account.partitions[0]
    assert (part.bronze, part.quarantine, part.erased) == (6, 1, 1)
    assert Path(ledger.table.uri).exists()
