"""Batches with a copy, a late event and broken records, for both writers of bronze."""

from tests.conftest import encode, sale

BATCHES = [
    [*encode(sale(event_id="a"), sale(event_id="b", event_time="2026-11-20T10:00:00Z")), b"{"],
    encode(sale(event_id="a"), sale(event_id="c", event_time="2026-11-20T10:49:00Z", new=1)),
    [*encode(sale(event_id="d"), sale(event_id="d"), sale(event_id="b")), b"[]"],
]
