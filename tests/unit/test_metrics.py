"""Numbers for Prometheus: what is declared, what a lake says, and what hostile data may not add."""

import re
import urllib.error
import urllib.request
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lakehouse.core.exposition import OWN, metric_routes
from lakehouse.core.health import Health
from lakehouse.core.metrics import AGES, DECLARED, Ages, Metric
from lakehouse.core.serving import health_routes, served
from lakehouse.explorer import observed
from lakehouse.explorer.faults import _OF_A_FIELD, _OF_A_RECORD, OTHER
from lakehouse.explorer.measured import LOOK, MEASURED, Measured
from lakehouse.explorer.observed import Observer
from tests.conftest import SALES, encode, sale, settings_at
from tests.support.lake import Lake

EVERY = [*DECLARED, *(metric for metric, _ in MEASURED), LOOK]
UNITS = ("_seconds", "_bytes", "_total", "_rows", "_records", "_files", "_commits", "_keys",
         "_offset", "_version", "_up", "_running", "_verdict", "_locked")  # fmt: skip


def scraped(address, path="/metrics"):
    with urllib.request.urlopen(f"{address}{path}") as answer:
        text = answer.read().decode()
    return {
        (s.name, tuple(s.labels.values())): s.value  # labels by their names' order
        for family in text_string_to_metric_families(text) for s in family.samples
    }  # fmt: skip


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.name)
def test_names_help_and_units_are_by_convention(metric):
    assert re.fullmatch(r"[a-z][a-z0-9_]+", metric.name)
    assert metric.doc[0].isupper() or metric.doc[0].isdigit()
    assert metric.doc[-1] != "."
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.name.endswith(UNITS) or metric.name in {"unreadable"}


def test_there_are_enough_and_each_has_a_name_of_its_own():
    assert len(EVERY) >= 30
    assert len({metric.full_name for metric in EVERY}) == len(EVERY)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    settings = settings_at(tmp_path_factory.mktemp("measured") / "lake")
    lake = Lake(settings)
    lake.land([*encode(sale(), sale(event_id="e2")), b"{", b'{"event_id": 3}'], 0)
    lake.persist()
    lake.land(encode(sale(event_id="e3")), 4)
    with (
        closing(Observer(settings, lambda s: s)) as observer,
        served(0, metric_routes(Measured(observer))) as address,
    ):
        yield lake, observer, address


def test_a_lake_says_its_tables_its_lag_and_its_faults(measured):
    _, _, address = measured
    found = scraped(address)
    assert found["lakehouse_table_rows", ("bronze.sales",)] == 3
    assert found["lakehouse_follower_lag_commits", ("sales.silver", "silver.sales_by_country")] == 1
    assert found["lakehouse_follower_lag_rows", ("sales.silver", "silver.sales_by_country")] == 1
    assert found["lakehouse_publishing_age_seconds", ("sales.silver", "silver.sales_trends")] > 0
    assert found["lakehouse_partition_next_offset", ("sales.bronze", "0")] == 5
    assert found["lakehouse_quarantine_records", ("sales",)] == 2
    assert found["lakehouse_quarantined_records", ("sales", "not JSON", "")] == 1
    assert found["lakehouse_quarantined_records", ("sales", "wrong type", "event_id")] == 1
    assert found["lakehouse_disk_free_bytes", ()] > 0
    assert found["lakehouse_unreadable", ()] == 0
    assert "lakehouse_table_rows" not in {name for name, _ in scraped(address, OWN)}


def test_scrapes_of_a_lake_at_rest_read_no_table(measured, monkeypatch):
    _, observer, address = measured
    scraped(address)
    monkeypatch.setattr(observed, "_MOMENT", 0.0)
    monkeypatch.setattr(observed, "_SHARE", 0.0)
    monkeypatch.setattr(observer.catalogue, "info", pytest.fail)
    monkeypatch.setattr(observed, "faults_of", pytest.fail)
    before = observer.look()
    for _ in range(3):
        assert scraped(address)["lakehouse_table_rows", ("bronze.sales",)] == 3
    assert observer.look() is not before


def test_hostile_records_add_no_label(measured):
    lake, observer, _ = measured
    odd = [
        b'{"' + name.encode() + b'": 1}'
        for name in ("EVENT_ID", "<script>", "' OR 1=1 --", "\\u202e", "event_id' is missing")
    ]
    known = {"field": set(), "fault": set()}
    lake.land(odd, 5)
    observer._looked = 0.0
    for field, fault in observer.look().quarantine["sales"]:
        known["field"].add(field)
        known["fault"].add(fault)
    assert known["field"] <= {"", *SALES.hints}
    assert known["fault"] <= {OTHER, "not allowed", *_OF_A_FIELD.values(), *_OF_A_RECORD.values()}


def test_ages_are_counted_by_bucket():
    ages, now = (
        Ages(Metric("x", "histogram", "X", ("flow",)), AGES),
        datetime(2026, 1, 1, tzinfo=UTC),
    )
    times = [now - timedelta(seconds=s) for s in (0, 0.2, 0.2, 7, 90_000)]
    ages.observe("f", pa.chunked_array([pa.array(times, pa.timestamp("us", "UTC"))]), now)
    [family] = ages.collect()
    found = {s.labels.get("le", s.name): s.value for s in family.samples}
    assert (found["0.1"], found["0.25"], found["5"], found["10"], found["+Inf"]) == (1, 3, 3, 4, 5)
    assert found["x_sum".replace("x", family.name)] == pytest.approx(90_007.4)


def test_health_tells_why_a_process_is_not_ready():
    health = Health()
    with served(0, health_routes(health.faults)) as address:

        def asked():
            try:
                return urllib.request.urlopen(f"{address}/health/ready").status
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        assert asked() == (503, '{"ready": false, "reasons": ["no flow runs yet"]}')
        with health.running(["sales.bronze"]):
            assert asked() == 200
            health.away("Kafka at 127.0.0.1:9", "no answer")
            assert asked()[0] == 503
            assert "Kafka at 127.0.0.1:9: no answer" in asked()[1]
            health.back("Kafka at 127.0.0.1:9")
            assert asked() == 200
        assert "sales.bronze does not run" in asked()[1]
        assert urllib.request.urlopen(f"{address}/health/live").status == 200
