"""What is sent: one Kafka record, and what its sender knows of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(slots=True)
class Message:
    """One record to send.

    ``kind`` is ``good``, ``late``, ``duplicate`` or ``corrupt:<fault>``; ``group`` names
    what belongs together, as the lines of one order do. ``amount`` is what an event that
    counts adds to the sum of its ``unit``: its money, by currency.
    """

    key: bytes
    value: bytes | None
    kind: str
    group: str
    event_time: datetime
    amount: Decimal = Decimal(0)
    unit: str = ""
