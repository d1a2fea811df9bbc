"""A row is found again by what names it, wherever it stands once its answer is rebuilt."""

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from lakehouse.explorer.identity import identities, names_of, place_of
from lakehouse.explorer.report import Chart
from tests.conftest import encode, sale
from tests.support.dashboard import dashboard, told
from tests.support.lake import Lake
from tests.support.terminal_app import drive

BEFORE = pa.table({"country": ["France", "Spain", None], "currency": ["EUR"] * 3, "n": [3, 2, 1]})
AFTER = pa.table(
    {"country": ["Spain", None, "France"], "currency": ["EUR"] * 3, "n": [9, 8, 3]}
)  # fmt: skip


@pytest.mark.parametrize("country", ["France", "Spain", None])
def test_a_row_that_moved_and_changed_is_the_same(country):
    names = names_of(BEFORE)
    assert names == ["country", "currency"]
    place = BEFORE["country"].to_pylist().index(country)
    row = BEFORE.slice(place, 1).to_pylist()[0]
    wanted = AFTER["country"].to_pylist().index(country)
    assert place_of(AFTER, row, names) == wanted
    assert identities(AFTER, names).index(identities(BEFORE, names)[place]) == wanted


def test_names_are_a_tables_keys_or_a_pictures_labels_or_all():
    rows = pa.table({"order_id": [1, 2], "order_status": ["a", "b"], "amount": [Decimal(1)] * 2})
    assert names_of(rows, "silver.orders_current") == ["order_id"]
    assert names_of(rows, chart=Chart(("order_status",), "amount")) == ["order_status"]
    assert names_of(pa.table({"n": [1, 1]})) == ["n"]
    twice = pa.table({"at": [datetime(2026, 1, 1, tzinfo=UTC)] * 2, "n": [1, 2]})
    assert len({*identities(twice, ["at"])}) == 2  # by all that they hold
    assert place_of(rows, {"order_id": 3}, ["order_id"]) is None
    assert place_of(pa.table({"x": [[1]]}), {"x": [1]}, ["x"]) == 0


def test_a_page_and_the_terminal_keep_the_row_that_was_meant(settings):
    lake = Lake(settings)

    def land(country, first, many):
        ids = range(first, first + many)
        sold = (sale(event_id=f"{n}", order_id=f"o{n}", country=country) for n in ids)
        lake.land(encode(*sold), first)
        lake.fold()

    land("France", 0, 2)
    land("Spain", 2, 1)

    async def steps(it):
        await it.shows("totals by currency", "█")
        it.app.pick_analysis("countries")
        await it.until(lambda: it.grid.rows.num_rows == 2)
        assert it.grid.row["country"] == "France"
        land("Spain", 3, 5)  # which is first now
        await it.until(lambda: it.grid.rows["country"].to_pylist() == ["Spain", "France"])
        assert it.grid.row["country"] == "France"

    with dashboard(settings) as address:
        france = told(address, "/api/analysis/countries")["ids"][0]
        drive(settings.lake.root, steps)
        found = told(address, f"/api/trace?analysis=countries&row={france}")
        assert "country = France" in found["told"]
        assert len(found["events"]["rows"]) == 2
