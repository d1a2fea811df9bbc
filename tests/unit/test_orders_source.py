"""What bronze says that the table held, worked out a part at a time."""

import random
from itertools import pairwise

import duckdb
import pytest

from lakehouse.products.orders.against import lake
from lakehouse.products.orders.against.table import FIRST, LAST, Moment

MOMENT = Moment(None, None, 0, 1_000, (7,))
MADE = """
CREATE TABLE bronze_now AS SELECT *, 'Ada' AS customer_name, 'Kaze' AS restaurant_name,
    'Ramen' AS item, CAST(n AS DECIMAL(18,4)) AS amount, 'placed' AS order_status,
    TIMESTAMPTZ '2026-11-20 10:00:00+00' AS created_at, false AS is_duplicate,
    lpad(CAST(n AS VARCHAR), 20, '0') AS sequence, CAST(n % 1200 AS BIGINT) AS xid
FROM (SELECT CAST(unnest($keys) AS BIGINT) AS order_id, unnest($ops) AS op,
    unnest(range(len($keys))) AS n)
"""


@pytest.fixture
def connection():
    drawn = random.Random(5)
    keys = [drawn.choice([FIRST, LAST, drawn.randrange(300)]) for _ in range(2_000)]
    ops = [drawn.choice("ccud") for _ in keys]
    with duckdb.connect() as opened:
        opened.execute(MADE, {"keys": keys, "ops": ops})
        yield opened


def test_parts_have_every_key_once_and_tell_what_the_whole_does(connection, monkeypatch):
    monkeypatch.setattr(lake, "AT_ONCE", 200)
    parts = lake.parts(connection)
    assert len(parts) > 3
    assert (parts[0][0], parts[-1][1]) == (FIRST, LAST)
    assert all(last + 1 == start for (_, last), (start, _) in pairwise(parts))
    lake.state_then(connection, MOMENT, "whole", "true")
    found = []
    for part in parts:
        lake.state_then(connection, MOMENT, "then", lake.between(*part))
        found += connection.execute('FROM "then"').fetchall()
    assert found == connection.execute("FROM whole ORDER BY order_id").fetchall()
    assert {FIRST, LAST} <= {row[0] for row in found}


def test_few_changes_are_one_part(connection):
    assert lake.parts(connection) == [(FIRST, LAST)]
    connection.execute("TRUNCATE bronze_now")
    assert lake.parts(connection) == [(FIRST, LAST)]
