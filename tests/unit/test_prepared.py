"""Queries that are planned once: few rows or many, a fold asks the same and gets the same."""

import json
from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pytest

from lakehouse.model.flow import SilverFlow
from lakehouse.products.registry import products
from lakehouse.silver.publisher import SilverPublisher
from lakehouse.storage.prepared import Prepared, Source

FLOWS = {f.name: f for p in products().values() for f in p.flows if isinstance(f, SilverFlow)}
TIME = pa.timestamp("us", "UTC")


@pytest.fixture
def connection():
    """As a fold has one, but that it may be asked how long planning took."""
    with duckdb.connect(config={"threads": "1"}) as made:
        made.execute("SET TimeZone = 'UTC'")
        yield made


def queries(held, seen):
    """The prepared queries of an object, and of those that it holds."""
    if isinstance(held, Prepared):
        yield held
    elif id(held) not in seen and type(held).__module__.startswith("lakehouse.silver"):
        seen.add(id(held))
        for value in vars(held).values():
            yield from queries(value, seen)
    elif isinstance(held, dict | list | tuple):
        for value in held.values() if isinstance(held, dict) else held:
            yield from queries(value, seen)


def is_planned_again(connection, ask):
    """Whether DuckDB looks for a plan when it is asked."""
    connection.execute("PRAGMA enable_profiling = 'no_output'")
    ask()
    told = json.loads(connection.get_profiling_information(format="json"))
    return "expression_rewriter" in told.get("optimizer", {})


@pytest.mark.parametrize("name", FLOWS)
def test_every_query_of_a_fold_keeps_its_plan(settings, connection, name):
    """To plan them took more of a batch of a thousand rows than all else."""
    silver = SilverPublisher.open(FLOWS[name], settings, connection)
    found = [*queries(silver, set())]
    assert len(found) > len(silver.tables)
    for query in found:
        query()  # a process that folds once plans nothing to keep
        query()
        assert not is_planned_again(query._planned, query), query._sql
    connection.execute("CREATE TEMP TABLE held AS SELECT 1 AS one; PREPARE scans AS FROM held")
    assert is_planned_again(connection, lambda: connection.execute("EXECUTE scans").fetchall())
    silver.close()


def test_few_rows_and_many_give_the_same(connection):
    kinds = {
        "text": pa.string(), "number": pa.int64(), "money": pa.decimal128(38, 4), "time": TIME,
        "day": pa.date32(), "raw": pa.binary(), "is_late": pa.bool_(), "real": pa.float64(),
    }  # fmt: skip
    source = Source(pa.schema(kinds))
    query = Prepared(
        connection, "SELECT *, date_trunc('week', time) AS week FROM told", {"told": source}
    )
    assert query().num_rows == 0
    one = {
        "text": "ä\0'", "number": -(2**63), "money": None, "time": datetime(1, 1, 1, tzinfo=UTC),
        "day": None, "raw": b"\xff\0", "is_late": True, "real": float("-inf"),
    }  # fmt: skip
    none = dict.fromkeys(kinds)
    few = pa.Table.from_pylist([one, none], source.rows.schema)
    source.put(few)
    told = query()
    assert told.drop_columns(["week"]).cast(few.schema) == few
    source.put(pa.concat_tables([few.slice(0, 1)] * 30_000))
    many = query()
    assert many.num_rows == 30_000
    assert many.slice(29_999).cast(told.schema) == told.slice(0, 1)
    source.put(few.slice(1))
    assert query().to_pylist() == told.slice(1).to_pylist()
    source.clear()
    assert query().num_rows == 0


def test_date_trunc_is_duckdbs_own_for_every_kind_of_time(connection):
    """A declaration is checked with that: what it gives must not be of another type in a fold."""
    source = Source(pa.schema({"time": TIME}))
    source.put(pa.table({"time": pa.array([datetime(1999, 12, 31, 23, tzinfo=UTC), None], TIME)}))
    times = ("time", "CAST(time AS TIMESTAMP)", "CAST(time AS DATE)", "time - TIMESTAMPTZ 'epoch'")
    for unit in ("hour", "week", "year"):
        calls = [f"date_trunc('{unit}', {time})" for time in times]
        told = ", ".join(f"{call} AS c{n}, typeof({call}) AS t{n}" for n, call in enumerate(calls))
        sql = f"SELECT {told} FROM told"
        connection.register("told", source)
        held = connection.execute(sql).to_arrow_table()
        query = Prepared(connection, sql, {"told": source})
        for found in (query(), query()):  # scanned, and by a plan that is kept
            assert found.to_pylist() == held.to_pylist()
