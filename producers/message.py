"""One record to send, and what the sender knows about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(slots=True)
class Message:
    """One record to send.

    ``kind`` is ``good``, ``late``, ``duplicate`` or ``corrupt:<fault>``. ``group`` is shared by
    records that belong together, such as the lines of one order. ``amount`` is what the event
    adds to the sum of its ``unit``: its money, by currency.
    """

    key: bytes
    value: bytes | None
    kind: str
    group: str
    event_time: datetime
    amount: Decimal = Decimal(0)
    unit: str = ""
