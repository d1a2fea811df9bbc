"""Topics of customers that are scored, and what is in them."""

import json
import time
from collections import Counter
from contextlib import closing

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from lakehouse.core.signals import Stop
from lakehouse.products.churn.model.store import Models
from lakehouse.products.churn.model.stream import ScoringService
from lakehouse.products.churn.settings import churn_of, predictions_of
from lakehouse.settings.kafka_client import ensure_topic
from lakehouse.sinks.kafka_records import messages
from tests.conftest import settings_at
from tests.support.churn import customer, value

BROKEN = (b"not json", b"\xff", b"", None, value(customer(tenure=-1)), value({"event_id": "x"}))


class Topics:
    """Topics of a test's own, a lake with a model, and what is in them."""

    def __init__(self, root, kafka, name):
        self.environment = {
            "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": kafka,
            "LAKEHOUSE_CHURN_TOPIC": f"raw-{name}",
            "LAKEHOUSE_CHURN_DEADLETTER_TOPIC": f"dead-{name}",
            "LAKEHOUSE_CHURN_PREDICTIONS_TOPIC": f"said-{name}",
        }
        with pytest.MonkeyPatch.context() as patch:
            for key, text in self.environment.items():
                patch.setenv(key, text)
            self.settings = settings_at(root)
        self.models = Models(str(root))
        self.count = 0

    def send(self, *values):
        """Values with keys of their own, spread over the partitions."""
        ensure_topic(self.settings.kafka, churn_of(self.settings))
        producer = Producer({"bootstrap.servers": self.settings.kafka.bootstrap_servers})
        for one in values:
            self.count += 1
            producer.produce(
                churn_of(self.settings).topic, one, f"k{self.count}",
                partition=self.count % 3, headers=[("mine", b"\x00")],
            )  # fmt: skip
        assert producer.flush(60) == 0

    def customers(self, count):
        first = self.count
        return [
            value(customer(event_id=f"e{n}", customerID=f"c{n % 7}", tenure=n % 72))
            for n in range(first, first + count)
        ]

    def predictions(self):
        return [json.loads(one.value()) for one in self._held(predictions_of(self.settings).topic)]

    def letters(self):
        return self._held(churn_of(self.settings).deadletter_topic)

    def _held(self, topic):
        return [one for batch in messages(self.settings.kafka, topic) for one in batch]

    def addresses(self):
        """How often each raw record's address has an outcome, as committed records say it."""
        told = [(one["input_partition"], one["input_offset"]) for one in self.predictions()]
        for letter in self.letters():
            headers = {name: text.decode() for name, text in letter.headers() if name != "mine"}
            told.append(
                tuple(int(headers[f"__connect.errors.{name}"]) for name in ("partition", "offset"))
            )
        return Counter(told)

    def settle(self):
        """Wait until what was committed can be read: a broker marks it a moment later."""
        until(lambda: self.ends("read_committed") == self.ends("read_uncommitted"))

    def ends(self, isolation):
        """Where each partition of outcomes ends."""
        servers = self.settings.kafka.bootstrap_servers
        options = {"bootstrap.servers": servers, "group.id": "x", "isolation.level": isolation}
        with closing(Consumer(options)) as consumer:
            topics = (predictions_of(self.settings).topic, churn_of(self.settings).deadletter_topic)
            return [
                consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=30)[1]
                for topic in topics
                for number in sorted(
                    consumer.list_topics(topic, timeout=30).topics[topic].partitions
                )
            ]

    def all_once(self):
        """Each raw record once: its addresses have no gaps, as nothing else is in the topic."""
        self.settle()
        due = Counter(
            (n % 3, (n - 1) // 3 if n % 3 else n // 3 - 1) for n in range(1, self.count + 1)
        )
        assert self.addresses() == due

    def score(self):
        scored = ScoringService(self.settings, Stop(), available_now=True).run()
        self.settle()
        return scored


def until(holds, seconds=120):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
