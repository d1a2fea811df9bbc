"""Amounts of orders at the contract's limit: sums, averages and the audit, by Python's Decimal."""

from decimal import Decimal

import pytest

from tests.support.money import PRICE
from tests.support.orders import Lake, change, row


@pytest.fixture
def lake(settings):
    return Lake(settings)


def test_amounts_at_the_limit_add_up_and_average_exactly(lake):
    amounts = [PRICE if n % 3 else Decimal("0.0001") for n in range(40)]
    made = [change("c", n + 1, row(order_id=n, amount=str(a))) for n, a in enumerate(amounts)]
    lake.land(made[:25])
    lake.catch_up()
    lake.restart()
    lake.land(made[25:])
    lake.catch_up()
    total = sum(amounts, Decimal(0))
    average = (total / 40).quantize(Decimal("0.0001"), "ROUND_HALF_UP")
    columns = "orders, amount, revenue, average_order"
    assert [tuple(r.values()) for r in lake.rows("silver.orders_by_restaurant", columns)] == [
        (40, total, total, average)
    ]
    assert lake.audited() == []
