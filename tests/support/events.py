"""Drawn sales."""

from hypothesis import strategies as st

from tests.conftest import sale

EVENT = st.builds(
    sale,
    event_id=st.sampled_from([f"e{n}" for n in range(12)]),
    order_id=st.sampled_from(["o1", "o2", "o3"]),
    client_id=st.sampled_from([None, "c1", "c2"]),
    country=st.sampled_from(["Germany", "France"]),
    segment=st.sampled_from(["B2B", "B2C"]),
    product_id=st.sampled_from(["p1", "p2", "p3"]),
    quantity=st.sampled_from([-2, -1, 1, 2, 3]),
    unit_price=st.sampled_from([0, 0.5, 2.25]),
    event_time=st.sampled_from(
        ["2026-11-20T11:00:00Z", "2026-11-19T10:00:00Z", "2026-10-01T00:00:00Z"]
    ),
)  # fmt: skip
