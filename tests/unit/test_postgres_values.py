"""What a sink writes of texts for Postgres: another for each, whoever made them up."""

import duckdb
import pyarrow as pa

from lakehouse.model.sink import PostgresTable
from lakehouse.sinks.postgres_tables import values

TABLE = PostgresTable("silver.shop_by_name", "by_name", ("name",))
SCHEMA = pa.schema([pa.field("name", pa.string(), nullable=False)])


def told(text):
    """What Postgres gets as the key of this text."""
    sql = values(TABLE, SCHEMA)["name"]
    [(found,)] = duckdb.execute(f"SELECT {sql} FROM (SELECT ? AS name)", [text]).fetchall()
    return found


def test_a_text_that_looks_like_a_long_one_is_another_key():
    long = "é" * 3_000
    first = told(long)
    second = told(first)
    found = [first, second, told(second), told("a"), told("a\0"), told("a␀"), told("a␀0")]
    assert len({*found}) == len(found)
    assert all(len(text.encode()) < 2_400 and "\0" not in text for text in found)
