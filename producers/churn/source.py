"""The source of customers: see :class:`lakehouse.model.product.Product`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from producers.churn.producer import run as produce

if TYPE_CHECKING:
    from lakehouse.settings.settings import Settings

__all__ = ["live", "produce"]


def live(settings: Settings, stop: threading.Event, rate: float | None, count: int | None) -> int:
    """Send what becomes known of generated customers; gives how many records.

    ServiceUnavailable where some did not arrive.
    """
    import itertools

    from lakehouse.products.churn.contract import CUSTOMERS
    from lakehouse.products.churn.settings import churn_of
    from lakehouse.settings.kafka_client import unreachable
    from producers.churn.producer import live as told_now
    from producers.command import show
    from producers.sending import send

    given = churn_of(settings)
    messages = told_now(rate or given.rate, given.seed, given.corrupt, stop)
    summary = send(settings, CUSTOMERS, itertools.islice(messages, count), stop=stop)
    show(summary, as_json=False)
    if summary.failed:
        raise unreachable(settings.kafka, f"{summary.failed:,} records not sent: {summary.error}")
    return summary.sent
