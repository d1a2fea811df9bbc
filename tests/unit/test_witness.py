"""The witness, written apart, says of good records what the decoder says, and bends nothing."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lakehouse.ingest.decode import decode_batch
from lakehouse.ingest.headers import HEADERS
from lakehouse.model.change import Change, Source, encode, sequence
from lakehouse.model.witness import Broken, Kind, Raw, canonical_text
from lakehouse.products.orders import recompute as orders
from lakehouse.products.registry import contract
from lakehouse.products.sales import recompute as sales
from tests.conftest import NOW, RULES, SALES, records, sale

ORDERS = contract("orders")


def told(value, witness=sales.WITNESS, **more):
    names = [*witness.fields, "extra"]
    raw = Raw(0, 0, int(NOW.timestamp() * 1000), more.get("key"), value, more.get("headers", ()))
    return dict(zip(names, witness.tell(raw), strict=True))


def plain(row, witness):
    """A decoded row in the witness's words."""
    said = {}
    for name, kind in witness.fields.items():
        value = row[name]
        if value is not None and kind is Kind.TIME:
            value = (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        said[name] = canonical_text(value) if value is not None and kind is Kind.JSON else value
    extra = row["extra"]
    return {**said, "extra": None if extra is None else canonical_text(extra)}


def decoded(value, contract=SALES, **columns):
    batch = records([value])
    for name, column in columns.items():
        batch = batch.set_column(batch.schema.get_field_index(name), name, column)
    return next(r for b in decode_batch(batch, contract, RULES) for r in b.to_pylist())


def agree(value):
    """Whether the record lands; if so, both must say the same."""
    row = decoded(value)
    if row["verdict"] is None:
        assert told(value) == plain(row, sales.WITNESS)
    return row["verdict"] is None


TIMES = [
    "2026-11-20T10:00:00Z", "2026-11-20t10:00:00.5z", "2026-11-20 10:00:00.1234565+01:00",
    "2026-11-18T10:00:00.1234564999-23:59", "2026-11-20T10:00:00.9999999+0530",
    "2024-02-29T23:59:59.000000500Z", "2026-11-20T10:00:00.123456789012345678Z",
]  # fmt: skip


@pytest.mark.parametrize("time", TIMES)
def test_times_are_the_decoders(time):
    assert agree(json.dumps(sale(event_time=time)).encode())


PRICES = [
    "0", "-0", "0.0", "1.5", "1.50000000", "1e2", "15E-1", "999999999999.9999", "0e99999",
    "1.00001", "-1", "123456789012345678901234567890", "0.00009999999999999999999999",
]  # fmt: skip


@pytest.mark.parametrize("price", PRICES)
def test_prices_are_the_decoders(price):
    agree(json.dumps(sale()).replace("2.5", price).encode())


@pytest.mark.parametrize("price", ['"2.5"', "null", "true", "NaN", "1e99999999999999999999"])
def test_a_price_that_is_none_is_broken(price):
    with pytest.raises(Broken):
        told(json.dumps(sale()).replace("2.5", price).encode())


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.decimals(allow_nan=False).map(str),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=9,
)  # fmt: skip


@given(
    st.dictionaries(st.text(), _json, max_size=3),
    st.integers(-(10**9), 10**9),
    st.decimals(0, 10**12, allow_nan=False, places=4),
    st.datetimes(datetime(2001, 1, 1), datetime(2026, 1, 1)),
    st.text(),
    st.booleans(),
)
@example({}, 1, Decimal(0), datetime(2001, 1, 1), "\ud7ff\U0010ffff\x00", True)
def test_what_lands_says_what_the_witness_says(extra, quantity, price, time, text, ascii_):
    event = {**extra, **sale(quantity=quantity, event_time=f"{time.isoformat()}Z", country=text)}
    value = json.dumps(event, ensure_ascii=ascii_).replace("2.5", str(price))
    agree(value.encode("utf-8", "surrogatepass"))


@given(st.data())
def test_what_lands_of_records_with_a_changed_byte_says_it_too(data):
    value = bytearray(json.dumps({**sale(), "more": [1.5, "é", {"a": None}]}).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.sampled_from(
            [*b'0123456789eE+-.,:"[]{}\\ntfu', 0, 127, 255, 0xC3]))  # fmt: skip
    agree(bytes(value))


def change(op="u", before=None, after=None, **more):
    source = Source(
        name="n", ts_ms=1_760_000_000_123, snapshot="false", db="d", schema="s", table="t",
        sequence=more.get("sequence", sequence(1, 22, 3)), txId=7, lsn=9,
    )  # fmt: skip
    return encode(Change(op=op, before=before, after=after, source=source, ts_ms=1))


ROW = {
    "order_id": 12, "customer_name": "Ann", "restaurant_name": "R", "item": "soup",
    "amount": "12.50", "order_status": "placed", "created_at": "2025-10-01T10:00:00.25Z",
}  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        change("c", None, ROW), change("u", {"order_id": 12, "z": [1.0]}, {**ROW, "amount": 3}),
        change("r", None, {**ROW, "new": {"a": 1.50}, "op": "x"}), change("d", ROW, None),
        change("c", None, ROW, sequence='[null,"17"]'),
    ],
)  # fmt: skip
def test_a_change_of_an_order_is_told_as_it_lands(value):
    row = decoded(value, ORDERS)
    assert row["verdict"] is None, row["verdict"]
    assert told(value, orders.WITNESS) == plain(row, orders.WITNESS)


@pytest.mark.parametrize("headers", [[], [("sequence", sequence(1, 2, 3).encode())]])
def test_a_tombstone_is_told_as_it_lands(headers):
    import pyarrow as pa  # noqa: PLC0415  # for this test alone

    key = b'{"order_id": 12}'
    structs = [[{"key": k, "value": v} for k, v in headers]]
    row = decoded(None, ORDERS, key=pa.array([key]), headers=pa.array(structs, HEADERS))
    assert row["verdict"] is None, row["verdict"]
    found = told(None, orders.WITNESS, key=key, headers=headers)
    assert found == plain(row, orders.WITNESS)
