"""Records of several partitions with times of their own, and which of them are copies."""

from datetime import timedelta

import pyarrow as pa
from hypothesis import strategies as st

from lakehouse.ingest.landing import BronzePublisher
from lakehouse.ingest.writers.arrow import ArrowWriter
from lakehouse.storage.duck import query
from tests.conftest import NOW, SALES, decoded, encode, sale
from tests.support.engine import connected

HOUR = 3_600
HORIZON = timedelta(hours=1)
RECORD = st.tuples(
    st.sampled_from([0, 1, 2]),
    st.sampled_from("abcd"),
    st.integers(0, 8 * 60).map(lambda minutes: minutes * 60),
)  # fmt: skip
"""(partition, event_id, seconds of Kafka time)."""


class Flow:
    """Bronze of one lake; records of several partitions land in any batches."""

    def __init__(self, settings):
        self.settings = settings
        self.next = {}
        self.restart()

    def restart(self):
        self.bronze = BronzePublisher.open(SALES, self.settings, "t1", connected(self.settings))

    def land(self, records, **changes):
        """``records`` are (partition, event_id, seconds of Kafka time after NOW)."""
        parts = []
        for partition in sorted({p for p, _, _ in records}):
            mine = [(e, s) for p, e, s in records if p == partition]
            first = self.next.get(partition, 0)
            self.next[partition] = first + len(mine)
            times = [NOW + timedelta(seconds=s) for _, s in mine]
            values = encode(*[sale(event_id=e, **changes) for e, _ in mine])
            parts.append(decoded(values, first=first, partition=partition, times=times))
        return self.publish(pa.concat_tables(parts))

    def publish(self, rows):
        return ArrowWriter(self.bronze).publish(rows, self.next, NOW)

    def rows(self):
        """Bronze's rows in landing order."""
        sql = """
        SELECT event_id, kafka_time, batch_id, is_duplicate FROM read_parquet($files)
        ORDER BY batch_id, kafka_time, "partition", "offset"
        """
        files = {"files": self.bronze.bronze.files()}
        return query(connected(self.settings), sql, files).to_pylist()

    @property
    def counted(self):
        return sum(1 for row in self.rows() if not row["is_duplicate"])


def by_the_rule(rows, horizon=HORIZON):
    """Which rows, in landing order, are copies: one came before, within the horizon."""
    times, marks = {}, []
    for row in rows:
        known = times.setdefault(row["event_id"], [])
        marks.append(any(abs(time - row["kafka_time"]) <= horizon for time in known))
        known.append(row["kafka_time"])
    return marks


def assert_marked_by_the_rule(flow, horizon=HORIZON):
    rows = flow.rows()
    assert [row["is_duplicate"] for row in rows] == by_the_rule(rows, horizon)


def every(settings, commits=2):
    """The settings, the store of event ids saved after so many commits."""
    return settings.changed(table={"checkpoint_interval": commits})
