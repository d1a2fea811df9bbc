"""DuckDB says what an EXPLAIN explains; text, parsing, running and drawing are bounded."""

import time
from datetime import timedelta

import pyarrow as pa
import pytest

from lakehouse.cli.asking import answered
from lakehouse.explorer.allowed import LONGEST, SqlRejected, check, is_explain
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.format import Format
from lakehouse.explorer.session import Session
from lakehouse.explorer.show import render
from lakehouse.explorer.sql import QueryTimedOut, in_time
from lakehouse.settings.sections import ExplorerSettings


@pytest.mark.parametrize(
    "statement",
    [
        "EXPLAIN SELECT 1",
        "EXPLAIN (SELECT 1)",
        "explain/* a /* b */ ( */analyze FROM silver.x",
        "EXPLAIN (ANALYZE, FORMAT json) FROM silver.x",
        "/* /* */ EXPLAIN */ EXPLAIN WITH a AS (SELECT 1) FROM a",
    ],
)
def test_a_read_may_be_explained(statement):
    check(statement)
    assert is_explain(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "EXPLAIN ANALYZE INSERT INTO t SELECT 1",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO 'x'",
        "EXPLAIN /* /* */ SELECT 1 */ FROM read_text('/etc/passwd')",
        "/* /* */ EXPLAIN */ EXPLAIN /* a /* b */ ( */ ANALYZE FROM read_csv('x')",
        "EXPLAIN (ANALYZE) -- (\n CREATE TABLE a AS SELECT 1",
        "EXPLAIN (FROM read_text('x'))",
        "EXPLAIN UPDATE EXTENSIONS",
        "EXPLAIN " + "a " * 20_000,
        "/*" * 30_000 + "EXPLAIN",
        "SELECT '" + "a" * LONGEST + "'",
        "SELECT '" + "ü" * (LONGEST // 2) + "'",
    ],
    ids=lambda s: s[:40],
)
def test_nothing_else_may_and_the_check_is_quick(statement):
    began = time.monotonic()
    with pytest.raises(SqlRejected):
        check(statement)
    assert time.monotonic() - began < 60  # a moment; for what goes back over itself, hours


def test_the_limit_holds_for_what_is_no_query():
    quick = ExplorerSettings(timeout=timedelta(milliseconds=200))
    with pytest.raises(QueryTimedOut):
        in_time(quick, lambda: time.sleep(3))


def test_a_large_value_is_drawn_in_part_and_given_whole_to_programs():
    rows = pa.table({"a": ["x" * 5_000_000]})
    began = time.monotonic()
    drawn = render({"rows": rows}, Format.table, 120)
    assert len(drawn) < 100_000
    assert "5,000,000 characters" in drawn.replace("\n", "").replace("  ", " ")
    assert time.monotonic() - began < 100  # a moment; the whole of it takes minutes
    assert len(render({"rows": rows}, Format.json)) > 5_000_000


def test_a_drawing_that_takes_too_long_is_ended(tmp_path, settings):
    """The rows are there in a moment; drawing them takes the processor longer."""
    session = Session(Catalogue(str(tmp_path)), settings.explorer, {})
    wide = ", ".join(f"repeat('ä {n}', 40) AS c{n}" for n in range(20))
    quick = settings.model_copy(
        update={"explorer": ExplorerSettings(timeout=timedelta(milliseconds=100))}
    )
    with session:
        for form, count in ((Format.table, 200), (Format.md, 2000)):
            rows = f"SELECT {wide} FROM range({count})"
            assert session.ask(rows).rows.num_rows == count
            with pytest.raises(QueryTimedOut):
                answered(session, quick, rows, form, count, raw=False)
