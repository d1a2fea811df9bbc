"""What users do on pages now, at a steady rate: the load of activity's benchmark.

``RATE SECONDS`` sends so many a second; ``0 COUNT`` sends so many of the last day at once.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from datetime import UTC, datetime

from bench.events import fast_producer, paced, post
from lakehouse.products.activity.contract import ACTIVITY, Activity
from lakehouse.products.activity.settings import activity_of
from lakehouse.products.registry import load_settings
from lakehouse.settings.kafka_client import ensure_topic
from producers.activity.generator import Shares
from producers.activity.producer import history
from producers.activity.visits import Visits

SHARES = Shares(late=0.01, out_of_order=0.02, duplicates=0.01, corrupt=0.005)


def main(rate: int, much: float) -> None:
    """Print {sent, seconds}."""
    settings = load_settings(None)
    product, given = settings.product("activity"), activity_of(settings)
    ensure_topic(settings.kafka, product)
    producer, sent, started = fast_producer(settings), 0, time.monotonic()
    if not rate:
        for message in history(settings, int(much), given.seed, SHARES):
            post(producer, product.topic, message.key, message.value)
            sent += 1
    else:
        visits = Visits(given.seed, given.users, given.pages).now(rate)
        for due in paced(rate, started + much):
            for user, page, what in itertools.islice(visits, due):
                event = Activity(
                    event_id=f"b{sent}", event_time=datetime.now(UTC), user_id=user,
                    page_url=page, event_type=what,  # type: ignore[arg-type]  # as visits have it
                )  # fmt: skip
                post(producer, product.topic, user.encode(), ACTIVITY.encode(event))
                sent += 1
    producer.flush()
    print(json.dumps({"sent": sent, "seconds": time.monotonic() - started}))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
