"""``lakehouse status``: how far each flow is, of tables, files and systems that are away."""

import json

from lakehouse.explorer import status as module
from lakehouse.explorer.status import status
from lakehouse.products.registry import flows
from tests.conftest import encode, sale
from tests.live.conftest import verb
from tests.support.lake import Lake
from tests.support.sinks import KAFKA, POSTGRES


def test_each_flow_says_how_far_it_is_and_one_that_cannot_be_asked_why(settings, monkeypatch):
    lake = Lake(settings)
    lake.land(encode(sale()), 0)
    lake.silver.catch_up()
    lake.silver.persist()
    lake.land(encode(sale(event_id="e2"), sale(event_id="e3")), 1)
    found = {row.into: row for row in status(settings)}
    assert found["bronze.sales"].behind == 0
    silver = found["silver.sales_by_country"]
    assert (silver.flow, silver.version, silver.behind, silver.rows_behind) == (
        "sales.silver", found["bronze.sales"].version - 1, 1, 2,
    )  # fmt: skip
    assert silver.time < found["bronze.sales"].time
    assert "bronze.orders" not in found  # it has not begun
    assert (found["bronze.sales"].waiting, found["bronze.sales"].note) == (
        None, "Kafka: does not run",
    )  # fmt: skip
    [gone] = [r for r in status(settings.with_kafka("127.0.0.1:9")) if r.into == "bronze.sales"]
    assert (gone.waiting, gone.behind, "127.0.0.1:9" in gone.note) == (None, 0, True)

    monkeypatch.setattr(module, "flows", lambda: (*flows(), POSTGRES, KAFKA))
    found = {row.into: row for row in status(settings)}
    assert found["postgres.by_client"].note == "Postgres: does not run"
    assert found["topic enriched_sales"].note == "Kafka: does not run"
    away = settings.with_postgres("postgresql://127.0.0.1:9/none")
    assert (
        "Postgres at 127.0.0.1:9/none"
        in {r.into: r for r in status(away)}["postgres.by_client"].note
    )


def test_as_a_verb_it_prints_what_it_knows(settings):
    Lake(settings).land(encode(sale()), 0)
    told = json.loads(verb("status", "--json", "--root", settings.lake.root).stdout)
    rows, [landed] = told["flows"], told["landed"]
    assert (landed["contract"], landed["rows"], landed["quarantined"]) == ("sales", 1, 0)
    assert "no process writes this lake now" in told["concerns"][0]["what"]
    assert {"flow": "sales.bronze", "into": "bronze.sales", "behind": 0}.items() <= rows[0].items()
    none = verb("status", "--root", f"{settings.lake.root}/none", check=False)
    assert (none.returncode, "holds no table" in none.stderr) == (3, True)
