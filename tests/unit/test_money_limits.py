"""Sums at the contract's limits: silver, audit and report against Python's own Decimal."""

from decimal import Decimal, localcontext

import duckdb
import pyarrow as pa
import pytest

from lakehouse.core.sql import ten_thousandths
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.report import report, views
from lakehouse.ingest.writers.arrow import ArrowWriter
from lakehouse.model.flow import MONEY
from lakehouse.model.money import DIGITS
from lakehouse.model.recompute import WHOLE
from lakehouse.products.sales.views import percent
from tests.conftest import NOW, decoded
from tests.support.lake import Lake
from tests.support.money import MOST, PRICE, assert_audited, columns, fold, line, rows

WIDEST = Decimal(10) ** 33 - Decimal("0.0001")
"""What 10^12 lines stay below."""


@pytest.fixture
def lake(settings):
    return Lake(settings)


def summed(lines):
    """Gross, returns, net and pieces of (quantity, price), by Python's Decimal."""
    with localcontext(prec=80):
        money = [q * p for q, p in lines]
        gross, back = (sum((m for m in money if (m > 0) == s), Decimal(0)) for s in (True, False))
        return gross, -back, gross + back, sum(q for q, _ in lines)


def test_the_limits_are_those_that_this_file_sums():
    assert DIGITS == 12
    assert Decimal(10) ** 21 > PRICE * MOST


def test_lines_at_the_limits_add_up_exactly(lake):
    lines = [(MOST if n % 3 else -MOST, PRICE) for n in range(60)]
    for first in (0, 30):
        fold(
            lake, [line(first + n, q) for n, (q, _) in enumerate(lines[first : first + 30])], first
        )
        lake.restart()
    for name in ("by_country", "by_client", "by_segment"):
        assert [columns(row) for row in rows(lake, name)] == [summed(lines)]
    for name in ("trends", "product_trends"):
        assert {columns(row) for row in rows(lake, name)} == {summed(lines)}
    assert [int(row["units"]) for row in rows(lake, "client_products")] == [40 * MOST]
    assert_audited(lake, 60)


def test_prices_of_the_earlier_limit_still_fold_and_are_audited(lake):
    """Bronze of an earlier release may hold 14 digits: 11 such lines ended silver."""
    price = Decimal("99999999999999.9999")
    found = decoded([line(n, MOST if n % 4 else -MOST) for n in range(40)])
    place = found.schema.get_field_index("unit_price")
    dear = pa.array([price] * 40, found.schema.field(place).type)
    ArrowWriter(lake.bronze).publish(
        found.set_column(place, found.schema.field(place), dear), {0: 40}, NOW
    )
    lake.restart()
    fold(lake, [line(40, 7, Decimal("0.0001"))], 40)
    lines = [(MOST if n % 4 else -MOST, price) for n in range(40)] + [(7, Decimal("0.0001"))]
    assert [columns(row) for row in rows(lake, "by_client")] == [summed(lines)]
    assert_audited(lake, 41)


def test_a_table_has_room_for_the_sums_of_10_to_the_12_lines(lake):
    """What is there already is put in, since nobody lands so many lines."""
    fold(lake, [line(0, MOST), line(1, -MOST, order_id="o2")], 0)
    most = {
        "gross_revenue": WIDEST - MOST * PRICE, "returns": WIDEST - MOST * PRICE,
        "net_revenue": Decimal(0), "units": 10**21 - MOST, "units_returned": 10**21 - MOST,
        "lines": 10**12 - 2,
    }  # fmt: skip
    for table in lake.silver.every_table():
        held = table.rows()
        for name in {*held.schema.names} & {*most}:
            kind = held.schema.field(name)
            column = pa.array([most[name]] * held.num_rows, kind.type)
            held = held.set_column(held.schema.get_field_index(name), kind, column)
        table.replace([held], {"source": table.last_note("source"), "flow": "sales.silver"})
    lake.restart()
    fold(lake, [line(2, MOST, order_id="o3"), line(3, -MOST, order_id="o4")], 2)
    with localcontext(prec=80):
        basket = (WIDEST / 2).quantize(Decimal("0.0001"), "ROUND_HALF_UP")
    for name in ("by_country", "by_client", "by_segment", "trends"):
        for row in rows(lake, name):
            assert columns(row) == (WIDEST, WIDEST, 0, 10**21 - MOST)
            assert (row["units_returned"], row["lines"]) == (10**21, 10**12)
            assert (row["orders"], row["average_basket"]) == (2, basket)
    assert [row["units"] for row in rows(lake, "client_products")] == [10**21]
    assert [c["favourite_product"] for c in rows(lake, "by_client")] == ["p1"]
    found = report(Catalogue(lake.settings.lake.root), lake.settings.explorer, views(), pytest.fail)
    assert found["totals"]["gross_revenue"].to_pylist() == [WIDEST]
    assert found["last_30_days"]["best_day"].to_pylist() == [0]


NUMBERS = [WIDEST, -WIDEST, Decimal("0.0001"), Decimal("-0.0001"), Decimal(0), Decimal("-9.5")]


@pytest.mark.parametrize("number", NUMBERS)
def test_an_amount_is_counted_in_its_last_place(number):
    for sql in (ten_thousandths("m"), WHOLE.format("m")):
        told = f"SELECT {sql} FROM (SELECT CAST(? AS {MONEY}) AS m)"
        with localcontext(prec=80):
            assert duckdb.connect().execute(told, [str(number)]).fetchone() == (
                int(number * 10_000),
            )


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [("1", "3", "33.3"), ("-1", "8", "-12.5"), ("5", "0", None), ("0.0005", "1", "0.1"),
     ("1e30", "1e30", "100"), (str(WIDEST), "0.0001", None), (str(WIDEST), str(WIDEST), None)],
)  # fmt: skip
def test_a_percentage_is_exact_or_left_out(part, whole, expected):
    sql = (
        f"SELECT {percent('a', 'b')} FROM (SELECT CAST(? AS {MONEY}) AS a, CAST(? AS {MONEY}) AS b)"
    )
    found = duckdb.connect().execute(sql, [f"{Decimal(part):f}", f"{Decimal(whole):f}"]).fetchone()
    assert found == (expected and Decimal(expected),)
