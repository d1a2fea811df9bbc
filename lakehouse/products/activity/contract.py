"""The activity event: what one user did on one page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lakehouse.model.contract import Contract, Record

Text = Annotated[str, Meta(min_length=1)]
EventType = Literal["page_view", "click", "session_start", "session_end"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Activity(msgspec.Struct, kw_only=True, gc=False):
    """One thing that one user did."""

    event_id: Text
    event_time: Annotated[datetime, Meta(tz=True)]
    user_id: Text
    page_url: Text
    event_type: EventType


def _unwrap(record: Record) -> bytes:
    """The record's value; where it has no ``event_id``, or a null, its address is that.

    Of doubled keys the last wins: what is put first holds where there is no other. The time
    is part of it, because a topic that was recreated has the same addresses again.
    """
    value = record.value
    if value is None:
        raise ValueError("the value is null (a tombstone)")
    body = value.strip(b" \t\r\n")
    if not body.startswith(b"{"):
        return value
    moment = (record.time - _EPOCH) // timedelta(milliseconds=1)
    own = b'"event_id":"%d-%d-%d"' % (record.partition, record.offset, moment)
    if _is_null(body):
        return body[:-1] + b"," + own + b"}"
    is_bare = body[1:].lstrip(b" \t\r\n").startswith(b"}")
    return b"{" + own + (b"" if is_bare else b",") + body[1:]


def _is_null(body: bytes) -> bool:
    """Whether the object says that its ``event_id`` is null."""
    if b"null" not in body or b"event_id" not in body:
        return False
    said = msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get("event_id")
    return said is not None and bytes(said) == b"null"


ACTIVITY = Contract(
    name="activity",
    version=1,
    event=Activity,
    unwrap=_unwrap,
    mends=True,
    person="user_id",
    descriptions={
        "event_id": "unique; a copy with the same id counts once. A record may leave it out: its "
        "partition, offset and Kafka time are it then",
        "event_time": "when it happened: RFC 3339 with an offset; to the microsecond, half up",
        "user_id": "who did it",
        "page_url": "where",
        "event_type": "page_view, click, session_start or session_end; a session_start while the "
        "user's session is open is an event of it like others, and begins no second one",
    },
)
