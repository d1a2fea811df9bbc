"""What an analyst asks of orders: each analysis gives the numbers that its changes say."""

from decimal import Decimal

import pytest

from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.origin import origin_of
from lakehouse.explorer.report import report, views
from lakehouse.explorer.session import Session
from lakehouse.ingest.ledger import Ledger
from lakehouse.products.orders.report import CHARTS, FIGURES, LOOK_UPS, REPORT, SERIES, TITLES
from tests.conftest import settings_at
from tests.support.notebooks import outputs, pictures
from tests.support.orders import Lake, change, row

DAY_BEFORE = "2026-11-19T09:00:00Z"
STEPS = [
    ("c", 0, row()),
    ("c", 60, row(order_id=2, restaurant_name="Brot", amount="5", created_at=DAY_BEFORE)),
    ("u", 600, row(order_status="preparing")),
    ("u", 660, row(order_status="preparing", amount="13")),  # a correction within a status
    ("u", 1200, row(order_status="delivered", amount="13")),
    ("u", 1260, row(order_id=2, restaurant_name="Brot", amount="5", order_status="cancelled",
                    created_at=DAY_BEFORE)),
    ("u", 1320, row(order_id=2, restaurant_name="Brot", amount="5", created_at=DAY_BEFORE)),
    ("r", 1400, row(order_id=3, amount="2", order_status="delivered", created_at=DAY_BEFORE)),
]  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    settings = settings_at(tmp_path_factory.mktemp("orders") / "lake")
    lake = Lake(settings)
    lake.land([change(op, place, after) for op, place, after in STEPS])
    lake.fold()
    ledger = Ledger.at_bronze("orders", settings, lake.connection)
    ledger.catch_up()
    ledger.persist()
    return settings


@pytest.fixture(scope="module")
def session(settings):
    with Session(Catalogue(settings.lake.root), settings.explorer, views()) as session:
        yield session


def test_each_analysis_says_what_the_changes_say(settings):
    said = []
    found = report(Catalogue(settings.lake.root), settings.explorer, views(), said.append)
    rows = {name: found[name].to_pylist() for name in REPORT}
    assert not said
    assert {k: rows["orders_totals"][0][k] for k in ("orders", "delivered", "open", "revenue")} == {
        "orders": 3, "delivered": 2, "open": 1, "revenue": Decimal("20.0000"),
    }  # fmt: skip
    assert {r["order_status"]: r["orders"] for r in rows["orders_status"]} == {
        "placed": 1, "delivered": 2,
    }  # fmt: skip
    assert [r["change"] for r in rows["orders_days"]] == [Decimal(6), None]
    # the order that a snapshot found delivered has no beginning: it is in neither
    assert [(r["took"], r["orders"]) for r in rows["orders_delivery"]] == [("15 to 30 minutes", 1)]
    assert [(r["restaurant_name"], r["median_minutes"]) for r in rows["orders_slowest"]] == [
        ("Kaze", Decimal("20.0"))
    ]
    assert [r["order_id"] for r in rows["orders_open"]] == [2]
    assert [
        (r["order_id"], r["order_status"], r["kept_status"], r["came_back"])
        for r in rows["orders_corrections"]
    ] == [(1, "preparing", 1, 0), (2, "placed", 0, 1)]
    assert {r["change"]: r["records"] for r in rows["orders_changes"]} == {
        "updated": 5, "created": 2, "read whole": 1,
    }  # fmt: skip
    for name, chart in CHARTS.items():
        assert {*chart.labels, chart.value} <= {*found[name].schema.names}
    assert REPORT.keys() == TITLES.keys()


def test_its_page_has_figures_pictures_and_a_look_up(session):
    figures = {title: session.ask(sql).rows.to_pylist()[0] for title, sql in FIGURES.items()}
    assert figures["revenue"]["value"] == Decimal("13.0000")
    assert figures["revenue"]["change_pct"] == Decimal("85.7")
    assert figures["open orders"]["value"] == 1
    assert figures["placed to delivered"]["value"] == Decimal("20.0")
    for series in SERIES.values():
        assert {series.time, *series.values} <= {*session.ask(series.sql).rows.schema.names}
    asked = LOOK_UPS["order"].asked
    assert session.ask(asked("2")).rows["restaurant_name"].to_pylist() == ["Brot"]
    assert session.ask(asked("no number")).rows.num_rows == 0


EVENTS = {
    "orders_totals": [3], "orders_status": [1, 2], "orders_days": [1, 2],
    "orders_restaurants": [2, 1], "orders_delivery": [8], "orders_slowest": [2],
    "orders_steps": [3, 2, 2, 1], "orders_open": [3],
}  # fmt: skip
"""Analysis → of each of its rows, how many changes count in it."""


@pytest.mark.parametrize("name", EVENTS)
def test_each_number_goes_back_to_the_changes_that_count_in_it(session, name):
    found = []
    for one in session.ask(REPORT[name]).rows.to_pylist():
        origin = origin_of(REPORT[name], one, session.views)
        assert origin.bronze == "bronze.orders"
        found.append(session.ask(origin.sql).rows.num_rows)
    assert found == EVENTS[name]


def test_the_notebook_of_orders_draws(settings, monkeypatch):
    assert pictures(outputs("orders_analysis", settings.lake.root, monkeypatch)) >= 3
