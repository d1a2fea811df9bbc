"""The source of order events: the capture of the orders table in Postgres."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

from lakehouse.core.errors import UsageError

if TYPE_CHECKING:
    from lakehouse.settings.settings import Settings


def live(
    settings: Settings,
    stop: threading.Event,
    rate: float | None,  # noqa: ARG001  # every source has it
    count: int | None,
) -> int:
    """Send every change of the table until ``stop`` is set; gives how many records."""
    if count:
        raise UsageError(
            "--count", "is not for orders, whose changes their table makes",
            "write into the table: lakehouse orders insert --count 5",
        )  # fmt: skip
    from producers.orders.capture import capture_orders

    return capture_orders(settings, stop=stop).acknowledged


def prepare(settings: Settings) -> None:
    """Run db/orders.sql if the table is missing."""
    from lakehouse.settings.postgres_client import connect
    from producers.orders.load import is_made, make_table

    with closing(connect(settings.postgres)) as connection:
        if not is_made(connection, settings.captured("orders").table):
            make_table(connection)
