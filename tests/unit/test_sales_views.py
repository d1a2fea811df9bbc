"""What is derived of sales when it is read."""

import duckdb

from lakehouse.products.sales.views import SCORED, clients

MADE = """
    CREATE SCHEMA silver;
    CREATE TABLE silver.sales_by_country AS SELECT TIMESTAMPTZ '2026-11-22T00:00:00Z' AS last_sale;
    CREATE TABLE silver.sales_by_client AS
        SELECT 'c' || i AS client_id, 'of ' || n AS currency, 0 AS units, 0 AS gross_revenue,
            0 AS returns, 0 AS average_basket, '' AS favourite_product, last_sale AS first_sale, *
        FROM (SELECT n, i, CAST(hash(n, i) % (1 + n // 2) AS DECIMAL(38,4)) AS net_revenue,
                CAST(hash(i) % 4 AS BIGINT) AS orders,
                TIMESTAMPTZ '2026-11-21T00:00:00Z' - to_hours(CAST(hash(i, n) % 900 AS BIGINT))
                    AS last_sale
            FROM range(1, 61) AS a(n), range(n) AS b(i))
"""
"""A currency of each number of clients from 1 to 60; some never bought, many are equal."""
RANKED = "1 + (rank() OVER (of_currency ORDER BY {0}) - 1) * 5 // count(*) OVER of_currency"


def test_scores_are_fifths_of_ranks():
    ranks = " || ".join(RANKED.format(name) for name in SCORED.values())
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = 'UTC'; {MADE}")
        found = connection.sql(f"SELECT currency, client_id, rfm FROM ({clients()})").fetchall()
        wanted = connection.sql(
            f"SELECT currency, client_id, CASE WHEN orders > 0 THEN {ranks} END "
            "FROM silver.sales_by_client "
            "WINDOW of_currency AS (PARTITION BY currency, orders > 0)"
        ).fetchall()
    assert sorted(found) == sorted(wanted)
    assert len({score for _, _, score in found}) > 50
