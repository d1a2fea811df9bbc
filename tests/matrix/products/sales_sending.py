"""Records that the sales producer does not send: transactions, 5 MB, chosen partitions."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic

from lakehouse.products.registry import sections_of_products
from lakehouse.settings.settings import load
from producers.message import Message
from producers.sales.generator import Shares
from producers.sales.producer import generator
from tests.matrix.stage import Stage

HUGE = 5_000_000
LIMIT = 6_000_000


def make_topic(stage: Stage, partitions: int = 2, time: str = "LogAppendTime") -> None:
    """The stage's topic, which takes records of up to 6 MB; whose ``time`` they have."""
    admin = KafkaAdminClient(bootstrap_servers=stage.broker.servers)
    configs = {"message.timestamp.type": time, "max.message.bytes": str(LIMIT)}
    admin.create_topics([NewTopic(stage.topic, partitions, 1, topic_configs=configs)])
    admin.close()


def messages(stage: Stage, count: int, run: str) -> Iterator[Message]:
    """Events of the made-up shop, with copies and broken ones; ids begin with ``run``."""
    settings = load(sections_of_products(), None, {})
    shares = Shares(duplicates=0.02, corrupt=0.02)
    shop = generator(settings, stage.draw.randrange(10**6), run, shares)
    return shop.history(count, datetime.now(UTC), 30)


def old(some: Iterable[Message], hours: int) -> Iterator[Message]:
    """The same, but those that are younger: their time is in the future of no clock."""
    youngest = datetime.now(UTC) - timedelta(hours=hours)
    return (message for message in some if message.event_time < youngest)


def huge(some: Iterable[Message]) -> Iterator[Message]:
    """The same, but the first hundred good ones grow to 5 MB every tenth time, or break so."""
    for number, message in enumerate(some):
        if number < 100 and number % 10 == 0 and message.kind == "good":
            event = json.loads(message.value or b"")
            event["note"] = "n" * HUGE
            value = json.dumps(event).encode()
            broken = number % 20 == 0
            message.value = value[:-1] if broken else value
            message.kind = "corrupt:truncated" if broken else "good"
        yield message


class Sender:
    """A transactional producer of the stage; what it commits counts as acknowledged."""

    def __init__(self, stage: Stage, partitions: Sequence[int] = (0, 1)) -> None:
        self._stage, self._partitions, self._pending = stage, partitions, 0
        self._producer = KafkaProducer(
            bootstrap_servers=stage.broker.servers, acks="all", max_request_size=LIMIT,
            transactional_id=stage.topic,
        )  # fmt: skip
        self._producer.init_transactions()
        stage.later.callback(self._producer.close, timeout=5)

    def post(
        self, some: Iterable[Message], clock: Callable[[Message, int], float] | None = None
    ) -> None:
        """Begin a transaction and send into it; it stays open.

        ``clock`` gives the time of a record in a partition, in seconds since 1970.
        """
        self._producer.begin_transaction()
        for message in some:
            partition = self._partitions[zlib.crc32(message.key) % len(self._partitions)]
            headers = [("fault", b"")] if message.kind.startswith("corrupt") else []
            self._producer.send(
                self._stage.topic, message.value, key=message.key, headers=headers,
                partition=partition,
                timestamp_ms=int(clock(message, partition) * 1000) if clock else None,
            )  # fmt: skip
            self._pending += 1
        self._producer.flush()

    def commit(self) -> None:
        """Commit the open transaction."""
        self._producer.commit_transaction()
        self._stage.summaries.append({"acknowledged": self._pending, "failed": 0})
        self._pending = 0

    def abort(self) -> None:
        """Abort it: nothing of it was ever sent."""
        self._producer.abort_transaction()
        self._pending = 0
