"""Sales placed now, at a steady rate: the load of the freshness benchmark."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from bench.events import fast_producer, paced, post
from lakehouse.products.registry import load_settings
from lakehouse.products.sales.settings import sales_of
from lakehouse.settings.kafka_client import ensure_topic
from lakehouse.settings.settings import Settings
from producers.message import Message
from producers.sales.generator import Shares
from producers.sales.producer import generator


def main(per_second: int, seconds: float) -> None:
    """Print {sent, seconds}."""
    settings = load_settings(None)
    product = settings.product("sales")
    ensure_topic(settings.kafka, product)
    producer = fast_producer(settings)
    made = _made(settings)
    started = time.monotonic()
    sent = 0
    for due in paced(per_second, started + seconds):
        for message in itertools.islice(made, due):
            post(producer, product.topic, message.key, message.value or b"")
        sent += due
    producer.flush()
    print(json.dumps({"sent": sent, "seconds": time.monotonic() - started}))


def _made(settings: Settings) -> Iterator[Message]:
    run_id = f"b{int(time.time())}"
    shop = generator(settings, sales_of(settings).seed, run_id, Shares(0.001, 0.01, 0.001))
    while True:
        yield from shop.order_now(datetime.now(UTC))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
