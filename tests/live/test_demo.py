"""The demo as a stranger runs it, and what can be looked at afterwards."""

import json

import pytest

from tests.live.conftest import command, rows

pytestmark = pytest.mark.live


def test_the_demo_proves_itself(demo):
    _, done = demo
    assert "PROVEN: what was produced is what landed" in done.stdout
    assert "DIFFERS" not in done.stdout
    assert "Traceback" not in done.stderr


def test_each_address_is_in_one_place_once(demo_lake):
    found = rows(
        demo_lake,
        """SELECT count(*) AS n, count(DISTINCT (p, o)) AS addresses, count(DISTINCT p) AS parts,
        sum(last) AS span FROM (
            SELECT "partition" AS p, "offset" AS o, 0 AS last FROM bronze.sales UNION ALL
            SELECT "partition", "offset", 0 FROM quarantine.sales)""",
    )[0]
    spans = rows(
        demo_lake,
        """SELECT p, min(o) AS first, max(o) + 1 AS next FROM (
            SELECT "partition" AS p, "offset" AS o FROM bronze.sales UNION ALL
            SELECT "partition", "offset" FROM quarantine.sales) GROUP BY 1""",
    )
    assert found["n"] == found["addresses"] == sum(s["next"] for s in spans)
    assert all(s["first"] == 0 for s in spans)


def test_tables_and_history(demo_lake):
    listed = json.loads(command("tables", "--root", demo_lake, "--json").stdout)["tables"]
    assert {"bronze.sales", "quarantine.sales", "silver.sales_by_country"} <= {
        t["name"] for t in listed
    }
    history = json.loads(command("history", "bronze.sales", "--root", demo_lake, "--json").stdout)
    notes = [json.loads(c["note"]) for c in history["bronze.sales"] if c["note"]]
    assert notes[0]["ends"]["next"]


def test_time_travel(demo_lake):
    then = command(
        "explore", "--root", demo_lake, "--version", 1, "--format", "json",
        "--sql", "SELECT count(*) AS n FROM bronze.sales",
    )  # fmt: skip
    now = rows(demo_lake, "SELECT count(*) AS n FROM bronze.sales")[0]["n"]
    assert 0 < json.loads(then.stdout)["rows"][0]["n"] < now


def test_a_lake_that_no_demo_made_is_left_alone(tmp_path):
    (tmp_path / "precious").touch()
    done = command("demo", "--root", tmp_path, check=False)
    assert done.returncode == 2
    assert (tmp_path / "precious").exists()
