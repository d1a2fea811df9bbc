"""The times that Kafka gives records: any 64 bits of milliseconds, as a producer's clock has it."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.ingest.verdict import Explained

TIME = pa.timestamp("us", "UTC")
FIRST = pa.scalar(datetime(1, 1, 1, tzinfo=UTC), TIME)
LAST = pa.scalar(datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC), TIME)
"""What a time may be in UTC: Arrow has room for more than Python."""
_FROM = pa.scalar(datetime(2, 1, 1, tzinfo=UTC), TIME)
_BEFORE = pa.scalar(datetime(9998, 1, 1, tzinfo=UTC), TIME)
"""Where a record's time may lie: what is reckoned from it stays in the calendar."""
_FAULT = "its Kafka time is outside the years 2 to 9997: {0} ms since 1970"


def kafka_times(told: pa.Array) -> tuple[pa.Array, dict[int, Explained]]:
    """Times in the calendar, and the verdict of each row whose own lies too far away.

    One beyond the calendar becomes its first or last moment, and the verdict has it as
    Kafka does. A producer that counts microseconds gives the year 57,000.
    """
    far = pc.or_(pc.less(told, _FROM), pc.greater_equal(told, _BEFORE))
    if not pc.any(far).as_py():
        return told, {}
    micros = told.cast(pa.int64())
    bad = {
        row: Explained({}, None, _FAULT.format(micros[row].as_py() // 1000))
        for row in pc.indices_nonzero(far).to_pylist()
    }
    known = pc.if_else(pc.less(told, FIRST), FIRST, pc.if_else(pc.greater(told, LAST), LAST, told))
    return known, bad
