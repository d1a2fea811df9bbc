"""Customers now, at a steady rate: the load of churn's benchmark.

``RATE SECONDS`` sends so many a second; ``0 COUNT`` sends so many at once.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from datetime import UTC, datetime

import msgspec

from bench.events import fast_producer, paced, post
from lakehouse.products.churn.contract import CUSTOMERS, Customer
from lakehouse.products.registry import load_settings
from lakehouse.settings.kafka_client import ensure_topic
from producers.churn.customers import Customers

_KNOWN = 5_000
"""Customers made beforehand, who come again and again under other event ids."""


def main(rate: int, much: float) -> None:
    """Print {sent, seconds}; event times are those of sending."""
    settings = load_settings(None)
    product = settings.product(CUSTOMERS.name)
    ensure_topic(settings.kafka, product)
    now = datetime.now(UTC)
    facts = (told.facts for told in itertools.islice(Customers(7), _KNOWN))
    known = itertools.cycle([Customer(event_id="", event_time=now, **one) for one in facts])
    producer, started = fast_producer(settings), time.monotonic()
    due = paced(rate, started + much) if rate else iter([int(much)])
    sent = 0
    for count in due:
        for customer in itertools.islice(known, count):
            event = msgspec.structs.replace(
                customer, event_id=f"b{sent}", event_time=datetime.now(UTC)
            )
            post(producer, product.topic, event.customerID.encode(), CUSTOMERS.encode(event))
            sent += 1
    producer.flush()
    print(json.dumps({"sent": sent, "seconds": time.monotonic() - started}))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
