"""A record's Kafka time may be any 64 bits of ms: a producer's clock stops no flow and no audit."""

from dataclasses import replace

import pyarrow as pa
import pytest

from lakehouse.audit.proof import Verdict
from lakehouse.ingest.decode import decode_batch, decoded_schema
from lakehouse.ingest.writers.arrow import ArrowWriter
from tests.conftest import NOW, RULES, SALES, encode, records, sale
from tests.support.content import Topic, proof
from tests.support.lake import Lake

VALUES = [*encode(sale(event_id="a"), sale(event_id="b", note="?")), b"{", None]
CALENDAR = {"year 9999": 253_402_300_000_000, "year 1": -62_135_596_800_000}
BEYOND = {"µs for ms": 1_763_640_000_000_000, "far back": -9_000_000_000_000_000}


class Clock(Topic):
    """A broker whose records all have one time, in ms."""

    time = 0

    def records(self, gaps):
        yield from (replace(record, time=self.time) for record in super().records(gaps))


def land(lake, ms):
    batch = records(VALUES)
    micros = pa.array([ms * 1000] * len(VALUES), pa.int64()).cast(pa.timestamp("us", "UTC"))
    batch = batch.set_column(batch.schema.get_field_index("timestamp"), "timestamp", micros)
    rows = pa.Table.from_batches(decode_batch(batch, SALES, RULES), decoded_schema(SALES))
    return ArrowWriter(lake.bronze).publish(rows, {0: len(VALUES)}, NOW)


@pytest.mark.parametrize("ms", [*CALENDAR.values(), *BEYOND.values()], ids=[*CALENDAR, *BEYOND])
def test_a_clock_that_is_far_off_is_a_verdict(settings, ms):
    lake = Lake(settings)
    landed = land(lake, ms)
    assert (landed.good, landed.bad) == (0, len(VALUES))
    lake.fold()
    kafka = Clock(VALUES)
    kafka.time = ms
    found = proof(lake, kafka)
    assert (found.verdict, found.faults, found.doubts) == (Verdict.PROVEN, (), ())
    rows = lake.bronze.quarantine.rows().to_pylist()
    told = f"its Kafka time is outside the years 2 to 9997: {ms} ms since 1970"
    assert {row["verdict"] for row in rows} == {told}
    lake.restart()
    lake.land(encode(sale(event_id="c")), len(VALUES))
    assert lake.bronze.position.ends.next == {0: len(VALUES) + 1}


def test_the_last_time_that_is_taken_leaves_a_table_that_opens_again(settings):
    lake = Lake(settings)
    ms = 253_339_228_799_999
    values = encode(sale(event_time="9997-12-31T23:59:59Z", note="?"))
    batch = records(values)
    micros = pa.array([ms * 1000], pa.int64()).cast(pa.timestamp("us", "UTC"))
    batch = batch.set_column(batch.schema.get_field_index("timestamp"), "timestamp", micros)
    rows = pa.Table.from_batches(decode_batch(batch, SALES, RULES), decoded_schema(SALES))
    assert ArrowWriter(lake.bronze).publish(rows, {0: 1}, NOW).good == 1
    lake.restart()
    lake.land(encode(sale(event_id="c")), 1)
    assert lake.bronze.position.ends.next == {0: 2}
