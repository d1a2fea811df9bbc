"""What is sent: one Kafka record, and what its sender knows of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(slots=True)
class Message:
    """One record to send.

    ``kind`` is ``good``, ``late``, ``duplicate`` or ``corrupt:<fault>``;
    ``revenue`` is quantity × price of an event that counts, by its currency.
    """

    key: bytes
    value: bytes | None
    kind: str
    order: str
    event_time: datetime
    revenue: Decimal = Decimal(0)
    currency: str = ""
