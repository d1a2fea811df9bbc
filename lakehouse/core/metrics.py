"""What a process counts of its own work, for Prometheus; docs/metrics.md is made from here.

Labels are names that are declared (flows, tables, services) or counted here: no value of them
comes from data. Times are in seconds, sizes in bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

PREFIX = "lakehouse_"
Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True)
class Metric:
    """One metric as it is declared: its name, what it says, and its labels."""

    name: str
    kind: Kind
    doc: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """As it is scraped."""
        return PREFIX + self.name

    def gauge(self) -> GaugeMetricFamily:
        """A family of it without values, for a collector."""
        return GaugeMetricFamily(self.full_name, self.doc, labels=self.labels)


disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more each, which nobody reads
REGISTRY = CollectorRegistry()
DECLARED: list[Metric] = []
"""Every metric of this module, in order."""
_STAGES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 10, 100, 1_000, 10_000, 50_000, 100_000, 200_000)
AGES = (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 300, 3600)


def _declared(name: str, kind: Kind, doc: str, labels: Sequence[str]) -> Metric:
    DECLARED.append(Metric(name, kind, doc, tuple(labels)))
    return DECLARED[-1]


def _counter(name: str, doc: str, *labels: str) -> Counter:
    return Counter(_declared(name, "counter", doc, labels).full_name, doc, labels,
                   registry=REGISTRY)  # fmt: skip


def _gauge(name: str, doc: str, *labels: str) -> Gauge:
    return Gauge(_declared(name, "gauge", doc, labels).full_name, doc, labels, registry=REGISTRY)


def _histogram(name: str, doc: str, buckets: Iterable[float], *labels: str) -> Histogram:
    return Histogram(
        _declared(name, "histogram", doc, labels).full_name, doc, labels,
        buckets=[*buckets], registry=REGISTRY,
    )  # fmt: skip


ROWS = _counter(
    "rows_total", "Records of landed batches, by where they are: bronze or quarantine",
    "flow", "outcome",
)  # fmt: skip
LATE = _counter("late_rows_total", "Rows of bronze that came late, of landed batches", "flow")
DUPLICATES = _counter(
    "duplicate_rows_total", "Rows of bronze that are duplicates, of landed batches", "flow"
)
BATCHES = _counter("batches_total", "Batches committed to bronze", "flow")
BATCH_ROWS = _histogram("batch_rows", "Rows of one batch, good and bad", _ROWS, "flow")
STAGES = _histogram(
    "batch_stage_seconds",
    "Time of one batch: fetch waits for its records, publish commits both tables, follow hands it "
    "to the followers, total is all of it",
    _STAGES, "flow", "stage",
)  # fmt: skip
LAST_BATCH = _gauge(
    "last_batch_timestamp_seconds", "When this process last committed a batch", "flow"
)
FOLDS = _histogram(
    "fold_seconds", "Time that one follower takes for one increment of bronze", _STAGES, "flow"
)
WAITING = _gauge("waiting_rows", "Rows landed that followers have not begun to take", "flow")
TURNS = _histogram(
    "publish_seconds", "Processor time of publishing one table of silver once", _STAGES, "table"
)
PUBLISHED_ROWS = _counter("published_rows_total", "Rows written to a table of silver", "table")
PUBLISHED_BYTES = _counter("published_bytes_total", "Bytes written to a table of silver", "table")
STARTED_OVER = _counter("made_anew_total", "Times that a follower began again from all of bronze",
                     "flow")  # fmt: skip
SINK_ROUNDS = _counter(
    "sink_rounds_total", "Looks of a sink at what the lake has, by how they ended", "flow", "result"
)
RETRIES = _counter(
    "service_retries_total", "Attempts after which a broker or a database was waited for", "service"
)
SERVICE_UP = _gauge(
    "service_up", "1 while a service that was waited for answers again, 0 while it does not",
    "service",
)  # fmt: skip
RESTARTS = _counter("restarts_total", "Falls after which work was started again", "what")
RUNNING = _gauge("flow_running", "1 while this process runs the flow", "flow")
MESSAGES = _counter(
    "log_messages_total", "Lines of the log by level, as far as they are shown", "level"
)


class Ages(Collector):
    """How old records are when a flow has them, as a histogram; a batch costs one pass in numpy."""

    def __init__(self, metric: Metric, edges: Sequence[float]) -> None:
        self._metric, self._edges = metric, [*edges]
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, flow: str, times: pa.ChunkedArray, now: datetime) -> None:
        """Count rows by the seconds from their times (µs, UTC) until now."""
        import numpy as np  # noqa: PLC0415  # a process that lands no rows does without
        import pyarrow as pa  # noqa: PLC0415  # as above

        if not len(times):
            return
        moments = times.cast(pa.int64()).to_numpy()
        ages = np.maximum(now.timestamp() - moments / 1e6, 0.0)
        found = np.bincount(np.searchsorted(self._edges, ages), minlength=len(self._edges) + 1)
        with self._lock:
            held = self._counts.setdefault(flow, [0] * len(found))
            self._counts[flow] = [a + int(b) for a, b in zip(held, found, strict=True)]
            self._sums[flow] = self._sums.get(flow, 0.0) + float(ages.sum())

    def counts(self) -> dict[str, list[int]]:
        """Flow → how many rows were at most as old as each edge, and how many were older."""
        with self._lock:
            return {flow: [*counts] for flow, counts in self._counts.items()}

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """For the registry."""
        metric = self._metric
        family = HistogramMetricFamily(metric.full_name, metric.doc, labels=metric.labels)
        with self._lock:
            for flow, counts in self._counts.items():
                total, buckets = 0, []
                for edge, count in zip([*map(str, self._edges), "+Inf"], counts, strict=True):
                    total += count
                    buckets.append((edge, total))
                family.add_metric([flow], buckets, self._sums[flow])
        yield family


FRESHNESS = Ages(
    _declared(
        "freshness_seconds", "histogram",
        "Time from Kafka's time of a record until the flow has it: bronze committed it, or a "
        "follower has applied it",
        ["flow"],
    ),
    AGES,
)  # fmt: skip
REGISTRY.register(FRESHNESS)


class Children(Collector):
    """Memory of the processes that this one started, such as Spark's JVM, by program."""

    metric = _declared(
        "child_memory_bytes", "gauge", "Resident memory of processes that this one started",
        ["program"],
    )  # fmt: skip
    programs = ("java", "python", "postgres")

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """For the registry."""
        family, found = self.metric.gauge(), dict.fromkeys((*self.programs, "other"), 0)
        try:
            children = psutil.Process().children(recursive=True)
        except psutil.Error:
            children = []
        for child in children:
            try:
                name, size = child.name(), child.memory_info().rss
            except psutil.Error:
                continue  # it ended meanwhile
            found[next((p for p in self.programs if name.startswith(p)), "other")] += size
        for program, size in found.items():
            family.add_metric([program], size)
        yield family


REGISTRY.register(Children())
ProcessCollector(registry=REGISTRY)


SERVICES = ("Kafka", "Postgres", "Spark")
for _service in SERVICES:
    RETRIES.labels(_service)  # 0 is a number too


def service_of(place: str) -> str:
    """The label of a service that an error names, as in ``Kafka at 127.0.0.1:9092``."""
    return next((name for name in SERVICES if name in place), "other")
