"""The decoder against events that Hypothesis makes up: what is encoded comes back."""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.products.sales.contract import Sale
from tests.conftest import SALES, decoded

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
SALE = st.builds(
    Sale,
    event_id=TEXT,
    event_time=st.datetimes(
        datetime(2000, 1, 1),
        datetime(2026, 11, 20, 12),
        timezones=st.just(UTC),  # the bound itself is naive, by Hypothesis
    ),
    order_id=TEXT,
    client_id=st.none() | TEXT,
    country=TEXT,
    segment=st.sampled_from(["B2B", "B2C"]),
    product_id=TEXT,
    product_name=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    quantity=st.integers(-(10**9), 10**9).filter(bool),
    unit_price=st.decimals(0, Decimal("999999999999.9999"), places=4),
    currency=st.sampled_from(["EUR", "GBP", "JPY"]),
    channel=TEXT,
)


@settings(max_examples=150)
@given(st.lists(SALE, min_size=1, max_size=8))
def test_round_trip(sales):
    rows = decoded([SALES.encode(s) for s in sales]).to_pylist()
    assert [r["verdict"] for r in rows] == [None] * len(sales)
    for row, sale in zip(rows, sales, strict=True):
        assert {f: row[f] for f in SALES.schema.names} == {
            f: getattr(sale, f) for f in SALES.schema.names
        }


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_end_in_exactly_one_place(value):
    rows = decoded([value]).to_pylist()
    assert len(rows) == 1
    assert (rows[0]["verdict"] is None) == (rows[0]["event_id"] is not None)
