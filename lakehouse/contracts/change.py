"""The change of a row as Kafka carries it, whatever the table.

The envelope is Debezium's, as its Postgres connector writes it with
``value.converter.schemas.enable=false`` and ``decimal.handling.mode=string``: a
Debezium could take the capture's place.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Op = Literal["c", "u", "d", "r"]


class Source(msgspec.Struct, kw_only=True, gc=False):
    """Where a change stood in the database.

    ``sequence`` orders the changes of a key, in either mode of the capture and across
    new snapshots: a JSON array of three numbers as text, each padded with zeros to the
    same width, so that the text itself sorts (Debezium's has two, not padded).
    """

    version: str = "lakehouse/1"
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

    op: Op
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    source: Source
    ts_ms: int
    """When the capture took it."""


_ENCODER = msgspec.json.Encoder()


def sequence(generation: int, position: int, index: int) -> str:
    """The order of a change: snapshot it belongs to, LSN or transaction, place therein."""
    return f'["{generation:013d}","{position:020d}","{index:010d}"]'


def encode(change: Change) -> bytes:
    """One change as its Kafka value. A delete is followed by a null value, the tombstone."""
    return _ENCODER.encode(change)


def encode_key(key: dict[str, Any]) -> bytes:
    """The primary key's columns as the Kafka key."""
    return _ENCODER.encode(key)
