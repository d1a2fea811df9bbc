"""Bronze whose log no longer says how far it holds its topic: nothing is landed twice."""

import pytest
from deltalake import DeltaTable

from lakehouse.audit.proof import Verdict
from lakehouse.core.errors import TableDamaged
from lakehouse.ingest.topic import Topic
from lakehouse.ingest.writers.arrow import ArrowWriter
from tests.conftest import NOW, decoded, encode, sale
from tests.support.audited import Kafka, proof
from tests.support.lake import Lake
from tests.support.logs import shorten
from tests.support.quarantined import offsets

VALUES = [*encode(sale(event_id="a")), b"{", *encode(sale(event_id="b", order_id="o2")), b"["]
LATER = encode(sale(event_id="c", order_id="o3"))


def topic(after=5, id_="t1"):
    return Topic("sales", id_, {0: (0, after)})


def spark_landed(lake):
    """As Spark's writer leaves it: its commits have no application transactions."""
    append = lake.bronze.bronze.append
    lake.bronze.bronze.append = lambda rows, note, _transactions: append(rows, note)
    lake.land(VALUES, 0)


def forget_ends(lake):
    """Upkeep by a stranger, after which the log is shortened to its commit."""
    DeltaTable(lake.bronze.bronze.uri).optimize.z_order(["event_id"])
    shorten(lake.bronze.bronze.uri)


@pytest.fixture(params=["arrow", "spark"])
def lake(settings, request):
    lake = Lake(settings)
    if request.param == "spark":
        spark_landed(lake)
    else:
        lake.land(VALUES, 0)
    forget_ends(lake)
    return lake


def start(lake, now):
    """A start of the flow: it does not know the topic's id before it meets the topic."""
    lake.restart(topic_id=None)
    assert lake.bronze.bronze.last_note("ends") is None
    lake.bronze.position.refuse(lake.bronze.position.reconcile_topic(now))


def go_on(lake):
    first = lake.bronze.position.ends.next[0]
    values = [*VALUES, *LATER][first:]
    ArrowWriter(lake.bronze).publish(decoded(values, first=first), {0: 5}, NOW)
    lake.persist()


def test_the_same_topic_goes_on_and_lands_nothing_twice(lake):
    start(lake, topic())
    assert lake.bronze.position.ends.topic_id == "t1"
    assert lake.bronze.position.ends.next == {0: 3}
    go_on(lake)
    assert offsets(lake, "bronze/sales") == [0, 2, 4]
    assert offsets(lake, "quarantine/sales") == [1, 3]
    found = proof(lake, Kafka(end=5))
    assert found.faults == ()
    assert not any("recreated" in doubt for doubt in found.doubts)


def test_a_topic_rebuilt_is_still_told(lake):
    """By the id that quarantine's rows have."""
    with pytest.raises(TableDamaged, match="recreated"):
        start(lake, topic(id_="t2"))


def test_without_any_record_of_the_id_nothing_is_landed_twice(settings):
    lake = Lake(settings)
    append = lake.bronze.bronze.append
    lake.bronze.bronze.append = lambda rows, note, _transactions: append(rows, note)
    lake.land(encode(sale(event_id="a"), sale(event_id="b", order_id="o2")), 0)
    forget_ends(lake)
    start(lake, topic(after=3))
    assert lake.bronze.position.ends.next == {0: 2}
    lake.land(LATER, 2)
    assert offsets(lake, "bronze/sales") == [0, 1, 2]
    start_again = lake.bronze.position.ends
    lake.restart("t1")
    assert lake.bronze.position.ends == start_again


def test_the_audit_finds_the_ends_in_the_rows_whoever_wrote_them(lake):
    found = proof(lake, Kafka(end=5))
    assert found.verdict is Verdict.CANNOT_TELL
    assert any("its rows alone do" in doubt for doubt in found.doubts)
    part = found.account.partitions[0]
    assert (part.bronze, part.quarantine, part.end) == (2, 1, 3)
    start(lake, topic())
    go_on(lake)
    assert not any("its rows alone do" in doubt for doubt in proof(lake, Kafka(end=5)).doubts)
