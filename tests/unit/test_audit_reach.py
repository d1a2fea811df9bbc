"""The audit's first line says how far it looked, and nothing that waits is passed over."""

import json
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse.audit.proof import Verdict
from lakehouse.cli.audit import _exit_code
from lakehouse.core.errors import Exit, ServiceUnavailable
from lakehouse.core.text import as_json
from lakehouse.ingest.topic import Topic
from tests.conftest import encode, sale
from tests.support.audited import Kafka, proof, without
from tests.support.lake import Lake, left_alone


@pytest.fixture
def lake(audited_root, settings):
    return left_alone(audited_root, settings)


class Partitioned(Kafka):
    """A topic of partitions with these first and next offsets."""

    def __init__(self, **ranges):
        super().__init__()
        self.ranges = {int(name[1:]): pair for name, pair in ranges.items()}

    def topic(self):
        return Topic("sales", self.topic_id, self.ranges)


def events(first, count):
    return encode(*[sale(event_id=f"e{n}", order_id=f"o{n}") for n in range(first, first + count)])


def test_a_whole_lake_is_proven_of_all_its_records(lake):
    found = proof(lake)
    assert found.headline == "PROVEN: 10 of 10 records, content not looked at"
    assert json.loads(as_json(found.as_dict()))["headline"] == found.headline
    assert _exit_code([found], caught_up=True) is Exit.OK


def test_a_lake_that_took_nothing_in_says_so(settings):
    found = proof(Lake(settings), Kafka(end=401))
    assert found.headline.startswith("PROVEN so far: 0 of 401 records are landed")
    assert found.as_dict()["records"]["caught_up"] is False
    assert _exit_code([found], caught_up=False) is Exit.OK
    assert _exit_code([found], caught_up=True) is Exit.FAULT


def test_markers_that_wait_are_no_records(lake):
    found = proof(lake, Kafka(end=12, markers=(10,), aborted=(11,)))
    assert found.reach.is_caught_up


def test_silver_that_took_nothing_in_is_not_proven_without_saying_so(settings):
    lake = Lake(settings)
    lake.land(events(0, 3), 0)
    found = proof(lake, Kafka(end=3))
    assert found.verdict is Verdict.PROVEN
    assert "PROVEN so far: 3 of 3 records are landed" in found.headline
    assert "tables of silver behind by up to 3 rows" in found.headline
    assert _exit_code([found], caught_up=True) is Exit.FAULT


def test_compaction_of_bronze_leaves_silver_where_it_is(lake):
    DeltaTable(lake.bronze.bronze.uri).optimize.compact()
    assert proof(lake).reach.is_caught_up


def test_a_partition_that_the_ends_lack_is_counted(lake):
    found = proof(lake, Partitioned(p0=(0, 10), p1=(0, 25)))
    assert found.headline.startswith("PROVEN so far: 10 of 35 records are landed")


def test_records_of_a_new_partition_that_expired_unread_cannot_be_told(lake):
    found = proof(lake, Partitioned(p0=(0, 10), p1=(7, 25)))
    assert found.verdict is Verdict.CANNOT_TELL
    assert found.doubts == ("partition 1: 7 offsets expired in Kafka before bronze took them",)


def test_a_partition_that_the_topic_lacks_cannot_be_told(lake):
    found = proof(lake, Partitioned(p3=(0, 0)))
    assert "the topic has no such partition" in found.doubts[0]


def test_rows_deleted_at_the_low_end_are_missed_when_kafka_expired_them(lake):
    without(lake, "bronze/sales", '"offset" < 3')
    without(lake, "quarantine/sales", "true")
    found = proof(lake, Kafka(beginning=6))
    assert found.verdict is Verdict.NOT_PROVEN
    assert "partition 0: bronze has landed offset 0" in found.faults[0]
    assert found.account.partitions[0].expired == 4


def test_the_lowest_offset_is_that_of_the_first_record_not_of_the_topic(settings):
    lake = Lake(settings)
    lake.land(events(0, 3), 40)
    lake.land([b"{", *events(3, 1)], 43)
    lake.silver.catch_up()
    lake.restart()
    assert lake.bronze.position.ends.first == {0: 40}
    assert proof(lake, Kafka(beginning=40, end=45)).verdict is Verdict.PROVEN


def test_a_table_that_does_not_record_it_is_read_as_before(lake):
    log = Path(lake.bronze.bronze.uri, "_delta_log")
    for entry in log.glob("*.json"):
        entry.write_text(entry.read_text().replace('\\"first\\"', '\\"f\\"'))
    assert proof(lake, Kafka(beginning=5)).verdict is Verdict.PROVEN


class Away(Kafka):
    """A broker that does not answer."""

    def topic(self):
        raise ServiceUnavailable("Kafka", "does not answer", "start it")


def told(found):
    return json.loads(as_json(found.as_dict()))


def test_what_kafka_was_not_asked_is_unknown_and_not_caught_up(lake):
    found = proof(lake, Away())
    assert _exit_code([found], caught_up=True) is Exit.NO_TABLE
    assert found.reach.is_caught_up is None
    assert found.headline.startswith("CANNOT TELL: 10 of an unknown number of records")
    records = told(found)["records"]
    names = ("waiting", "of", "caught_up", "content_expired")
    assert {name: records[name] for name in names} == dict.fromkeys(names)
    [partition] = told(found)["account"]["partitions"]
    names = ("missing", "aborted", "markers", "expired", "unread", "waiting", "kept", "kafka_end")
    assert {name: partition[name] for name in names} == dict.fromkeys(names)


def test_silver_that_is_behind_is_so_whether_kafka_answers_or_not(settings):
    lake = Lake(settings)
    lake.land(events(0, 3), 0)
    found = proof(lake, Away())
    assert found.reach.is_caught_up is False
    assert _exit_code([found], caught_up=True) is Exit.FAULT


def test_what_could_not_be_read_is_null_and_not_0(lake):
    Path(DeltaTable(lake.bronze.bronze.uri).file_uris()[0]).unlink()
    found = told(proof(lake))
    assert (found["account"], found["flags"], found["records"]["caught_up"]) == (None, None, None)


def test_a_table_that_could_not_be_compared_has_no_count_of_differences(lake):
    uri = lake.bronze.bronze.uri.replace("/bronze/sales", "/silver/sales_by_country")
    Path(DeltaTable(uri).file_uris()[0]).unlink()
    found = told(proof(lake))
    [table] = [t for t in found["tables"] if t["table"] == "silver.sales_by_country"]
    assert (table["differing"], table["lacking"]) == (None, None)
    assert found["records"]["caught_up"] is None
    assert found["records"]["lacking"] == {"silver.sales_by_country": None}
