"""From a number back to its events, what changed between versions, and rows arranged again."""

import json
import re
import shutil
import threading
from datetime import timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from lakehouse.cli.app import app
from lakehouse.core.errors import LakehouseError, UsageError
from lakehouse.core.progress import told_to
from lakehouse.explorer.analyses import analyses, bars, charted, lines
from lakehouse.explorer.arranged import arranged, profile
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.diff import diff
from lakehouse.explorer.fetched import fetched
from lakehouse.explorer.keys import key_columns
from lakehouse.explorer.origin import origin, origin_of, row_of
from lakehouse.explorer.record import address, hexdump
from lakehouse.explorer.report import Chart, views
from lakehouse.explorer.session import Session
from lakehouse.explorer.sql import QueryTimedOut
from lakehouse.explorer.trace import arriving, origin_asked, trace
from lakehouse.settings.sections import KafkaSettings
from tests.conftest import settings_at


@pytest.fixture(scope="module")
def session(audited_root):
    settings = settings_at(audited_root)
    with Session(Catalogue(audited_root), settings.explorer, views(None, settings)) as opened:
        yield opened


def rows(session, sql):
    return session.ask(sql).rows.to_pylist()


@pytest.mark.parametrize(
    "table",
    ["by_country", "by_client", "by_segment", "trends", "product_trends"],
)
def test_a_row_of_silver_has_as_many_events_as_it_has_lines(session, table):
    found = rows(session, f"FROM silver.sales_{table}")
    assert found
    for row in found:
        events = trace(session, f"silver.sales_{table}", row, 1_000).events
        assert (events.rows.num_rows, events.more) == (row["lines"], 0), row


def test_a_row_that_does_not_tell_its_copy_has_the_same_events(session):
    row = rows(session, "FROM silver.sales_trends WHERE dimension = 'country' AND grain = 'day'")[0]
    without = {name: value for name, value in row.items() if name != "grain"}
    found = rows(session, origin("silver.sales_trends", row).sql)
    assert len(found) == row["lines"]
    assert rows(session, origin("silver.sales_trends", without).sql) == found


def test_a_period_that_is_none_and_a_copy_that_is_not_made_have_no_events(session):
    row = rows(session, "FROM silver.sales_trends WHERE dimension = 'all' AND grain = 'day'")[0]
    for wrong in (
        {"period_start": row["period_start"] + timedelta(hours=1)},
        {"grain": "year", "period_start": row["period_start"].replace(month=1, day=1)},
        {"dimension": "client"},
        {"period_date": row["period_date"] - timedelta(days=1)},
    ):
        found = {name: row[name] for name in key_columns("silver.sales_trends")} | wrong
        assert rows(session, origin("silver.sales_trends", found).sql) == [], wrong


def test_the_first_events_come_before_those_of_other_dates_are_read(session):
    found = origin("silver.sales_by_segment", {})
    whole = rows(session, found.sql)
    days = [row["n"] for row in rows(session, found.by_date)]
    assert len(days) > 1
    first, last = arriving(session, found, len(whole), first=days[0])
    assert first.rows.to_pylist() == whole[: days[0]]
    assert (last.rows.to_pylist(), last.more) == (whole, 0)
    assert first.more == len(whole) - days[0]
    [one] = arriving(session, found, days[0], first=1)  # of the same date: read once
    assert one.rows.num_rows == days[0]


def test_events_past_the_limit_are_counted(session):
    row = max(rows(session, "FROM silver.sales_by_segment"), key=lambda row: row["lines"])
    found = trace(session, "silver.sales_by_segment", row, 1)
    assert (found.events.rows.num_rows, found.events.more) == (1, row["lines"] - 1)


def test_the_newest_events_are_read_of_the_dates_that_have_them(session, monkeypatch):
    whole = rows(session, origin("silver.sales_by_segment", {}).sql)
    dates = sorted({one["event_date"] for one in whole}, reverse=True)
    assert len(dates) > 1
    asked, ask = [], session.ask
    monkeypatch.setattr(session, "ask", lambda *sql: asked.append(sql[0]) or ask(*sql))
    for most in (1, 1 + sum(one["event_date"] == dates[0] for one in whole)):
        found = trace(session, "silver.sales_by_segment", {}, most).events
        assert found.rows.to_pylist() == whole[:most]
        assert found.more == len(whole) - most
    conditions = [sql.rpartition(") WHERE ")[2] for sql in asked if "LIMIT" in sql]
    used = [len(re.findall(r"DATE '[\d-]+'", condition)) for condition in conditions]
    assert used == [1, 2]


def test_a_row_of_a_view_or_of_a_sum_goes_back_to_the_table_whose_keys_it_tells(session):
    sql = "SELECT currency, client_id, tier FROM clients"
    row = rows(session, sql)[0]
    found = origin_of(sql, row, session.views)
    assert (found.table, {*found.keys}) == ("silver.sales_by_client", {"client_id", "currency"})
    one = rows(session, f"FROM silver.sales_by_client WHERE client_id = '{row['client_id']}'")[0]
    assert len(rows(session, found.sql)) == one["lines"]
    summed = origin_of("SELECT country FROM silver.sales_by_country", {"country": "x"}, {})
    assert summed.open_keys == ("currency",)
    assert origin_of("SELECT 1", {"one": 1}, session.views) is None
    assert origin("silver.sales_unheard_of", {}) is None


@pytest.mark.parametrize(
    ("columns", "known"),
    [
        ("value AS country, net_revenue AS value, lines, currency", {}),
        ("strftime(period_start, '%Y-%m') AS month, lines", {}),
        ("lines, sum(lines) OVER () AS n", {}),
        ("sum(lines) AS lines, currency", {"currency": "EUR"}),
    ],
)
def test_keys_that_a_select_does_not_show_are_asked_of_its_table(session, columns, known):
    sql = (
        f"SELECT {columns} FROM trends WHERE grain = 'month' AND dimension = 'country' "
        f"{'GROUP BY currency' if known else ''} ORDER BY 1 DESC, lines DESC"
    )
    row = rows(session, sql)[0]
    found = origin_asked(session, sql, row)
    assert len(rows(session, found.sql)) == row["lines"], found.told()
    if known:
        assert found.keys == known
    else:
        assert {*found.open_keys} <= {"period_date"}  # the view has none


def test_each_event_has_its_commit_and_a_quarantined_one_its_bytes(session):
    for layer in ("bronze", "quarantine"):
        for row in rows(session, f'SELECT topic, "partition", "offset" FROM {layer}.sales'):
            found = trace(session, f"{layer}.sales", row, 10)
            (event,) = found.events.rows.to_pylist()
            (commit,) = found.commits
            before = session.catalogue.back_to(commit.version - 1)
            after = session.catalogue.back_to(commit.version)
            assert after.info(f"{layer}.sales").rows > before.info(f"{layer}.sales").rows
            assert address(event) == f"sales[0]@{row['offset']}"
            assert bool(found.raw) == (layer == "quarantine")


def test_a_valid_records_bytes_are_kafkas_and_what_lacks_is_said(session):
    row = {"topic": "sales", "partition": 0, "offset": 3}
    asleep = fetched(None, row).told
    assert "in Kafka alone, and no broker of this lake runs now: one does while" in asleep
    assert "no address" in fetched(None, {"partition": 0}).told
    away = KafkaSettings(bootstrap_servers="127.0.0.1:9")
    assert "in Kafka alone" in fetched(away, row).told
    [one] = session.ask('SELECT "partition", "offset" FROM bronze.sales LIMIT 1').rows.to_pylist()
    found = trace(session, "bronze.sales", one, 10)
    assert (found.raw, "no broker" in found.bytes_told) == ({}, True)
    none = trace(session, "bronze.sales", {"partition": 0, "offset": 999}, 10)
    assert none.bytes_told.startswith("no table has such a record; its bytes are in Kafka alone")
    [bad, *_] = rows(session, 'SELECT "partition", "offset" FROM quarantine.sales')
    other = trace(session, "bronze.sales", bad, 10)
    assert other.bytes_told == "bronze.sales has no such record, and quarantine.sales has it"


def test_bytes_are_drawn_whole():
    (one, two) = hexdump(b"\x1b[31m{\x00}\xff" + b"a" * 9)
    assert one == "000000  1b 5b 33 31 6d 7b 00 7d ff 61 61 61 61 61 61 61  .[31m{.}.aaaaaaa"
    assert two.split() == ["000010", "61", "61", "aa"]


def test_keys_are_given_as_words():
    assert row_of("silver.sales_by_country", ["country=A=B", "currency="]) == {
        "country": "A=B", "currency": "",
    }  # fmt: skip
    with pytest.raises(UsageError, match="use country=…, currency=…"):
        row_of("silver.sales_by_country", ["land=x"])
    assert key_columns("bronze.sales") == ("topic", "partition", "offset", "batch_id")


def test_large_versions_are_compared_in_shares_to_the_same_changes(session, monkeypatch):
    newest = session.versions(["silver.sales_trends"])["silver.sales_trends"]
    between = (session.catalogue, session.settings, "silver.sales_trends", newest - 1, newest)
    whole, told = diff(*between).rows, []
    monkeypatch.setattr("lakehouse.explorer.diff._AT_ONCE", 50)
    with told_to(lambda *step: told.append(step)):
        assert diff(*between).rows == whole
    assert whole.num_rows > 10
    assert len(told) > 4
    assert {what for what, *_ in told} == {"comparing silver.sales_trends"}
    assert [done for _, done, *_ in told] == sorted(done for _, done, *_ in told)
    assert told[-1][1] == told[-1][2]


def test_a_comparison_ends_at_the_time_limit(session, monkeypatch):
    endless = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"
    monkeypatch.setattr("lakehouse.explorer.diff._by_key", lambda *_: endless)
    soon = session.settings.model_copy(update={"timeout": timedelta(milliseconds=200)})
    with pytest.raises(QueryTimedOut):
        diff(session.catalogue, soon, "silver.sales_trends", 1, 2)
    assert "query" not in {thread.name for thread in threading.enumerate()}


def test_what_changed_is_told_row_by_row(session):
    newest = session.versions(["silver.sales_by_country"])["silver.sales_by_country"]
    found = diff(
        session.catalogue, session.settings, "silver.sales_by_country", newest - 1, newest
    ).rows.to_pylist()
    was, now = (
        {(row["country"], row["currency"]): row for row in old.ask(SQL).rows.to_pylist()}
        for old in (at(session, newest - 1), at(session, newest))
    )
    wanted = {
        (*key, column, str(was[key][column]), str(row[column]))
        for key, row in now.items()
        if key in was
        for column in ("lines", "net_revenue")
        if was[key][column] != row[column]
    }
    told = {
        (r["country"], r["currency"], r["column"], r["before"], r["after"])
        for r in found
        if r["change"] == "changed" and r["column"] in {"lines", "net_revenue"}
    }
    assert told == wanted
    assert wanted
    added = {(r["country"], r["currency"]) for r in found if r["change"] == "added"}
    assert added == now.keys() - was.keys()


SQL = "FROM silver.sales_by_country"


def at(session, version):
    return Session(session.catalogue.back_to(version), session.settings, session.views)


def test_bronze_only_gains_rows(session):
    found = diff(session.catalogue, session.settings, "bronze.sales", 1, 2, limit=1)
    assert found.rows.to_pylist()[0]["change"] == "added"
    before, after = (session.catalogue.back_to(v).info("bronze.sales").rows for v in (1, 2))
    assert found.rows.num_rows + found.more == after - before


def test_rows_are_sorted_filtered_and_described_by_the_engine(session):
    values = "SELECT * FROM (VALUES (3.10, 'Ab'), (20.05, 'b'), (NULL, 'c''%')) v(n, t) -- end"
    ask = lambda **how: rows(session, arranged(values, ["n", "t"], **how))  # noqa: E731
    assert [r["n"] for r in ask(sort="n", is_descending=True)] == [
        Decimal("20.05"), Decimal("3.10"), None,
    ]  # fmt: skip
    assert [r["t"] for r in ask(wanted="B")] == ["Ab", "b"]
    assert [r["t"] for r in ask(wanted="'%")] == ["c'%"]
    number, text = rows(session, profile(values, session.ask(values).rows.schema))
    assert (number["nulls"], number["distinct"]) == (1, 2)
    assert (number["least"], number["greatest"]) == ("3.10", "20.05")
    assert (number["shape"][0], number["shape"][-1], text["shape"]) == ("█", "█", "███")
    large = "SELECT range AS n, CAST(range % 7 AS VARCHAR) AS t, [range] AS l FROM range(2_000_000)"
    schema = session.ask(f"{large} LIMIT 1").rows.schema
    told = rows(session, profile(large, schema, is_large=True))
    assert [(r["rows"], r["nulls"], r["least"], r["greatest"]) for r in told] == [
        (2_000_000, 0, "0", "1999999"), (2_000_000, 0, "0", "6"), (2_000_000, 0, None, None),
    ]  # fmt: skip
    assert told[0]["distinct, about"] == pytest.approx(2_000_000, rel=0.1)
    assert (told[1]["distinct, about"], len(told[1]["shape of a sample"])) == (7, 7)


def test_an_analysis_has_a_picture_whose_amounts_are_whole(session):
    found = {a.name: a for a in analyses(session.catalogue.names())}
    table = session.ask(found["countries"].sql).rows
    drawn = bars(table, found["countries"].chart)
    by_currency = {}
    for bar, row in zip(drawn, table.to_pylist(), strict=True):
        by_currency.setdefault(row["currency"], []).append(bar.share)
    assert all(max(shares) == 1 for shares in by_currency.values())
    assert all(len(line) <= 60 for line in lines(drawn, 60))
    wide = pa.table({"k": ["x" * 200, "y"], "n": pa.array([-(10**30), 5], pa.decimal128(38, 0))})
    (one, two) = lines(bars(wide, charted(wide)), 70)
    assert f"-{10**30:,}" in one
    assert " 5  " in two
    assert charted(pa.table({"n": [1]})) is None
    assert bars(table, Chart(("nothing",), "net_revenue")) == []


def test_what_is_open_serves_until_its_tables_move(session):
    session.ask("FROM silver.sales_by_country")
    (before,) = [*session._readers.values()][-1:]
    session.ask("SELECT count(*) FROM silver.sales_by_country")
    assert [*session._readers.values()][-1] is before
    with pytest.raises(LakehouseError, match=r"silver\.nothing"):
        session.ask("FROM silver.nothing")


def test_the_verbs_print_the_same(audited_root):
    run = CliRunner().invoke
    where = ["--root", audited_root, "--format", "json"]
    told = json.loads(run(app, ["trace", "silver.sales_by_country", *where]).stdout)
    assert len(told["events"]) == len(
        json.loads(run(app, ["sql", "FROM bronze.sales WHERE NOT is_duplicate", *where]).stdout)[
            "rows"
        ]
    )
    assert told["commits"][0]["table"] == "bronze.sales"
    none = run(app, ["trace", "silver.sales_by_country", "country=Frnace", *where])
    assert "no event of bronze.sales has that\n" in none.stderr
    changes = json.loads(
        run(app, ["diff", "silver.sales_by_segment", "--from=0", "--to=1", *where]).stdout
    )
    assert {row["change"] for row in changes["changes"]} == {"added"}
    report = json.loads(run(app, ["report", *where]).stdout)
    assert report == json.loads(run(app, ["explore", "--batch", *where]).stdout)
    stranger = run(app, ["trace", "silver.nothing", "--root", audited_root])
    assert isinstance(stranger.exception, LakehouseError)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("trace bronze.sales partition=0", "bronze.sales: has many rows\n  fix: say which one"),
        ("trace ledger.sales", "say which one is meant: batch_id=3"),
        ("trace bronze.sales partition=0 offset=x", "write each value as the table shows it"),
        ("trace silver.sales_trends period_start=x", "period_start=x: Conversion Error"),
        ("trace silver.sales_by_country country=a country=b", "says country a second time"),
        ("diff lake.sales --from 0 --to 1", "is plain Parquet files"),
    ],
)
def test_what_a_verb_cannot_trace_is_said(audited_root, tmp_path, words, said):
    root = tmp_path / "lake"
    shutil.copytree(audited_root, root)
    (root / "lake" / "sales").mkdir(parents=True)
    (root / "lake" / "sales" / "_taken.json").write_text("{}")
    done = CliRunner().invoke(app, [*words.split(), "--root", str(root)])
    assert said in str(done.exception)
