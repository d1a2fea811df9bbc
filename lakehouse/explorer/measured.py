"""What tables, the broker and the disk say of a lake, as Prometheus scrapes it.

Labels are names that products declare, and numbers of partitions: a folder or a verdict that
somebody made up adds no series. A scrape of a lake at rest reads no table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from lakehouse.audit.proof import Verdict
from lakehouse.core.metrics import Metric
from lakehouse.explorer.observed import Observer, Seen
from lakehouse.products.registry import flows

Samples = Iterator[tuple[tuple[str, ...], float]]
"""Values of the labels, and the value."""


def _gauge(name: str, doc: str, *labels: str) -> Metric:
    return Metric(name, "gauge", doc, labels)


def _table(value: str) -> Callable[[Seen], Samples]:
    def samples(seen: Seen) -> Samples:
        for name in _declared(seen):
            if (found := getattr(seen.tables[name], value)) is not None:
                yield (name,), found

    return samples


def _declared(seen: Seen) -> Iterator[str]:
    """The tables there are that a product declares."""
    known = {table for flow in flows() for table in flow.tables}
    return (name for name in seen.tables if name in known)


def _committed(seen: Seen) -> Samples:
    for name in _declared(seen):
        if committed := seen.tables[name].committed:
            yield (name,), datetime.fromisoformat(committed).timestamp()


def _followers(value: str) -> Callable[[Seen], Samples]:
    def samples(seen: Seen) -> Samples:
        for row in seen.flows:
            if not row.into.startswith("bronze.") and getattr(row, value) is not None:
                yield (row.flow, row.into), getattr(row, value)

    return samples


def _age(seen: Seen) -> Samples:
    """0 where it has all of bronze; else since bronze was at the version that it has."""
    for row in seen.flows:
        if row.into.startswith("bronze."):
            continue
        if row.behind == 0:
            yield (row.flow, row.into), 0.0
        elif row.time:
            since = datetime.fromisoformat(row.time)
            yield (row.flow, row.into), max(0.0, (seen.at - since).total_seconds())


def _lag(seen: Seen) -> Samples:
    for row in seen.flows:
        for partition, lag in row.partitions.items():
            yield (row.flow, str(partition)), lag


def _offsets(seen: Seen) -> Samples:
    for name, landing in seen.landings.items():
        for partition, offset in landing.next.items():
            yield (f"{name}.bronze", str(partition)), offset


def _moment(value: str) -> Callable[[Seen], Samples]:
    def samples(seen: Seen) -> Samples:
        for name, landing in seen.landings.items():
            if (moment := getattr(landing, value)) is not None:
                yield (f"{name}.bronze",), moment.timestamp()

    return samples


def _quarantined(seen: Seen) -> Samples:
    for name, faults in seen.quarantine.items():
        yield from (((name, *kind), records) for kind, records in faults.items())


def _open(seen: Seen) -> Samples:
    return (((name,), sum(faults.values())) for name, faults in seen.quarantine.items())


def _ledger(place: int) -> Callable[[Seen], Samples]:
    return lambda seen: (((name,), found[place]) for name, found in seen.late.items())


def _verdicts(seen: Seen) -> Samples:
    for name, kept in seen.audits.items():
        if kept:
            yield from (((name, v.value), kept[0].verdict == v.value) for v in Verdict)


def _audited(seen: Seen) -> Samples:
    return (((n,), kept[0].audited_at.timestamp()) for n, kept in seen.audits.items() if kept)


def _audit_records(seen: Seen) -> Samples:
    for name, kept in seen.audits.items():
        for kind in ("missing", "doubled", "unknown", "expired"):
            if kept:
                yield (name, kind), getattr(kept[0], kind)


def _states(value: str) -> Callable[[Seen], Samples]:
    def samples(seen: Seen) -> Samples:
        for state in seen.states:
            if (found := getattr(state, value)) is not None:
                yield (state.flow,), found

    return samples


def _least_room(value: str) -> Callable[[Seen], Samples]:
    def samples(seen: Seen) -> Samples:
        if seen.disks:
            yield (), getattr(min(seen.disks, key=lambda disk: disk.free), value)

    return samples


def _locked(seen: Seen) -> Samples:
    return (((name,), float(name in seen.locks)) for name in _declared(seen))


def _faulty(seen: Seen) -> Samples:
    yield (), len(seen.faults)


def _total(value: str) -> Callable[[Seen], Samples]:
    return lambda seen: iter([((), sum(getattr(i, value) or 0 for i in seen.tables.values()))])


MEASURED: tuple[tuple[Metric, Callable[[Seen], Samples]], ...] = (
    (_gauge("table_rows", "Rows of a table, as its log says", "table"), _table("rows")),
    (_gauge("table_files", "Data files of a table", "table"), _table("files")),
    (_gauge("table_size_bytes", "Bytes of a table's data files", "table"), _table("bytes")),
    (_gauge("table_version", "Newest version of a table", "table"), _table("version")),
    (_gauge("table_committed_timestamp_seconds", "When a table was last committed to", "table"), _committed),
    (_gauge("lake_size_bytes", "Bytes of the data files of all tables"), _total("bytes")),
    (_gauge("lake_files", "Data files of all tables"), _total("files")),
    (_gauge("partition_lag_records", "Offsets of a topic's partition that bronze has not landed", "flow", "partition"), _lag),
    (_gauge("partition_next_offset", "The offset that bronze reads next", "flow", "partition"), _offsets),
    (_gauge("follower_lag_commits", "Commits of bronze that a follower's table, topic or folder lacks", "flow", "into"), _followers("behind")),
    (_gauge("follower_lag_rows", "Rows that these commits added", "flow", "into"), _followers("rows_behind")),
    (_gauge("publishing_age_seconds", "Time since bronze was at the version that is published; 0 where that is the newest", "flow", "into"), _age),
    (_gauge("watermark_timestamp_seconds", "Event time before which an event is late", "flow"), _moment("watermark")),
    (_gauge("newest_event_timestamp_seconds", "Newest event time that has landed", "flow"), _moment("newest_event")),
    (_gauge("quarantined_records", "Records in quarantine that were not replayed, by their first fault", "contract", "field", "fault"), _quarantined),
    (_gauge("quarantine_records", "Records in quarantine that were not replayed", "contract"), _open),
    (_gauge("late_records", "Late rows of bronze since it began, as the ledger has them", "contract"), _ledger(0)),
    (_gauge("duplicate_records", "Duplicates in bronze since it began, as the ledger has them", "contract"), _ledger(1)),
    (_gauge("state_keys", "Keys in the state of a flow of silver", "flow"), _states("keys")),
    (_gauge("state_size_bytes", "Bytes on disk of the state of a flow of silver", "flow"), _states("bytes")),
    (_gauge("audit_verdict", "1 for the verdict of the last audit that was kept, 0 for the others", "contract", "verdict"), _verdicts),
    (_gauge("audit_timestamp_seconds", "When that audit was", "contract"), _audited),
    (_gauge("audit_records", "Records that it found missing, doubled, unknown or expired", "contract", "result"), _audit_records),
    (_gauge("disk_free_bytes", "Free bytes of the fullest disk of the lake"), _least_room("free")),
    (_gauge("disk_size_bytes", "All bytes of that disk"), _least_room("total")),
    (_gauge("table_locked", "1 while a process has a table's writer lock", "table"), _locked),
    (_gauge("unreadable", "Tables and services that could not be read just now"), _faulty),
)  # fmt: skip
LOOK = _gauge("look_seconds", "Time that the last look at the lake took")


class Measured(Collector):
    """For a registry: what an observer sees."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One look, as families."""
        began = time.perf_counter()
        seen = self._observer.look()
        for metric, samples in MEASURED:
            yield _family(metric, samples(seen))
        yield _family(LOOK, [((), time.perf_counter() - began)])


def _family(metric: Metric, samples: Iterable[tuple[tuple[str, ...], float]]) -> GaugeMetricFamily:
    family = metric.gauge()
    for labels, value in samples:
        family.add_metric(labels, value)
    return family
