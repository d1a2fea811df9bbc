"""The orders contract: a row of the table, and the change of one as Kafka carries it.

The envelope is Debezium's, as its Postgres connector writes it with
``value.converter.schemas.enable=false`` and ``decimal.handling.mode=string``: a
Debezium could take the capture's place.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from pydantic import Field

from lakehouse.core.sections import CapturedSettings, SqlName, TableName, Topic

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


class Source(msgspec.Struct, kw_only=True, gc=False):
    """Where a change stood in the database.

    ``sequence`` orders the changes of a key, in either mode of the capture and across
    new snapshots: a JSON array of three numbers as text, each padded with zeros to 20
    digits, so that the text itself sorts (Debezium's has two, not padded).
    """

    version: str = f"orders/{VERSION}"
    connector: str = "postgresql"
    name: str
    ts_ms: int
    """When it was committed, or read."""
    snapshot: Literal["true", "false"]
    db: str
    sequence: str
    schema: str
    table: str
    txId: int | None  # noqa: N815  # Debezium's name
    lsn: int | None


class Change(msgspec.Struct, kw_only=True, gc=False):
    """A row created, updated, deleted, or read to be so (by a snapshot or a poll)."""

    op: Literal["c", "u", "d", "r"]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    source: Source
    ts_ms: int
    """When the capture took it."""


class OrdersSettings(CapturedSettings):
    """[orders]: food orders, captured from their table."""

    topic: Topic = _like("topic", "orders")
    table: TableName = _like("table", "public.orders")
    slot: SqlName = _like("slot", "lakehouse_orders")
    publication: SqlName = _like("publication", "lakehouse_orders")


_ENCODER = msgspec.json.Encoder()


def sequence(generation: int, position: int, index: int) -> str:
    """The order of a change: snapshot it belongs to, LSN or transaction, place therein."""
    return f'["{generation:020d}","{position:020d}","{index:020d}"]'


def encode(change: Change) -> bytes:
    """One change as its Kafka value. A delete is followed by a null value, the tombstone."""
    return _ENCODER.encode(change)


def encode_key(key: dict[str, Any]) -> bytes:
    """The primary key's columns as the Kafka key."""
    return _ENCODER.encode(key)
