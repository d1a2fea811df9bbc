"""Sales at the contract's limits."""

from decimal import Decimal

import pyarrow as pa
from deltalake import DeltaTable

from tests.conftest import encode, sale
from tests.support.audited import Kafka, proof
from tests.support.lake import assert_silver_is_a_function_of_bronze

PRICE = Decimal("999999999999.9999")
MOST = 10**9


def line(number, quantity, price=PRICE, **more):
    """An event whose price is written digit by digit."""
    event = sale(event_id=f"e{number}", quantity=quantity, unit_price="@", **more)
    return encode(event)[0].replace(b'"@"', str(price).encode())


def columns(row):
    return row["gross_revenue"], row["returns"], row["net_revenue"], int(row["units"])


def silver(lake, name):
    return DeltaTable(lake.bronze.bronze.uri.replace("/bronze/sales", f"/silver/sales_{name}"))


def rows(lake, name):
    return pa.table(silver(lake, name).to_pyarrow_table()).to_pylist()


def fold(lake, values, first):
    lake.land(values, first)
    lake.persist()


def assert_audited(lake, end):
    found = proof(lake, Kafka(end=end))
    assert [(t.table, t.differing, t.doubt, t.fault) for t in found.tables] == [
        (t.table, 0, "", "") for t in found.tables
    ]


def assert_whole(lake, count):
    """Once all is published, silver is a function of bronze, and the audit proves it."""
    lake.silver.persist()
    assert_silver_is_a_function_of_bronze(lake)
    assert_audited(lake, count)
