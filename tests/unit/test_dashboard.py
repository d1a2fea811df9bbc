"""What the dashboard answers: numbers of real tables, each with its way back."""

import json
import socket
import time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from lakehouse.explorer import observed
from lakehouse.explorer.business import figures, series
from lakehouse.explorer.dashboard import pages
from lakehouse.explorer.sql import Reader
from lakehouse.operations.keep import keep
from lakehouse.products.registry import products
from tests.conftest import encode, sale, settings_at
from tests.support.audited import Kafka, proof
from tests.support.dashboard import HOSTILE, asked, dashboard, told, whole
from tests.support.lake import Lake


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    settings = settings_at(tmp_path_factory.mktemp("dashboard") / "lake")
    lake = Lake(settings)
    names = enumerate(HOSTILE)
    lake.land(
        encode(*(sale(event_id=f"e{n}", product_name=p, product_id=f"p{n}") for n, p in names)), 0
    )
    lake.land([b"{", b'{"event_id": "<script>"}'], len(HOSTILE))
    lake.persist()
    keep(proof(lake, Kafka(end=len(HOSTILE) + 2)), settings)
    return lake


@pytest.fixture(scope="module")
def address(lake):
    with dashboard(lake.settings) as address:
        yield address


def test_the_pipeline_says_each_flow_with_lag_freshness_faults_and_audits(address):
    found = told(address, "/api/lake")
    [product] = found["products"]
    [contract] = product["contracts"]
    assert (product["name"], contract["quarantine"], contract["late"]) == ("sales", 2, 0)
    assert {(f["field"], f["fault"]) for f in contract["faults"]} >= {("", "not JSON")}
    assert {row["into"]: row["behind"] for row in contract["flows"]}["silver.sales_trends"] == 0
    assert contract["next"] == {"0": len(HOSTILE) + 2}
    assert contract["landed"]["p50"] >= 0
    assert contract["applied"]["sales.silver"]["p95"] >= contract["applied"]["sales.silver"]["p50"]
    assert [audit["bronze"] for audit in contract["audits"]] == [len(HOSTILE)]
    assert {t["name"] for t in found["tables"]} >= {"bronze.sales", "quarantine.sales"}
    assert any("no process writes" in concern["what"] for concern in found["concerns"])


def test_a_product_has_figures_pictures_over_time_and_its_analyses(address):
    found = whole(address, "sales")
    assert {tile["title"] for tile in found["figures"]} == {"net revenue", "orders", "clients"}
    assert found["series"]["revenue_by_day"]["lines"][0]["points"]
    names = {one["name"] for one in found["analyses"]}
    assert {"countries", "segments", "clients", "products", "quarantine"} <= names
    for one in found["analyses"]:
        assert one["sql"]
        assert all(asked(address, f"/api/table/{table}")[0] == 200 for table in one["tables"])


def test_a_page_fills_while_it_is_read_and_is_whole_though_the_lake_moved_once(
    tmp_path, monkeypatch
):
    lake = Lake(settings_at(tmp_path / "lake"))

    def orders(number):
        lake.land(encode(sale(event_id=f"e{number}", order_id=f"o{number}")), number)
        lake.fold()

    orders(0)
    for place, value in ((pages, "_FIRST"), (pages, "_REST"), (observed, "_MOMENT")):
        monkeypatch.setattr(place, value, 0)
    monkeypatch.setattr(observed, "_SHARE", 0)
    with dashboard(lake.settings) as address:
        first = told(address, "/api/product/sales")
        assert [tile["title"] for tile in first["figures"]] == ["net revenue"]
        assert {one["fault"] for one in first["analyses"]} == {"reading…"}
        assert _orders(whole(address, "sales")) == {"1"}
        orders(1)
        turns = [_orders(told(address, "/api/product/sales")) for _ in range(30)]
    assert turns[-1] == {"2"}


def test_to_open_a_large_lake_takes_no_time_from_a_page_that_fills(lake, monkeypatch):
    clock = [time.monotonic()]

    class Slow(Reader):
        def __enter__(self):
            clock[0] += 1  # more than a turn has for its questions, of which none takes any
            return super().__enter__()

    monkeypatch.setattr(pages, "Reader", Slow)
    monkeypatch.setattr(pages, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    with dashboard(lake.settings) as address:
        assert not told(address, "/api/product/sales")["part"]


def _orders(page):
    """What the page's analyses have as the number of orders."""
    named = {one["name"]: one for one in page["analyses"]}
    found = {tile["value"] for tile in page["figures"] if tile["title"] == "orders"}
    for name in ("totals", "countries", "segments", "clients", "months", "days"):
        place = [column["name"] for column in named[name]["columns"]].index("orders")
        found |= {row[place] for row in named[name]["rows"]}
    return found


@pytest.mark.parametrize("analysis", ["countries", "clients", "products"])
def test_a_number_leads_to_its_events(address, analysis):
    row = told(address, f"/api/analysis/{analysis}")["ids"][0]
    found = told(address, f"/api/trace?analysis={analysis}&row={row}")
    assert found["events"]["rows"]
    assert found["tables"]


def test_figures_and_points_over_time_lead_to_their_tables_and_to_events_that_add_up(address):
    found = whole(address, "sales")
    shown = [*found["figures"], *found["series"].values()]
    assert all(one["sql"] and one["tables"] for one in shown)
    [revenue] = [one for one in found["figures"] if one["title"] == "net revenue"]
    place = f"figure=net+revenue&row={revenue['id']}"
    behind = told(address, f"/api/trace?product=sales&{place}")
    assert "currency = " in behind["told"]
    assert "events from" in behind["told"]
    assert _worth(behind["events"]) == Decimal(revenue["value"].replace(",", ""))
    [line] = found["series"]["revenue_by_day"]["lines"]
    *_, text, known = line["points"][-1]
    behind = told(address, f"/api/trace?product=sales&series=revenue_by_day&row={known}")
    assert _worth(behind["events"]) == Decimal(text.replace(",", ""))


def _worth(events):
    """What events cost."""
    names = [column["name"] for column in events["columns"]]
    rows = [dict(zip(names, row, strict=True)) for row in events["rows"]]
    return sum(Decimal(row["quantity"]) * Decimal(row["unit_price"]) for row in rows)


def test_late_events_and_the_quarantine_lead_to_the_analyses_that_tell_more(address):
    [product] = told(address, "/api/lake")["products"]
    [contract] = product["contracts"]
    for name in ("late_and_doubled", "quarantine"):
        assert told(address, f"/api/analysis/{contract['analyses'][name]}")["sql"]


def test_a_row_of_many_records_names_the_tables_that_have_them(address):
    row = told(address, "/api/analysis/quarantine")["ids"][0]
    found = told(address, f"/api/trace?analysis=quarantine&row={row}")
    assert (found["events"], found["tables"]) == (None, ["quarantine.sales"])


def test_a_row_of_a_table_leads_to_its_events(address):
    table = told(address, "/api/table/silver.sales_by_country")
    assert table["history"][0]["operation"]
    found = told(address, f"/api/trace?table=silver.sales_by_country&row={table['ids'][0]}")
    assert len(found["events"]["rows"]) == len(HOSTILE)


def test_no_cell_has_a_character_that_is_obeyed(address):
    for path in ("/api/product/sales", "/api/table/bronze.sales", "/api/analysis/products"):
        _, headers, body = asked(address, path)
        assert headers["Content-Type"].startswith("application/json")
        assert all(c.isprintable() for c in body.decode())
        assert not {"\u202e", "\x1b"} & {c for row in _cells(json.loads(body)) for c in row}


def _cells(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _cells(one)


def test_what_did_not_change_is_not_sent_again(address):
    whole(address, "sales")
    _, headers, _ = asked(address, "/api/product/sales")
    status, _, body = asked(address, "/api/product/sales", **{"If-None-Match": headers["ETag"]})
    assert (status, body) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["/static/../pages.py", "/static/%2e%2e/pages.py", "/static//etc/passwd", "/nothing",
     "/static/style.css/x"],
)  # fmt: skip
def test_only_our_own_files_are_served(address, path):
    assert asked(address, path)[0] == 404


@pytest.mark.parametrize(
    "path",
    ["/api/table/bronze.none", "/api/table/..%2F..", "/api/product/none", "/api/analysis/none",
     "/api/trace?analysis=countries&row=99", "/api/trace?analysis=countries&row=-1",
     "/api/trace?product=sales&figure=none&row=0", "/api/trace?product=sales&series=none&row=0",
     "/api/trace?product=none&figure=orders&row=0", "/api/trace?figure=orders&row=0",
     "/api/trace?table=bronze.sales'--&row=0", "/api/trace", "/api/trace?row=%00"],
)  # fmt: skip
def test_what_is_not_there_is_said_in_words(address, path):
    status, _, body = asked(address, path)
    assert (status, set(json.loads(body)["error"])) == (503, {"place", "fault", "fix"})


def test_a_page_runs_our_own_scripts_alone(address):
    status, headers, body = asked(address, "/pipeline")
    assert (status, b"<script>" in body, b"onload" in body) == (200, False, False)
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for header in ("X-Content-Type-Options", "Cross-Origin-Resource-Policy", "Referrer-Policy"):
        assert headers[header]


def test_no_file_of_ours_names_another_server_or_parses_text_as_markup():
    folder = Path("lakehouse/explorer/dashboard/static")
    for path in folder.iterdir():
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        for word in ("http://", "https://", "innerHTML", "outerHTML", "insertAdjacent", "eval("):
            assert word not in text, (path, word)


def test_another_sites_page_cannot_read_it(address):
    assert asked(address, "/api/lake", Host="evil.example")[0] == 400
    assert asked(address, "/api/lake", Host="localhost:1")[0] == 200


def test_with_a_token_nobody_else_reads_it(lake):
    with dashboard(lake.settings, token="s3cret/+ü") as address:
        for path in ("/", "/api/lake", "/metrics", "/static/app.js"):
            assert asked(address, path)[0] == 401
            assert asked(address, path, Authorization="Bearer wrong")[0] == 401
        assert asked(address, "/health/live")[0] == 200
        status, headers, _ = asked(address, "/?token=s3cret/%2B%C3%BC")
        assert (status, headers["Location"]) == (303, "/")
        cookie = headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert asked(address, "/api/lake", Cookie=cookie.split(";")[0])[0] == 200


def test_broken_requests_end_no_server(address):
    where = urlsplit(address)
    for sent in (b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"x" * 70_000):
        with socket.create_connection((where.hostname, where.port)) as link:
            link.settimeout(5)
            try:
                link.sendall(sent)
                link.shutdown(socket.SHUT_WR)
                link.recv(1000)
            except ConnectionError:
                pass
    assert asked(address, "/health/live")[0] == 200
    assert asked(address, "/api/lake")[0] == 200


def test_a_lake_that_is_empty_or_gone_says_what_to_do(tmp_path):
    with dashboard(settings_at(tmp_path / "none")) as address:
        found = told(address, "/api/lake")
        assert ("lakehouse up" in found["empty"], found["products"]) == (True, [])
        assert found["tables"] == []


def test_every_product_has_a_page_from_its_declarations(address):
    for product in products().values():
        assert figures(product)
        assert series(product)
