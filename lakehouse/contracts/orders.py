"""The orders contract: a row of the table whose changes are the product's events."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from pydantic import Field

from lakehouse.core.sections import CapturedSettings, SqlName, TableName, Topic

NAME = "orders"
VERSION = 1
Status = Literal["placed", "preparing", "on_the_way", "delivered", "cancelled"]


def _like(key: str, default: str) -> Any:
    """The key as every captured product has it, with a default."""
    return Field(default, description=CapturedSettings.model_fields[key].description)


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


class OrdersSettings(CapturedSettings):
    """[orders]: food orders, captured from their table."""

    topic: Topic = _like("topic", "orders")
    table: TableName = _like("table", "public.orders")
    slot: SqlName = _like("slot", "lakehouse_orders")
    publication: SqlName = _like("publication", "lakehouse_orders")
