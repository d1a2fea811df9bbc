"""What quarantine lost is read from Kafka again, whatever runs between its repair and the flow."""

import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse.audit.proof import Verdict
from lakehouse.ingest.topic import Topic
from lakehouse.operations.erase import erase
from lakehouse.operations.repair import Repair
from tests.conftest import NOW, encode, sale
from tests.support.audited import Kafka, proof
from tests.support.lake import Lake
from tests.support.quarantined import offsets

VALUES = [
    *encode(sale(event_id="a"), sale(event_id="b", client_id="c3", order_id="o2")),
    b"{",
    *encode(sale(event_id="c", order_id="o3")),
]
TOPIC = Topic("sales", "t1", {0: (0, len(VALUES))})


def landed_again(lake):
    """The flow starts, and lands from the ends on."""
    lake.restart()
    first = lake.bronze.position.ends.next.get(0, 0)
    lake.land(VALUES[first:], first)
    lake.persist()


@pytest.fixture
def repaired(settings):
    """A lake whose quarantine lost its only file and was repaired."""
    lake = Lake(settings)
    landed_again(lake)
    Path(lake.bronze.quarantine.files()[0]).unlink()
    Repair("quarantine.sales", settings, lambda: TOPIC, lambda _: None).run()
    assert DeltaTable(lake.bronze.quarantine.uri).count() == 0
    return lake


def check(lake):
    assert offsets(lake, "quarantine/sales") == [2]
    found = proof(lake, Kafka(end=len(VALUES)))
    assert (found.verdict, found.faults, found.doubts) == (Verdict.PROVEN, (), ())


def test_fingerprints_begin_again_where_no_row_is_left(repaired):
    landed_again(repaired)
    check(repaired)


def test_an_erasure_that_forgets_history_remembers_what_quarantine_lacks(repaired):
    shutil.rmtree(Path(repaired.settings.lake.root, "_aside"), ignore_errors=True)
    erase("c3", "sales", repaired.settings, NOW)
    landed_again(repaired)
    check(repaired)
