"""Reading: one SELECT over the lake's tables and nothing else; text is shown, not obeyed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lakehouse.cli import app
from lakehouse.core.errors import Exit, TableMissing
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.show import Format, render
from lakehouse.explorer.sql import SqlRejected, read
from tests.conftest import encode, sale
from tests.unit.test_publish import Lake


@pytest.fixture
def catalogue(settings):
    lake = Lake(settings)
    lake.land([*encode(sale(product_name="[red]x[/] \x1b[31m"), sale(event_id="b")), b"{"], 0)
    lake.silver.catch_up()
    return Catalogue(settings.lake.root)


ATTACKS = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/hostname')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM read_parquet('http://127.0.0.1:1/x')",
    "COPY (SELECT 1) TO '/tmp/stolen'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/stolen'",
    "ATTACH '/tmp/x.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "PRAGMA enable_external_access",
    "CREATE TABLE x AS SELECT 1",
    "DELETE FROM silver.sales_by_country",
    "DROP VIEW silver.sales_by_country",
    "SELECT 1; SELECT 2",
    "CALL pragma_version()",
    "SELECT getenv('HOME')",
    "",
    "not sql",
]


@pytest.mark.parametrize("statement", ATTACKS)
def test_what_is_not_one_read_of_the_lake_is_rejected(catalogue, settings, statement):
    with pytest.raises(SqlRejected):
        read(catalogue, statement, settings.explorer)


def test_tables_are_read_by_name(catalogue, settings):
    rows = read(catalogue, "SELECT orders, lines FROM silver.sales_by_country", settings.explorer)
    assert rows.to_pylist() == [{"orders": 1, "lines": 2}]


def test_a_query_that_runs_too_long_is_ended(catalogue, settings):
    endless = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range + b.range = 7"
    root = settings.lake.root
    done = subprocess.run(
        [sys.executable, "query_utils.py", "--root", root, "--sql", endless],
        env={**os.environ, "LAKEHOUSE_EXPLORER_TIMEOUT": "300 ms"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == Exit.TIMEOUT
    assert "ran longer than 0.3 s" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_table_says_what_there_is(catalogue):
    with pytest.raises(TableMissing, match=r"silver\.sales_by_country"):
        catalogue.open("silver.nothing")


def test_text_from_the_data_is_never_obeyed(catalogue, settings):
    rows = read(catalogue, "SELECT product_name FROM bronze.sales", settings.explorer)
    shown = render({"rows": rows}, Format.table)
    assert "[red]x[/]" in shown
    assert "\x1b" not in shown


def explore(*words):
    return CliRunner().invoke(app, ["explore", *words])


def test_exit_codes_and_formats(catalogue, settings, tmp_path):
    root = settings.lake.root
    good = explore("--root", root, "--sql", "SELECT 1 AS one", "--format", "json")
    assert (good.exit_code, json.loads(good.stdout)) == (0, {"rows": [{"one": 1}]})
    assert explore("--no-such-option").exit_code == 2
    report = explore("--root", root, "--batch", "--format", "md")
    assert report.exit_code == 0
    assert "## countries" in report.stdout
    with pytest.raises(TableMissing):
        CliRunner().invoke(app, ["explore", "--root", str(tmp_path / "no")], catch_exceptions=False)
