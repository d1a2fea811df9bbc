"""A few weather stations that measure, and what they send to Kafka."""

import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

from weather import WEATHER, Reading

from lakehouse.settings.kafka_client import ensure_topic
from lakehouse.settings.settings import Settings
from producers.sending import make_producer

STATIONS = {"Abisko": "north", "Kiruna": "north", "Lund": "south", "Visby": "south"}


def readings() -> Iterator[bytes]:
    """Records without an end; one in fifty breaks the contract: it rains less than nothing."""
    dice = random.Random()  # noqa: S311  # weather is no secret
    while True:
        station, wet = dice.choice(list(STATIONS)), dice.random() < 0.3
        event = Reading(
            event_id=f"{dice.getrandbits(64):016x}", event_time=datetime.now(UTC),
            station=station, region=STATIONS[station], sky="rain" if wet else "clear",
            tenths=dice.randint(-250, 300), rain=Decimal(dice.randint(1, 80) if wet else 0) / 10,
        )  # fmt: skip
        value = WEATHER.encode(event)
        yield value if dice.random() > 0.02 else value.replace(b'"rain":', b'"rain":-1', 1)


def live(settings: Settings, stop: threading.Event, rate: float | None, count: int | None) -> int:
    """Send ``rate`` readings a second, else 20, until ``stop`` is set; or ``count`` at once."""
    product, sent = settings.product(WEATHER.name), 0
    ensure_topic(settings.kafka, product)
    with make_producer(settings) as producer:
        for value in readings():
            if sent == count or stop.wait(1 / rate if rate else 0 if count else 0.05):
                break
            producer.send(product.topic, value)
            sent += 1
    return sent
