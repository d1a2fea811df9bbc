"""The records of a topic read, and written again as they are, in transactions: no more than that.

``TOPIC`` is read to its end; what two clients and a broker cost when nothing is made of records.
"""

from __future__ import annotations

import json
import sys
import time

from confluent_kafka import Consumer, TopicPartition

from lakehouse.products.churn.model.outcomes import NAMED
from lakehouse.products.churn.settings import predictions_of
from lakehouse.products.registry import load_settings
from lakehouse.settings.kafka_client import ensure_topic, reader_options
from lakehouse.sinks.transactions import Transactions

_AT_ONCE, _MOST = 20_000, 10 * 2**20


def main(topic: str) -> None:
    """Print {records, seconds}: from the first record to the last transaction."""
    settings = load_settings(None)
    kafka, again = settings.kafka, f"{topic}-again"
    ensure_topic(kafka, predictions_of(settings).model_copy(update={"topic": again}))
    consumer = Consumer(
        {
            **reader_options(kafka), "group.id": "passed-on", "enable.auto.commit": False,
            "isolation.level": "read_committed", "enable.partition.eof": True,
            "fetch.queue.backoff.ms": 5,
        }
    )  # fmt: skip
    known = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in known])
    writer = Transactions(kafka, again, "the benchmark")
    writer.open(again, _MOST)
    left, records, started = len(known), 0, time.perf_counter()
    while left:
        some = consumer.consume(_AT_ONCE, 0.1)
        good = [one for one in some if one.error() is None]
        left -= len(some) - len(good)
        if good:
            writer.begin()
            writer.hand_all(again, ((one.key(), one.value() or b"") for one in good), NAMED)
            read = {one.partition() or 0: (one.offset() or 0) + 1 for one in good}
            places = [TopicPartition(topic, number, next_) for number, next_ in read.items()]
            writer.take_offsets(places, consumer.consumer_group_metadata())
            writer.commit()
        records += len(good)
    seconds = time.perf_counter() - started
    print(json.dumps({"records": records, "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1])
