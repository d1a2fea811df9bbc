"""Quarantine and the ledger know which topic a record is of: an address may come again."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from typer.testing import CliRunner

from lakehouse.audit.proof import Verdict
from lakehouse.cli.app import app
from lakehouse.ingest.schemas import QUARANTINE_SCHEMA
from lakehouse.ingest.topic import Topic
from lakehouse.operations.erase import erase
from lakehouse.operations.quarantine import Choice, opened
from lakehouse.operations.replay_quarantine import replay
from tests.conftest import NOW, encode, sale
from tests.support.audited import Kafka, proof
from tests.support.lake import ALWAYS, Lake, recreated
from tests.support.quarantined import OLD, again, cured, offsets


@pytest.fixture
def crashed(settings):
    """The first batch of topic t1, whose quarantine committed and whose bronze did not."""
    lake = Lake(settings)
    before = Path(lake.bronze.bronze.uri)
    shutil.copytree(before, before.with_name("kept"))
    lake.land([b"{", *encode(sale(event_id="a", event_time=OLD, client_id="c8"))], 0)
    shutil.rmtree(before)
    before.with_name("kept").rename(before)
    return lake


NEW = [*encode(sale(event_id="n1")), b"[", *encode(sale(event_id="n2", order_id="o2"))]


def test_new_records_at_addresses_of_a_topic_that_is_gone_are_landed(crashed):
    recreated(crashed, NEW)
    assert offsets(crashed, "bronze/sales") == [0, 2]
    rows = crashed.rows("quarantine/sales")
    assert sorted(zip(rows["offset"], rows["topic_id"], strict=True)) == [
        (0, "t1"), (1, "t1"), (1, "t2"),
    ]  # fmt: skip
    found = proof(crashed, Kafka(end=3, topic_id="t2"))
    assert (found.verdict, found.faults, found.doubts) == (Verdict.PROVEN, (), ())
    part = found.account.partitions[0]
    assert (part.bronze, part.quarantine, found.account.former) == (2, 1, 2)


def test_a_record_of_a_topic_that_is_gone_is_shown_without_a_verdict_of_now(crashed):
    recreated(crashed, NEW)
    words = ["quarantine", "show", "sales/0/0", "--root", crashed.settings.lake.root]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.exception
    assert "its topic was recreated since" in done.stdout
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert (found["passes_now"], found["verdict_now"]) == (None, None)
    words[2] = "sales/0/1"  # both topics had such a record, and both broke their contract
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert (found["topic_id"], found["value"]["text"]) == ("t2", "[")
    assert found["verdict"] == found["verdict_now"]


def test_the_same_topic_goes_on_with_what_quarantine_holds(crashed):
    crashed.restart(topic_id=None)
    crashed.bronze.position.reconcile_topic(Topic("sales", "t1", {0: (0, 2)}))
    crashed.land([b"{", *encode(sale(event_id="a", event_time=OLD, client_id="c8"))], 0)
    assert offsets(crashed, "quarantine/sales") == [0, 1]
    assert proof(crashed, Kafka(end=2)).verdict is Verdict.PROVEN


def test_a_topic_rebuilt_twice_doubles_no_former_address(crashed):
    recreated(crashed, NEW)
    crashed.restart(topic_id=None)
    crashed.bronze.position.accept(Topic("sales", "t3", {0: (0, 2)}))
    crashed.land(NEW[:2], 0)
    crashed.persist()
    found = proof(crashed, Kafka(end=2, topic_id="t3"))
    assert found.faults == ()
    assert (found.account.former, found.account.former_doubled) == (5, 0)


def test_only_records_of_the_topic_as_it_is_are_replayed(crashed):
    recreated(crashed, [b"[", *encode(sale(event_id="x", event_time=OLD))])
    crashed.restart("t2")
    assert again_at(crashed).entered == 1
    marks = crashed.rows("quarantine/sales").set_index("topic_id")["replayed_version"]
    assert marks["t1"].isna().all()
    assert proof(crashed, Kafka(end=2, topic_id="t2")).faults == ()


def again_at(lake):
    done = replay("sales", cured(lake.settings), Choice(), NOW)
    lake.restart("t2")
    lake.persist()
    return done


def test_what_retention_dropped_of_a_topic_that_is_gone_holds_nothing_back(crashed):
    keep = {"quarantine_retention": timedelta(days=1), "vacuum_interval": ALWAYS}
    crashed.settings = crashed.settings.changed(maintenance=keep)
    crashed.restart()
    crashed.bronze.maintain(NOW + timedelta(days=2))
    assert set(crashed.rows("erased/sales")["topic_id"]) == {"t1"}
    recreated(crashed, NEW)
    assert offsets(crashed, "bronze/sales") == [0, 2]
    found = proof(crashed, Kafka(end=3, topic_id="t2"))
    assert (found.verdict, found.account.partitions[0].erased) == (Verdict.PROVEN, 0)


def test_erasing_one_client_leaves_the_other_topics_record_at_the_address(crashed):
    recreated(crashed, [b"[", *encode(sale(event_id="x", event_time=OLD, client_id="c9"))])
    erase("c8", "sales", crashed.settings, NOW)
    crashed.restart("t2")
    rows = crashed.rows("quarantine/sales")
    assert sorted(zip(rows["offset"], rows["topic_id"], strict=True)) == [
        (0, "t1"), (0, "t2"), (1, "t2"),
    ]  # fmt: skip
    found = proof(crashed, Kafka(end=2, topic_id="t2"))
    assert (found.faults, found.doubts) == ((), ())


def test_a_table_without_topic_ids_is_widened_and_goes_on(crashed):
    """As a lake of an earlier release has it: what it holds counts as of the topic met first."""
    uri = crashed.bronze.quarantine.uri
    rows = crashed.bronze.quarantine.rows()
    names = [n for n in QUARANTINE_SCHEMA.names if n != "topic_id"]
    old = pa.schema([QUARANTINE_SCHEMA.field(n) for n in names])
    write_deltalake(uri, rows.select(names).cast(old), mode="overwrite", schema_mode="overwrite")
    crashed.restart("t1")
    crashed.land([b"{", *encode(sale(event_id="a", event_time=OLD, client_id="c8"), sale())], 0)
    assert offsets(crashed, "quarantine/sales") == [0, 1]
    assert offsets(crashed, "bronze/sales") == [2]
    assert again(crashed).entered == 1
    with opened("sales", crashed.settings) as quarantine:
        assert quarantine.count(Choice()) == 1
