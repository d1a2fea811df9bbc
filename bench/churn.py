"""Churn scored: one customer, many at once, and from Kafka to a prediction that can be read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from bench.process import Run, python, run
from lakehouse.products.churn.model import customers
from lakehouse.products.churn.model.scoring import Scorer
from lakehouse.products.churn.model.store import Models
from lakehouse.products.churn.model.training import train
from lakehouse.products.churn.settings import predictions_of
from lakehouse.products.registry import load_settings
from lakehouse.settings.kafka_client import ensure_topic
from lakehouse.settings.settings import Settings

_ALONE, _AT_ONCE, _TIMES = 5_000, 100_000, 5
SETTLE_SECONDS = 5
"""Of a run are not counted: the scorer has just started."""
_LONGEST = 1_800


@dataclass(frozen=True)
class Inference:
    """Features and model, without Kafka: milliseconds of one customer, and many at once."""

    median_ms: float
    p95_ms: float
    records_a_second: float


@dataclass(frozen=True)
class Waited:
    """From the sending of an event until its prediction could be read, in seconds."""

    rate: int
    predictions: int
    p50: float
    p95: float
    worst: float


@dataclass(frozen=True)
class Batch:
    """Records scored by one command, the process's start with it."""

    records: int
    run: Run

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.run.seconds


@dataclass(frozen=True)
class Batches:
    """The same records out of Kafka and out of the lake; and what Kafka itself allows."""

    topic: Batch
    """``lakehouse churn score --batch``: predictions with their reasons, in transactions."""
    lake: Batch
    """``lakehouse churn score --batch --lake``: rows of a table."""
    passed_on: float
    """Predictions a second that are read and written again as they are, in transactions."""


def prepared(root: Path) -> Scorer:
    """A model of generated customers in a lake, promoted."""
    now = datetime.now(UTC)
    models = Models(str(root))
    card = models.save(train(customers.generated(5_000, 7, now), seed=7, now=now))
    models.promote(card.version)
    return models.scorer(card.version)


def inference(scorer: Scorer) -> Inference:
    """Score customers one by one, then all at once."""
    rows = customers.generated(_AT_ONCE, 8, datetime.now(UTC)).rows.combine_chunks().to_batches()[0]
    alone = []
    for row in range(_ALONE):
        one = rows.slice(row, 1)
        started = time.perf_counter()
        scorer.score(one)
        alone.append(1000 * (time.perf_counter() - started))
    together = [scorer.score(rows).seconds for _ in range(_TIMES)]
    median, p95 = np.percentile(alone, [50, 95])
    return Inference(float(median), float(p95), rows.num_rows / float(np.median(together)))


def topics_of(part: str) -> dict[str, str]:
    """The environment that gives a part of the benchmark topics of its own."""
    return {
        "LAKEHOUSE_CHURN_TOPIC": f"customers-{part}",
        "LAKEHOUSE_CHURN_DEADLETTER_TOPIC": f"deadletter-{part}",
        "LAKEHOUSE_CHURN_PREDICTIONS_TOPIC": f"predictions-{part}",
    }


def waited(environment: Mapping[str, str], rate: int, seconds: float) -> Waited:
    """Send at a rate beside a scorer, and read what it says as another client does."""
    with_ours = {**os.environ, **environment}
    settings = _settings(environment)
    ensure_topic(settings.kafka, predictions_of(settings))
    scorer = subprocess.Popen(python("lakehouse", "churn", "score"), env=with_ours)
    watch = _Watch(settings)
    try:
        run(python("bench.peers.customers", str(rate), str(seconds)), environment, _LONGEST)
        time.sleep(2)
    finally:
        scorer.send_signal(signal.SIGTERM)
        scorer.wait()
    found = np.array(watch.end())
    p50, p95 = np.percentile(found, [50, 95])
    return Waited(rate, len(found), float(p50), float(p95), float(found.max()))


def batches(environment: Mapping[str, str], records: int) -> Batches:
    """Fill a topic, then score it; land it, then score the lake."""

    def done(*words: str) -> Run:
        return run(python(*words), environment, _LONGEST)

    done("bench.peers.customers", "0", str(records))
    topic = Batch(records, done("lakehouse", "churn", "score", "--batch", "--json"))
    passed = done("bench.peers.passed_on", predictions_of(_settings(environment)).topic).answer
    done("bench.peers.flows", "churn.bronze")
    lake = Batch(records, done("lakehouse", "churn", "score", "--batch", "--lake", "--json"))
    for one in (topic, lake):
        if one.run.answer["predictions"] != records:
            raise RuntimeError(f"{one.run.answer['predictions']} predictions of {records} records")
    return Batches(topic, lake, passed["records"] / passed["seconds"])


def _settings(environment: Mapping[str, str]) -> Settings:
    """What a process of this environment reads."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        return load_settings(None)
    finally:
        os.environ.clear()
        os.environ.update(before)


class _Watch:
    """Reads committed predictions from now on: how long after its event each can be read."""

    def __init__(self, settings: Settings) -> None:
        topic, self._stop = predictions_of(settings).topic, threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": "bench",
                "isolation.level": "read_committed", "enable.auto.commit": False,
                "fetch.wait.max.ms": 10,
            }
        )  # fmt: skip
        known = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, 0) for number in known])
        self._found: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while not self._stop.is_set():
            for one in self._read():
                said: dict[str, Any] = json.loads(one.value() or b"{}")
                sent = datetime.fromisoformat(said["event_time"]).timestamp()
                self._found.append((sent, time.time()))

    def _read(self) -> list[Any]:
        first = self._consumer.poll(0.1)
        more = self._consumer.consume(1_000, 0) if first is not None else []
        return [one for one in (first, *more) if one is not None and one.error() is None]

    def end(self) -> list[float]:
        """The seconds of each event that was sent once the scorer had settled."""
        self._stop.set()
        self._thread.join()
        self._consumer.close()
        first = min((sent for sent, _ in self._found), default=0.0) + SETTLE_SECONDS
        return [read - sent for sent, read in self._found if sent >= first]


Say = Callable[[str], None]


def measured(
    folder: Path, kafka: Mapping[str, str], seconds: float, records: int, say: Say
) -> tuple[Inference, list[Waited], Batches]:
    """All of it, on a broker."""
    root = folder / "lake"
    say("training a model of generated customers")
    alone = inference(prepared(root))
    say(f"  one: median {alone.median_ms:.3f} ms; together {alone.records_a_second:,.0f} a second")
    base = {**kafka, "LAKEHOUSE_LAKE_ROOT": str(root)}
    found = []
    for rate in (100, 2_000):
        say(f"Kafka to prediction at {rate:,}/s for {seconds:g} s")
        found.append(waited(base | topics_of(str(rate)), rate, seconds))
        say(f"  p50 {found[-1].p50:.3f} s, p95 {found[-1].p95:.3f} s")
    say(f"scoring {records:,} records of a topic, and of the lake")
    return alone, found, batches(base | topics_of("batch"), records)
