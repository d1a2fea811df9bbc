"""What feeds the topic of orders: the capture of their table in Postgres."""

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
    """Every change of the table until ``stop``, as the table has them; how many were sent."""
    if count:
        raise UsageError(
            "--count", "is not for orders, whose changes their table makes",
            "write into the table: lakehouse orders insert --count 5",
        )  # fmt: skip
    from producers.orders.capture import capture_orders

    return capture_orders(settings, stop=stop).acknowledged


def prepare(settings: Settings) -> None:
    """Run db/orders.sql where the table is missing."""
    from lakehouse.settings.postgres_client import connect
    from producers.orders.load import is_made, make_table

    with closing(connect(settings.postgres)) as connection:
        if not is_made(connection, settings.captured("orders").table):
            make_table(connection)
