"""SQL that tries to reach beyond the lake's tables, or never ends; and SQL that does no harm."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from lakehouse.core.errors import Exit, TableMissing
from lakehouse.explorer.allowed import CLOSED_FUNCTIONS, TABLE_FUNCTIONS, SqlRejected, check
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.report import views
from lakehouse.explorer.sql import QueryTimedOut, Reader
from lakehouse.products.registry import load_settings
from tests.conftest import encode, sale
from tests.support.lake import Lake
from tests.support.sql import (
    BOMBS,
    ENDLESS,
    FILES,
    HARMLESS,
    NETWORK,
    PLACES,
    REJECTED,
    STOLEN,
)

ROOT = Path(__file__).parents[2]
SECRET = "c4n4ry-of-the-environment"


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Settings of a small lake of this file's own."""
    made = load_settings(ROOT / "config.ini").with_root(tmp_path_factory.mktemp("s") / "lake")
    lake = Lake(made)
    lake.land([*encode(sale(), sale(event_id="b")), b"{"], 0)
    lake.silver.catch_up()
    return made


@pytest.fixture(scope="module")
def reader(settings):
    """A reader that has every table and view open."""
    statements = ["SHOW ALL TABLES"]
    with Reader(Catalogue(settings.lake.root), settings.explorer, statements, views()) as reader:
        yield reader


SAID = re.compile(r"SQL( line \d+, column \d+)?: ")


def places(settings):
    """What must stand in no message: where the lake and the user's home are."""
    return (settings.lake.root, str(Path.home()) + "/", "root:x:", SECRET)


@pytest.mark.parametrize("statement", REJECTED, ids=lambda s: ascii(s[:60]))
def test_what_is_not_one_read_of_the_lake_is_rejected(reader, settings, statement):
    given = statement.replace("{root}", settings.lake.root)
    with pytest.raises(SqlRejected) as caught:
        reader.ask(given)
    assert caught.value.exit_code == Exit.FAULT
    said = str(caught.value)
    assert SAID.match(said)
    assert "\n  fix: " in said
    assert all(c.isprintable() or c == "\n" for c in said)
    assert not [place for place in places(settings) if place in said and "{root}" not in statement]
    assert not STOLEN.exists()


@pytest.mark.parametrize("statement", PLACES)
def test_a_table_is_looked_up_by_its_name_which_is_no_path(reader, statement):
    with pytest.raises(TableMissing, match="does not exist"):
        reader.ask(statement)


@pytest.mark.parametrize("statement", HARMLESS, ids=lambda s: ascii(s[:60]))
def test_what_does_no_harm_is_answered(reader, settings, statement):
    answer = reader.ask(statement)
    assert answer.rows.num_rows
    shown = str(answer.rows.to_pylist())
    assert not [place for place in places(settings) if place in shown]


def test_the_check_alone_stops_all_that_would_do_a_thing(settings):
    """What it lets through names nothing that there is, or cannot be computed."""
    given = [statement.replace("{root}", settings.lake.root) for statement in REJECTED]
    passed = [statement for statement in given if is_let_through(statement)]
    assert 0 < len(passed) < 10
    with duckdb.connect() as open_to_all:
        open_to_all.execute("CREATE SCHEMA silver; CREATE SCHEMA bronze")
        open_to_all.execute("CREATE VIEW silver.sales_by_country AS SELECT 1 AS country")
        open_to_all.execute("CREATE VIEW bronze.sales AS SELECT 1 AS units")
        for statement in passed:
            with pytest.raises(duckdb.Error):
                open_to_all.execute(statement)


def is_let_through(statement):
    try:
        check(statement, views())
    except SqlRejected:
        return False
    return True


@pytest.mark.parametrize("statement", [*FILES, *NETWORK], ids=lambda s: ascii(s[:60]))
def test_the_lock_alone_opens_no_file_and_no_network(reader, settings, statement, monkeypatch):
    monkeypatch.setattr("lakehouse.explorer.sql.check", lambda *_: None)
    with pytest.raises(SqlRejected):
        reader.ask(statement.replace("{root}", settings.lake.root))
    assert not STOLEN.exists()


def test_the_plan_of_a_query_does_not_tell_where_the_lake_is(tmp_path):
    deep = tmp_path / ("long" * 30) / "lake"
    made = load_settings(ROOT / "config.ini").with_root(deep)
    Lake(made).land(encode(sale()), 0)
    with Reader(Catalogue(made.lake.root), made.explorer, ["bronze.sales"]) as reader:
        for form in ("ANALYZE", "(ANALYZE, FORMAT json)", "(ANALYZE, FORMAT yaml)"):
            plan = reader.ask(f"EXPLAIN {form} FROM bronze.sales").rows["explain_value"][0].as_py()
            flat = re.sub(r"\s*│\s*│\s*", "", plan.replace("\n", ""))
            assert "…/bronze/sales" in flat.replace("\\/", "/")
            assert "longlong" not in plan


ASKED = """
import os, sys
from pathlib import Path
from lakehouse.cli.asking import opened
from lakehouse.core.errors import LakehouseError
_, session = opened(None, Path(sys.argv[1]), None, None, None)
for statement in sys.stdin.read().split(chr(0)):
    try:
        print(session.ask(statement).rows.to_pylist())
    except LakehouseError as error:
        print(error, file=sys.stderr)
"""


def test_all_of_them_through_one_session(settings):
    """One process is asked them all: none ends it, prints a traceback, or tells a secret."""
    lines = [s for s in REJECTED if s.strip() and len(s) < 4_000 and s.isprintable()]
    done = subprocess.run(
        [sys.executable, "-c", ASKED, settings.lake.root],
        input=chr(0).join([*lines, "SELECT 1 + 1 AS two"]), cwd=ROOT, check=False,
        env={**os.environ, "CANARY": SECRET}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "[{'two': 2}]\n")
    assert "Traceback" not in done.stderr
    assert done.stderr.count("fix: ") == len(lines)
    assert SECRET not in done.stderr
    assert not STOLEN.exists()


def test_functions_that_a_new_duckdb_brings_are_seen():
    """All that do more than compute from what they are given are closed, or are these."""
    harmless = {
        "current_date", "current_database", "current_localtime", "current_localtimestamp",
        "current_schema", "current_schemas", "error", "gen_random_uuid", "get_current_time",
        "get_current_timestamp", "in_search_path", "now", "random", "today",
        "transaction_timestamp", "uuid", "uuidv4", "uuidv7",
    }  # fmt: skip
    found = duckdb.sql(
        "SELECT lower(function_name) FROM duckdb_functions() WHERE function_type = 'scalar' "
        "GROUP BY ALL HAVING NOT bool_or(coalesce(stability, '') = 'CONSISTENT') "
        "OR bool_or(stability = 'VOLATILE')"  # what depends on the time zone alone is harmless
    ).fetchall()
    loose = {name for (name,) in found if not CLOSED_FUNCTIONS.fullmatch(name)}
    assert loose == harmless
    tables = duckdb.sql(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'table'"
    ).fetchall()
    assert {name for (name,) in tables} >= TABLE_FUNCTIONS


@pytest.mark.parametrize("statement", ENDLESS)
def test_what_never_ends_is_ended(settings, statement):
    with Reader(Catalogue(settings.lake.root), settings.explorer, []) as reader:
        quick = settings.explorer.model_copy(update={"timeout": timedelta(milliseconds=300)})
        reader.settings = quick  # which opening, on a busy machine, may not keep
        with pytest.raises(QueryTimedOut) as caught:
            reader.ask(statement, 10)
    assert caught.value.exit_code == Exit.TIMEOUT


MEASURED = """
import pathlib, resource, subprocess, sys
done = subprocess.run(sys.argv[2:])
most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
pathlib.Path(sys.argv[1]).write_text(str(most))
sys.exit(done.returncode)
"""
"""Runs a command and writes its greatest memory: of a child of ours the system counts in ours."""


@pytest.mark.parametrize("statement", BOMBS)
def test_what_would_fill_the_memory_is_refused_it(settings, tmp_path, statement):
    words = ["explore", "--root", settings.lake.root, "--sql", statement]
    limits = {"LAKEHOUSE_EXPLORER_MEMORY_LIMIT": "100 MB", "LAKEHOUSE_EXPLORER_TIMEOUT": "5 s"}
    most = tmp_path / "most"
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, most, sys.executable, "-m", "lakehouse", *words],
        cwd=ROOT, env={**os.environ, **limits}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    text = done.stdout + done.stderr
    assert done.returncode in {Exit.FAULT, Exit.TIMEOUT}, text
    assert SAID.match(text)
    assert "fix: " in text
    assert "Traceback" not in text
    assert int(most.read_text()) * 1024 < 1.6e9
