"""The source of sales events: see :class:`lakehouse.model.product.Product`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from producers.sales.producer import run as produce

if TYPE_CHECKING:
    from lakehouse.settings.settings import Settings

__all__ = ["live", "produce"]


def live(settings: Settings, stop: threading.Event, rate: float | None, count: int | None) -> int:
    """Send the orders of the shop that [sales] describes, placed now; gives how many records.

    ServiceUnavailable where some did not arrive.
    """
    import itertools
    import time

    from lakehouse.products.sales.contract import SALES
    from lakehouse.products.sales.settings import sales_of
    from lakehouse.settings.kafka_client import unreachable
    from producers.sales.generator import Shares
    from producers.sales.producer import generator, show
    from producers.sales.producer import live as orders_now
    from producers.sending import send

    given = sales_of(settings)
    shares = Shares(given.late, given.duplicates, given.corrupt)
    run_id = f"s{given.seed}t{int(time.time() * 1000):x}"
    shop = generator(settings, given.seed, run_id, shares)
    messages = itertools.islice(orders_now(shop, rate or given.rate, stop), count)
    summary = send(settings, SALES, messages, stop=stop)
    show(summary, as_json=False)
    if summary.failed:
        raise unreachable(settings.kafka, f"{summary.failed:,} records not sent: {summary.error}")
    return summary.sent
