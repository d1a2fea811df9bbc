"""Events of generated customers, some of them broken on purpose."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from lakehouse.products.churn.contract import CUSTOMERS, Customer
from producers.churn.customers import Told
from producers.churn.faults import FAULTS
from producers.message import Message

_NAMES = sorted(FAULTS)
BROKEN = "corrupt:row"
"""The kind of a file's row that breaks the contract by itself."""


def messages(
    told: Iterable[tuple[datetime, Told]], seed: int, run_id: str, corrupt: float
) -> Iterator[Message]:
    """A message for each; ids begin with ``run_id``."""
    for number, (time, one) in enumerate(told):
        event_id = f"{run_id}-{number}"
        event = Customer(event_id=event_id, event_time=time, **one.facts)
        good = "returning" if one.is_again else "good"
        message = Message(event.customerID.encode(), CUSTOMERS.encode(event), good, event_id, time)
        yield broken(message, corrupt, f"{seed}:{number}")


def broken(message: Message, share: float, seed: str) -> Message:
    """The message, or in its place, so often, one that is broken; the same seed, the same one."""
    draw = random.Random(seed)  # noqa: S311  # no secret
    if message.kind.startswith("corrupt") or draw.random() >= share:
        return message
    fault = draw.choice(_NAMES)
    fields: dict[str, Any] = json.loads(message.value or b"{}")
    message.kind, message.value = f"corrupt:{fault}", FAULTS[fault](fields)
    return message


def of_row(row: dict[str, Any], event_id: str, time: datetime, corrupt: float) -> Message:
    """The message of a file's row; one that breaks the contract is sent as it is."""
    event = {"event_id": event_id, "event_time": time, **row}
    value = _encode(event)
    key = str(row.get("customerID", "")).encode()
    numbers = (row.get("MonthlyCharges", 0), row.get("TotalCharges", 0))
    try:
        msgspec.convert(event, Customer)
        is_good = not any(isinstance(number, str) or number < 0 for number in numbers)
    except (msgspec.ValidationError, TypeError):
        is_good = False
    kind = "good" if is_good else BROKEN
    return broken(Message(key, value, kind, event_id, time), corrupt, event_id)


def why(message: Message) -> str:
    """Why a row of a file, as it is sent, breaks the contract."""
    try:
        msgspec.json.decode(message.value or b"", type=Customer)
    except msgspec.MsgspecError as error:
        return str(error)
    return "a charge is no number, or it is negative"


_encode = msgspec.json.Encoder(decimal_format="number").encode
