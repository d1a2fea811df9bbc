"""OpenLineage events: what a flow reads and writes, told to a real server."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from lakehouse.core.errors import TableDamaged
from lakehouse.runtime.driver import flow, run
from lakehouse.runtime.lineage import lineage
from tests.conftest import settings_at
from tests.support.lake import copied


@pytest.fixture
def taker():
    """A server's address, and what it was sent."""
    taken = []

    class Takes(BaseHTTPRequestHandler):
        def do_POST(self):  # as http.server names it
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append((self.path, json.loads(body)))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Takes)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", taken
    server.shutdown()
    thread.join()
    server.server_close()


def told_to(settings, url):
    return settings.changed(lineage={"url": url})


def test_a_run_is_told_from_its_beginning_to_its_end(recovered_root, settings, taker):
    url, taken = taker
    lake = copied(recovered_root, settings)
    run([flow("sales.silver")], told_to(lake.settings, url), lambda: None, available_now=True)
    assert [(path, one["eventType"], one["job"]["name"]) for path, one in taken] == [
        ("/api/v1/lineage", state, "sales.silver") for state in ("START", "COMPLETE")
    ]
    assert len({one["run"]["runId"] for _, one in taken}) == 1
    [read] = taken[0][1]["inputs"]
    assert (read["namespace"], read["name"]) == ("file", f"{lake.settings.lake.root}/bronze/sales")
    written = {one["name"].rpartition("/")[2] for one in taken[0][1]["outputs"]}
    assert {"sales_by_country", "sales_orders", "sales_trends"} <= written


def test_bronze_has_a_topic_and_a_schema_and_a_fall_says_why(settings, taker):
    url, taken = taker
    with (
        pytest.raises(TableDamaged),
        lineage([flow("sales.bronze")], told_to(settings, url)),
    ):
        raise TableDamaged("bronze.sales", "is cut", "repair it")
    (_, begun), (_, fallen) = taken
    assert begun["inputs"][0]["name"] == "sales"
    names = [field["name"] for field in begun["outputs"][0]["facets"]["schema"]["fields"]]
    assert {"event_id", "unit_price"} <= set(names)
    assert fallen["eventType"] == "FAIL"
    assert "is cut" in fallen["run"]["facets"]["errorMessage"]["message"]


def test_a_sink_s_topic_is_the_one_that_settings_name(monkeypatch, tmp_path, taker):
    url, taken = taker
    monkeypatch.setenv("LAKEHOUSE_ACTIVITY_ENRICHED_TOPIC", "elsewhere")
    with lineage([flow("activity.enriched")], told_to(settings_at(tmp_path), url)):
        pass
    assert {one["outputs"][0]["name"] for _, one in taken} == {"elsewhere"}


def test_nobody_there_holds_nothing_up(settings, capsys):
    with lineage([flow("sales.bronze")], told_to(settings, "http://127.0.0.1:1")):
        pass
    assert capsys.readouterr().out.count("lineage is not told") == 2
