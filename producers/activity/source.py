"""The source of activity events: see :class:`lakehouse.model.product.Product`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from producers.activity.producer import run as produce

if TYPE_CHECKING:
    from lakehouse.settings.settings import Settings

__all__ = ["live", "produce"]


def live(settings: Settings, stop: threading.Event, rate: float | None, count: int | None) -> int:
    """Send what the users that [activity] describes do now; gives how many records.

    ServiceUnavailable where some did not arrive.
    """
    import itertools

    from lakehouse.products.activity.contract import ACTIVITY
    from lakehouse.products.activity.settings import activity_of
    from lakehouse.settings.kafka_client import unreachable
    from producers.activity.generator import Shares
    from producers.activity.producer import live as done_now
    from producers.command import show
    from producers.sending import send

    given = activity_of(settings)
    shares = Shares(given.late, given.out_of_order, given.duplicates, given.corrupt)
    messages = done_now(settings, rate or given.rate, given.seed, shares, stop)
    summary = send(settings, ACTIVITY, itertools.islice(messages, count), stop=stop)
    show(summary, as_json=False)
    if summary.failed:
        raise unreachable(settings.kafka, f"{summary.failed:,} records not sent: {summary.error}")
    return summary.sent
