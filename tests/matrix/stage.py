"""One try of a row: a topic and a lake of its own, its producer and its driver."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil
from kafka import KafkaConsumer, TopicPartition

from lakehouse.core.failpoint import VARIABLE
from lakehouse.model.product import Product
from lakehouse.model.sink import KafkaSink, PostgresSink
from lakehouse.products.registry import products
from lakehouse.services.postgres import EmbeddedPostgres
from lakehouse.settings.reading import RESERVED_ENV
from tests.matrix.broker import Broker
from tests.matrix.driver import ROOT, Driver, Failed
from tests.matrix.lake import Ends, LakeOfTry
from tests.matrix.noise import Noise

PATIENCE = 150.0
"""Seconds after which a driver is not waited for any more."""
SETTINGS = {
    "LAKEHOUSE_STREAM_MAX_RECORDS_PER_BATCH": "300",
    "LAKEHOUSE_SILVER_FINER_PERSIST_ROWS": "400",
    "LAKEHOUSE_SILVER_FINER_PERSIST_INTERVAL": "3 seconds",
    "LAKEHOUSE_LOGGING_FORMAT": "json",
}
"""Small batches, so that a few thousand events go through every step many times."""
EVENTS_A_SECOND = 150
MAIN = next(product for product in products().values() if product.is_main)


class Skipped(Exception):
    """This machine cannot do this fault; the reason."""


class Stage:
    """What a fault acts on; all that it starts is ended with it."""

    def __init__(
        self,
        broker: Broker,
        folder: Path,
        seed: str,
        settings: Mapping[str, str] | None = None,
        days: int = 30,
        product: Product = MAIN,
    ) -> None:
        self.broker, self.folder, self.seed, self.days = broker, folder, seed, days
        self.product, self.flows = product, tuple(flow.name for flow in product.flows)
        self.topic = folder.name
        self.topics = {
            c.name: self.topic + c.name.removeprefix(product.name) for c in product.contracts
        }
        self.draw = random.Random(seed)
        self.root = folder / "lake"
        self.root.mkdir(parents=True)
        self.lake = LakeOfTry(self.root, product)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LAKEHOUSE_")}
        kept |= {k: os.environ[k] for k in RESERVED_ENV if k in os.environ and k != VARIABLE}
        self.environment = {
            **kept,
            **SETTINGS,
            "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": broker.servers,
            "LAKEHOUSE_LAKE_ROOT": str(self.root),
            **{f"LAKEHOUSE_{c}_TOPIC".upper(): topic for c, topic in self.topics.items()},
            **(settings or {}),
        }
        self.seconds: list[float] = []
        """How long each recovery took."""
        self.ends: list[str] = []
        """How drivers ended by themselves."""
        self.summaries: list[dict[str, Any]] = []
        """What producers said of what they sent."""
        self.producers_killed = 0
        self.later = ExitStack()
        self.database: EmbeddedPostgres | None = None
        """What a sink writes to."""
        self._drivers: list[Driver] = []
        self._producers: list[subprocess.Popen[str]] = []
        self._noises: list[Noise] = []

    def __enter__(self) -> Stage:
        """With what the product's sinks send to: a database, and a topic, of the try's own."""
        for flow in self.product.flows:
            if isinstance(flow, PostgresSink):
                self.start_database()
            if isinstance(flow, KafkaSink) and flow.setting:
                key = f"LAKEHOUSE_{flow.product}_{flow.setting}".upper()
                self.environment[key] = f"{self.topic}-{flow.setting}"
        return self

    def start_database(self) -> None:
        """Start a Postgres, or the one again that has ended."""
        self.database = EmbeddedPostgres.start(self.folder / "postgres")
        self.later.callback(self.database.stop)
        self.environment["LAKEHOUSE_POSTGRES_URL"] = self.database.url

    def __exit__(self, *_: object) -> None:
        processes: list[subprocess.Popen[Any]] = [d.process for d in self._drivers]
        for process in [*processes, *self._producers]:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        for left in processes_of(self.root):
            left.kill()
        self.later.close()

    def use(self, broker: Broker) -> None:
        """From now on this is the broker."""
        self.broker = broker
        self.environment["LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS"] = broker.servers

    @property
    def driver(self) -> Driver:
        """The driver started last."""
        return self._drivers[-1]

    def start(self, failpoint: str = "", flows: Sequence[str] = ()) -> Driver:
        """Start a driver, which ends itself at a failpoint if one is given."""
        environment = {**self.environment, **({VARIABLE: failpoint} if failpoint else {})}
        log = self.folder / f"driver-{len(self._drivers) + 1}.log"
        self._drivers.append(Driver(flows or self.flows, environment, log))
        return self.driver

    def verb(self, *words: str, failpoint: str = "") -> subprocess.Popen[bytes]:
        """Start a verb of the command line, which ends itself at a failpoint if one is given."""
        environment = {**self.environment, **({VARIABLE: failpoint} if failpoint else {})}
        with (self.folder / f"{words[0]}.log").open("wb") as out:
            started = subprocess.Popen(
                [sys.executable, "-m", "lakehouse", *words],
                cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        self.later.callback(started.kill)
        return started

    def produce(self, seconds: float = 20, failpoint: str = "") -> subprocess.Popen[str]:
        """Feed the topics for about so long by the product's own source, with copies and junk."""
        for topic in self.noisy():
            self._noises.append(Noise(self.broker.servers, topic, seconds))
        count = str(int(seconds * EVENTS_A_SECOND))
        return self.producer(
            ["-m", "lakehouse", "produce", self.product.name, "--count", count,
             "--rate", str(EVENTS_A_SECOND)],
            failpoint,
        )  # fmt: skip

    def noisy(self) -> Iterable[str]:
        """The topics that copies and junk are put into."""
        return self.topics.values()

    def producer(self, words: Sequence[str], failpoint: str = "") -> subprocess.Popen[str]:
        """Start a Python program that feeds the topic; it ends by itself before the try does."""
        environment = {**self.environment, **({VARIABLE: failpoint} if failpoint else {})}
        with (self.folder / f"producer-{len(self._producers) + 1}.log").open("wb") as log:
            producer = subprocess.Popen(
                [sys.executable, *words], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self._producers.append(producer)
        return producer

    def everything_sent(self) -> None:
        """Called when the producers have ended: what feeds the topic otherwise ends here."""

    def wrong(self) -> Iterator[str]:
        """What is wrong, in words, by the product's own check; nothing where it has none."""
        return iter(())

    def expect_kill(self, process: subprocess.Popen[Any], what: str) -> None:
        """Wait until a failpoint has ended a process."""
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed(f"{what} did not come to its failpoint in {PATIENCE:g} s") from None
        if code != -signal.SIGKILL:
            raise Failed(f"{what} ended with {code} before its failpoint")

    def recover(self, since: float | None = None) -> None:
        """Wait until silver holds what Kafka holds now; note the seconds since then (or now).

        A driver that has ended is started again, as whoever watches over it would.
        """
        self.seconds.append(self.catch_up(since))

    def catch_up(self, since: float | None = None) -> float:
        """The same, not noted."""
        since = time.monotonic() if since is None else since
        target = self.ends_of_topics()
        while not self.lake.holds(target):
            if not self._drivers or self.driver.ended is not None:
                self._note_end()
                self.start(flows=self.driver.flows if self._drivers else ())
            if time.monotonic() - since > PATIENCE:
                raise Failed(f"not caught up in {PATIENCE:g} s: {self.driver.last_words()}")
            time.sleep(0.05)
        return time.monotonic() - since

    def _note_end(self) -> None:
        """How the last driver ended; one that was not killed must have said what to do."""
        if self._drivers:
            killed = self.driver.ended == -signal.SIGKILL
            self.ends.append("killed" if killed else f"exit {self.driver.ended}")
            if not killed and "\n  fix: " not in self.driver.log.read_text(errors="replace"):
                raise Failed(f"the driver ended without a word: {self.driver.last_words()}")

    def finish(self) -> None:
        """Let producers end, the driver catch up, and every driver stop by itself."""
        for producer in self._producers:
            try:
                out, _ = producer.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                raise Failed(f"the producer did not end in {PATIENCE:g} s") from None
            if producer.returncode == -signal.SIGKILL:
                self.producers_killed += 1
            elif out.strip().startswith("{"):
                self.summaries.append(json.loads(out))
        for noise in self._noises:
            noise.join()
        self.everything_sent()
        self.catch_up()
        if self.driver.ended is not None:  # killed when silver held all, its finer tables not
            self._note_end()
            words = ["run", *(self.driver.flows or self.flows), "--available-now"]
            if code := self.verb(*words).wait(PATIENCE):
                raise Failed(f"{' '.join(words)} ended with {code}")
        for driver in [d for d in self._drivers if d.ended is None]:
            driver.process.send_signal(signal.SIGTERM)
            try:
                code = driver.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                raise Failed(f"the driver did not stop in {PATIENCE:g} s") from None
            if code != 0:
                raise Failed(f"the driver stopped with {code}: {driver.last_words()}")
        deadline = time.monotonic() + 10
        while left := processes_of(self.root):
            if time.monotonic() > deadline:
                raise Failed(f"{len(left)} processes outlive their driver, such as {left[0]}")
            time.sleep(0.1)

    def ends_of_topics(self) -> Ends:
        """Where every partition of every topic ends now."""
        return {contract: self.offsets(topic) for contract, topic in self.topics.items()}

    def offsets(self, topic: str = "") -> dict[int, int]:
        """Where each partition ends now, for a reader of committed records."""
        topic = topic or self.topic
        consumer = KafkaConsumer(
            bootstrap_servers=self.broker.servers, isolation_level="read_committed"
        )
        try:
            for _ in range(300):
                if numbers := consumer.partitions_for_topic(topic):
                    places = [TopicPartition(topic, n) for n in numbers]
                    return {p.partition: int(o) for p, o in consumer.end_offsets(places).items()}
                time.sleep(0.1)
        finally:
            consumer.close()
        raise Failed(f"the broker does not tell of topic {topic}")

    def step(self, step: StrEnum, times: range) -> str:
        """A failpoint: a step, and which time of reaching it, drawn."""
        return f"{step.value}:{self.draw.choice(times)}"


def processes_of(root: Path) -> list[psutil.Process]:
    """All that runs for a try, by the lake in its environment: JVMs and workers too."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("LAKEHOUSE_LAKE_ROOT") == str(root):
                found.append(process)
        except psutil.Error:
            continue
    return found
