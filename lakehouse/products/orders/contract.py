"""The orders contract: a row of the table, and the change of one that Kafka carries.

Topic and capture know the row and its envelope (:mod:`lakehouse.model.change`);
bronze has the change flat, one column a field.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from lakehouse.model.change import flatten
from lakehouse.model.contract import Contract, Record

NAME = "orders"
VERSION = 2
KEY = "order_id"
Status = Literal["placed", "preparing", "on_the_way", "delivered", "cancelled"]


BigInt = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Text = Annotated[str, Meta(min_length=1)]


class Order(msgspec.Struct, kw_only=True, gc=False):
    """One row of the table; the capture stops where a column is gone or of another type.

    In JSON ``amount`` is text, so that no reader makes a float of it, and
    ``created_at`` RFC 3339 in UTC.
    """

    order_id: int
    customer_name: str
    restaurant_name: str
    item: str
    amount: Decimal
    order_status: Status
    created_at: Annotated[datetime, Meta(tz=True)]


class OrderChange(msgspec.Struct, kw_only=True, gc=False):
    """A change of one order as bronze has it; a delete and a tombstone have no order's fields."""

    event_id: Text
    event_time: Annotated[datetime, Meta(tz=True)]
    op: Literal["c", "u", "d", "r", "t"]
    order_id: BigInt
    customer_name: str | UnsetType = UNSET
    restaurant_name: str | UnsetType = UNSET
    item: str | UnsetType = UNSET
    amount: Decimal | UnsetType = UNSET
    order_status: Status | UnsetType = UNSET
    created_at: Annotated[datetime, Meta(tz=True)] | UnsetType = UNSET
    sequence: str | None = None
    lsn: BigInt | None = None
    xid: BigInt | None = None
    before: str | None = None


def _unwrap(record: Record) -> bytes:
    return flatten(record, KEY, Order, OrderChange)


ORDERS = Contract(
    name=NAME,
    version=VERSION,
    event=OrderChange,
    unwrap=_unwrap,
    descriptions={
        "event_id": "order_id and sequence; a change that was sent again has the same",
        "event_time": "when the change was committed, or read; of a tombstone its Kafka time",
        "op": "c created, u updated, d deleted, r read by a snapshot or a poll, t tombstone",
        "order_id": "the table's key",
        "customer_name": "who ordered; null, as the columns up to created_at, for d and t",
        "restaurant_name": "who cooks",
        "item": "what was ordered",
        "amount": "price: not negative, at most 12 digits before the point and 4 after",
        "order_status": "placed, preparing, on_the_way, delivered or cancelled",
        "created_at": "when the order was placed",
        "sequence": "orders the changes of an order, as text",
        "lsn": "where the change stands in Postgres's log",
        "xid": "the transaction that made it",
        "before": "the row before, as JSON",
    },
)
