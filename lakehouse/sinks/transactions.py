"""Kafka transactions of one writer: who opens later fences who opened before.

A transaction that a crash left open is aborted by the next :meth:`Transactions.open`; one whose
commit was asked for is ended before it returns. What became of it is then read from Kafka.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from lakehouse.core import failpoint
from lakehouse.core.errors import LakehouseError, ServiceRefuses, TableLocked
from lakehouse.core.failpoint import Step
from lakehouse.settings.kafka_client import reader_options, unreachable
from lakehouse.settings.sections import KafkaSettings

_FENCED = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}
_REFUSED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_TRANSACTION_TIMEOUT,
}
Headers = Sequence[tuple[str, bytes | str | None]]


class Transactions:
    """A writer of a topic; used by one thread. ``writer`` is who it is, in messages."""

    def __init__(self, kafka: KafkaSettings, topic: str, writer: str) -> None:
        self._kafka, self._topic, self._writer = kafka, topic, writer
        self._producer: Any = None

    @property
    def is_open(self) -> bool:
        """Whether it can be written with."""
        return self._producer is not None

    def open(self, identity: str, most_bytes: int) -> None:
        """Fence every other writer of this identity, and end what it left open."""
        self._producer = Producer(
            {
                **reader_options(self._kafka),
                "transactional.id": identity,
                "transaction.timeout.ms": 60_000,
                "partitioner": "murmur2_random",  # as other clients place a key
                "message.max.bytes": most_bytes,
                "compression.type": "lz4",
                "linger.ms": 5,  # a commit does not wait for it
                "retry.backoff.ms": 5,  # a broker still marks the last transaction when one begins
                "log_level": 0,  # errors are reported by us
            }
        )
        self._producer.init_transactions(self._kafka.request_timeout.total_seconds())

    def begin(self) -> None:
        """Begin a transaction."""
        self._producer.begin_transaction()

    def hand(
        self, topic: str, key: bytes | str | None, value: bytes | None, headers: Headers = ()
    ) -> None:
        """Hand a record to the client; waits where its queue is full."""
        while True:
            try:
                self._producer.produce(topic, value, key, headers=list(headers))
            except BufferError:
                if not self._producer.poll(self._kafka.request_timeout.total_seconds()):
                    raise unreachable(self._kafka, "it takes no more records") from None
            else:
                return

    def hand_all(
        self, topic: str, records: Iterable[tuple[bytes | str | None, bytes]], headers: Headers
    ) -> None:
        """Hand keys and values that have the same headers; waits where the queue is full."""
        told, produce = list(headers), self._producer.produce
        for key, value in records:
            try:
                produce(topic, value, key, -1, None, None, 0, told)  # by place: a third less time
            except BufferError:
                self.hand(topic, key, value, told)

    def take_offsets(self, offsets: Sequence[Any], group: Any) -> None:
        """Make it part of the transaction that a group has read up to these offsets."""
        wait = self._kafka.request_timeout.total_seconds()
        self._producer.send_offsets_to_transaction(list(offsets), group, wait)

    def flush(self) -> None:
        """Wait until every record is acknowledged."""
        if self._producer.flush(self._wait):
            raise unreachable(self._kafka, "it does not acknowledge records")

    def commit(self) -> None:
        """Commit the transaction; where no answer comes it may be committed all the same."""
        failpoint.reach(Step.KAFKA_SENT)
        self._producer.commit_transaction(self._wait)
        failpoint.reach(Step.KAFKA_COMMITTED)

    @property
    def _wait(self) -> float:
        return 3 * self._kafka.request_timeout.total_seconds()

    def told(self, error: KafkaError) -> LakehouseError:
        """What librdkafka says, in our words; closes: the next try opens again."""
        if error.code() == KafkaError._FATAL:
            error = self._cause(error)
        self.close()
        if error.code() in _FENCED:
            return self.fenced()
        if error.code() in _REFUSED:
            return ServiceRefuses(
                self.place, error.str(), "mend the topic's settings, or the user's rights there"
            )
        return unreachable(self._kafka, error.str())

    def _cause(self, error: KafkaError) -> KafkaError:
        """What made the producer unusable: it says so once, when it is polled."""
        try:
            self._producer.poll(0)
        except KafkaException as told:
            return told.args[0]  # type: ignore[no-any-return]  # librdkafka's error
        return error

    @property
    def place(self) -> str:
        """The topic, in messages."""
        return f"topic {self._topic} at {self._kafka.bootstrap_servers}"

    def fenced(self) -> TableLocked:
        """The error of a writer that another one has fenced."""
        return TableLocked(
            self.place, f"another process writes it for {self._writer}, and has fenced this one",
            "end one of the two: a sink has one writer",
        )  # fmt: skip

    def close(self) -> None:
        """Let go of the producer; a transaction that is open is aborted by the next one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()  # close() would wait for a broker that is away
