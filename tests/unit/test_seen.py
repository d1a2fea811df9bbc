"""Copies are found in any batching, against a plain recomputation."""

from datetime import timedelta

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.ingest.seen import EventKeys, Seen, copies
from lakehouse.storage.duck import Limits, opened
from tests.conftest import NOW

EVENT_KEYS = EventKeys(opened(Limits("100MB")))
HOUR = 3_600_000_000
ROWS = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 200)), max_size=30)


def table(rows, first):
    return pa.table(
        {
            "event_id": pa.array([e for e, _ in rows], pa.string()),
            "kafka_time": pa.array(
                [NOW + timedelta(minutes=m) for _, m in rows], pa.timestamp("us", "UTC")
            ),
            "partition": pa.array([0] * len(rows), pa.int32()),
            "offset": pa.array(range(first, first + len(rows)), pa.int64()),
        }
    )


@settings(max_examples=150)
@given(st.lists(ROWS, max_size=4))
def test_copies_are_those_with_an_earlier_copy_within_the_horizon(batches):
    seen, held, first = Seen(), [], 0
    for rows in batches:
        batch = table(rows, first)
        asked = EVENT_KEYS.of(batch)
        marks = copies(asked, batch, seen.near(asked, HOUR), HOUR).tolist()
        seen.add(asked)
        order = sorted(range(len(rows)), key=lambda i: (rows[i][1], i))
        within = []
        for place in order:
            event, minute = rows[place]
            expected = any(e == event and abs(m - minute) <= 60 for e, m in held) or any(
                e == event and minute - m <= 60 for e, m in within
            )
            assert marks[place] == expected
            within.append((event, minute))
        held += rows
        first += len(rows)
    assert len(seen) == len(held)
