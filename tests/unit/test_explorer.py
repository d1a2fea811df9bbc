"""Reading: one SELECT over the lake's tables and nothing else; text is shown, not obeyed."""

import csv
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from lakehouse.cli.app import app
from lakehouse.core.errors import TableDamaged, TableMissing, UsageError
from lakehouse.explorer.allowed import SqlRejected
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.format import Format
from lakehouse.explorer.report import views
from lakehouse.explorer.show import render
from lakehouse.explorer.sql import Reader, read
from tests.conftest import encode, sale, settings_at
from tests.support.copies_of_one import copies_of_one
from tests.support.lake import Lake
from tests.support.logs import retold

HOSTILE = "[red]x[/] \x1b[31m\x9b|<b>\n# quality\n\u202egnp"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def landed(tmp_path_factory):
    """The root of a lake of two good events and a broken one."""
    lake = Lake(settings_at(tmp_path_factory.mktemp("landed") / "lake"))
    lake.land([*encode(sale(product_name=HOSTILE), sale(event_id="b")), b"{"], 0)
    lake.silver.catch_up()
    return lake.settings.lake.root


@pytest.fixture
def catalogue(landed, settings):
    shutil.copytree(landed, settings.lake.root)
    return Catalogue(settings.lake.root)


def test_tables_are_read_by_name(catalogue, settings):
    rows = read(catalogue, "SELECT orders, lines FROM silver.sales_by_country", settings.explorer)
    assert rows.to_pylist() == [{"orders": 1, "lines": 2}]


def test_partition_columns_keep_their_types_and_times_are_utc(catalogue, settings):
    rows = read(
        catalogue,
        "SELECT event_date, event_time FROM bronze.sales LIMIT 1",
        settings.explorer,
    )
    assert rows.schema.types == [pa.date32(), pa.timestamp("us", "UTC")]
    sql = "SELECT DISTINCT period_date FROM silver.sales_trends"
    assert read(catalogue, sql, settings.explorer).schema.types == [pa.date32()]


def test_a_lake_whose_path_looks_like_sql_or_a_partition_is_read(settings, tmp_path):
    settings = settings.with_root(tmp_path / "it's a lake" / "place=no where")
    lake = Lake(settings)
    lake.land(encode(sale()), 0)
    lake.silver.catch_up()
    there = Catalogue(settings.lake.root)
    for table in ("bronze.sales", "silver.sales_by_country"):
        rows = read(there, f"SELECT country FROM {table}", settings.explorer)
        assert rows.to_pylist() == [{"country": "Germany"}]


ENDLESS = "SELECT count(*) FROM range(10000000) a, range(1000000) b WHERE a.range + b.range = 7"


def test_rows_past_the_limit_are_counted_and_not_kept(catalogue, settings):
    with Reader(catalogue, settings.explorer, []) as reader:
        answer = reader.ask("SELECT * FROM range(100000)", 7)
    assert (answer.rows.num_rows, answer.more) == (7, 99_993)


def test_a_missing_table_says_what_there_is_and_what_to_run(catalogue, settings):
    with pytest.raises(TableMissing, match=r"silver\.sales_by_country.*lakehouse demo"):
        catalogue.open("silver.nothing")
    with pytest.raises(TableMissing, match=r"silver\.nothing"):
        read(catalogue, "SELECT * FROM silver.nothing", settings.explorer)
    with pytest.raises(SqlRejected, match="nowhere"):
        read(catalogue, "SELECT nowhere FROM silver.sales_by_country", settings.explorer)


@pytest.mark.parametrize("keep", [0, 40])
def test_a_cut_last_commit_is_said_and_older_versions_still_read(catalogue, settings, keep):
    log = Path(catalogue.lake.table("silver.sales_by_country")) / "_delta_log"
    newest = max(log.glob("*.json"))
    newest.write_bytes(newest.read_bytes()[:keep])
    with pytest.raises(TableDamaged, match="is cut"):
        read(catalogue, "FROM silver.sales_by_country", settings.explorer)
    with pytest.raises(TableDamaged):
        catalogue.info("silver.sales_by_country")
    assert catalogue.back_to(version=0).open("silver.sales_by_country").version() == 0


@pytest.mark.parametrize(
    "odd",
    [
        {"delta.enableDeletionVectors": "true"},
        {"delta.columnMapping.mode": "name"},
    ],
)
def test_a_table_that_files_alone_do_not_tell_is_refused(catalogue, odd):
    log = Path(catalogue.lake.table("silver.sales_by_country")) / "_delta_log"
    first = min(log.glob("*.json"))
    retold(first, lambda a: a.get("metaData", {}).get("configuration", {}).update(odd))
    with pytest.raises(TableDamaged):
        catalogue.open("silver.sales_by_country")


def test_time_travel(catalogue, settings):
    old = catalogue.back_to(version=0)
    sql = "SELECT count(*) AS n FROM silver.sales_by_country"
    assert read(old, sql, settings.explorer).to_pylist() == [{"n": 0}]
    assert read(catalogue, sql, settings.explorer).to_pylist() == [{"n": 1}]
    assert [c["version"] for c in old.history("silver.sales_by_country", 9)] == [0]
    assert old.info("silver.sales_by_country").version == 0
    with pytest.raises(UsageError, match="no such version"):
        read(catalogue.back_to(version=99), sql, settings.explorer)
    with pytest.raises(UsageError, match="no version as old"):
        read(catalogue.back_to(at=datetime(2020, 1, 1, tzinfo=UTC)), sql, settings.explorer)
    with pytest.raises(UsageError, match="exclude"):
        Catalogue("x", 1, datetime(2020, 1, 1, tzinfo=UTC))


def test_text_from_the_data_is_never_obeyed(catalogue, settings):
    rows = read(
        catalogue, "SELECT product_name FROM bronze.sales ORDER BY event_id DESC", settings.explorer
    )
    for form in (Format.table, Format.md, Format.json):
        shown = render({"rows": rows}, form, 200)
        assert not set(shown) & {"\x1b", "\x9b", "\u202e"}
    assert "[red]x[/]" in render({"rows": rows}, Format.table, 200)
    assert json.loads(render({"rows": rows}, Format.json))["rows"][0]["product_name"] == HOSTILE
    assert "\\[red\\]" in render({"rows": rows}, Format.md)
    text = render({"rows": rows}, Format.csv, raw=True)
    assert [r[0] for r in csv.reader(io.StringIO(text))][:2] == ["product_name", HOSTILE]
    text = render({"rows": rows, "again": rows}, Format.csv, raw=True)
    found = [row[0] for row in csv.reader(io.StringIO(text)) if row]
    assert found[:3] == ["# rows", "product_name", HOSTILE]


def test_a_number_is_never_cut(catalogue, settings):
    sql = "SELECT 12345678901.25::DECIMAL(18,2) AS n, 'w' AS t, 98765432109::HUGEINT AS whole"
    columns = ", ".join(f"n AS n{i}, t AS t{i}, whole AS whole{i}" for i in range(5))
    rows = read(catalogue, f"SELECT {columns} FROM ({sql})", settings.explorer)
    shown = render({"rows": rows}, Format.table, 40)
    assert shown.count("12,345,678,901.25") == shown.count("98,765,432,109") == 5
    assert json.loads(render({"rows": rows}, Format.json))["rows"][0]["whole0"] == 98_765_432_109


def test_values_of_every_kind_are_shown(catalogue, settings):
    rows = read(
        catalogue,
        "SELECT 1 AS a, 2 AS a, INTERVAL 1 DAY AS i, uuid() AS u, {'x': 1} AS s, [1] AS l, "
        "NULL AS n, 'nan'::DOUBLE AS d, 'infinity'::TIMESTAMP AS t, 'b'::BLOB AS b, "
        "DATE '290000-01-01' AS far",
        settings.explorer,
    )
    for form in Format:
        assert render({"rows": rows}, form, 300)
    found = json.loads(render({"rows": rows}, Format.json))["rows"][0]
    assert (found["a"], found["a_2"], found["d"]) == (1, 2, "nan")


def test_the_period_before_is_the_adjacent_one(settings):
    lake = Lake(settings)
    days = {"e1": ("01", 3, 1), "e2": ("02", 1, 1), "e4": ("04", 5, 1)}
    lake.land(
        encode(
            *[
                sale(event_id=k, event_time=f"2026-11-{d}T10:00:00Z", quantity=q, unit_price=p)
                for k, (d, q, p) in days.items()
            ]
        ),
        0,
    )
    lake.silver.catch_up()
    rows = read(
        Catalogue(settings.lake.root),
        """SELECT day(period_start) AS d, change, change_pct FROM trends
        WHERE grain = 'day' AND dimension = 'all' ORDER BY 1""",
        settings.explorer,
        views().items(),
    ).to_pylist()
    assert rows == [
        {"d": 1, "change": None, "change_pct": None},
        {"d": 2, "change": Decimal(-2), "change_pct": Decimal("-66.7")},
        {"d": 4, "change": None, "change_pct": None},
    ]


def test_clients_are_scored_by_fifths_and_equal_ones_alike(settings):
    lake = Lake(settings)
    prices = {"a": 1, "b": 1, "c": 600, "d": 3000, "e": 20000}
    events = [
        sale(event_id=c, order_id=c, client_id=c, quantity=1, unit_price=p)
        for c, p in prices.items()
    ]
    lake.land(encode(*events, sale(event_id="r", client_id="z", quantity=-1)), 0)
    lake.silver.catch_up()
    rows = read(
        Catalogue(settings.lake.root),
        "SELECT client_id, rfm, tier, rfm_segment FROM clients ORDER BY client_id",
        settings.explorer,
        views("TIMESTAMPTZ '2026-11-22T00:00:00Z'").items(),
    ).to_pylist()
    assert [(r["client_id"], r["rfm"], r["tier"]) for r in rows] == [
        ("a", "111", "bronze"),
        ("b", "111", "bronze"),
        ("c", "113", "silver"),
        ("d", "114", "gold"),
        ("e", "115", "platinum"),
        ("z", None, "none"),
    ]
    assert rows[-1]["rfm_segment"] == "only returns"


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
        CliRunner().invoke(app, ["report", "--root", str(tmp_path / "no")], catch_exceptions=False)
    with pytest.raises(UsageError, match="needs a terminal"):
        CliRunner().invoke(app, ["explore", "--root", root], catch_exceptions=False)


def test_the_script_exits_as_it_says(catalogue, settings, tmp_path):
    root = ("--root", settings.lake.root)
    script = (ROOT / "query_utils.py").read_text("utf-8")
    *refused, slow, piped = copies_of_one(
        "import duckdb, lakehouse.cli.app, lakehouse.cli.explore, lakehouse.explorer.sql",
        script,
        [
            [*root, "--sql", "DROP TABLE x"],
            [*root, "--sql", "SELECT 1", "--batch"],
            [*root, "--sql", "FROM silver.nothing"],
            ["--root", tmp_path / "no", "--batch"],
            ([*root, "--sql", ENDLESS], {"LAKEHOUSE_EXPLORER_TIMEOUT": "300 ms"}),
            [*root],
        ],
    )
    assert [done.returncode for done in refused] == [1, 2, 3, 3]
    assert (slow.returncode, slow.stdout) == (4, "")
    assert "Traceback" not in slow.stderr
    assert (piped.returncode, piped.stdout) == (2, "")
    assert "lakehouse report" in piped.stderr


TOLD = """import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from lakehouse.cli.app import main_as
from lakehouse.explorer import sql
within = sql.within
def told(*given):
    print("it is asked", file=sys.stderr, flush=True)
    return within(*given)
sql.within = told
main_as("explore")"""
"""The script, where our own shell may ignore Ctrl-C for its children; it says when it asks."""


def test_ctrl_c_ends_a_query_at_once(catalogue, settings):
    running = subprocess.Popen(
        [sys.executable, "-c", TOLD, "--root", settings.lake.root, "--sql", ENDLESS],
        cwd=ROOT, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert running.stderr.readline() == b"it is asked\n"
    time.sleep(0.5)  # it is in the query by then
    running.send_signal(signal.SIGINT)
    assert running.wait(200) == 130
    assert b"Traceback" not in running.stderr.read()
