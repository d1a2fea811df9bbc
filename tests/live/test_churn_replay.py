"""A dead letter's record, cured by a setting: replayed, scored, and accounted for."""

import json

import pytest
from confluent_kafka import Producer

from lakehouse.products.churn.model.store import Models
from lakehouse.settings.kafka_client import ensure_topic
from tests.conftest import settings_at
from tests.live.conftest import verb
from tests.support.churn import customer, value
from tests.support.models import small

pytestmark = pytest.mark.live
GOOD, OLD, HOPELESS = 40, 9, 3
FLOWS = ("churn.bronze", "churn_predictions.bronze", "churn.silver", "churn_predictions.silver")


def test_a_dead_letter_is_replayed_and_scored(kafka, land, tmp_path, monkeypatch):
    root = tmp_path / "lake"
    given = {
        "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "LAKEHOUSE_CHURN_TOPIC": f"raw-{tmp_path.name}",
        "LAKEHOUSE_CHURN_DEADLETTER_TOPIC": f"dead-{tmp_path.name}",
        "LAKEHOUSE_CHURN_PREDICTIONS_TOPIC": f"said-{tmp_path.name}",
    }
    for name, text in given.items():
        monkeypatch.setenv(name, text)
    models, settings = Models(str(root)), settings_at(root)
    models.promote(models.save(small()).version)
    good = [value(customer(event_id=f"e{n}", customerID=f"c{n}")) for n in range(GOOD)]
    old = {"event_time": "1999-06-01T10:00:00Z"}
    late = [value(customer(event_id=f"o{n}", customerID=f"c{n}", **old)) for n in range(OLD)]
    ensure_topic(settings.kafka, settings.products["churn"])
    producer = Producer({"bootstrap.servers": kafka})
    for one in (*good, *late, *[b"broken"] * HOPELESS):
        producer.produce(given["LAKEHOUSE_CHURN_TOPIC"], one)
    assert producer.flush(60) == 0

    def score(*words):
        return json.loads(
            verb("churn", "score", "--batch", *words, "--root", root, "--json").stdout
        )

    first = score()
    assert (first["predictions"], first["dead_letters"]) == (GOOD, OLD + HOPELESS)
    land(FLOWS, given, root)
    monkeypatch.setenv("LAKEHOUSE_CHURN_EARLIEST", "1990-01-01")
    refused = verb("churn", "score", "--batch", "--root", root, check=False)
    assert (refused.returncode, "give both sections the same" in refused.stderr) == (2, True)
    cured = {f"LAKEHOUSE_{name}_EARLIEST": "1990-01-01" for name in ("CHURN", "CHURN_PREDICTIONS")}
    monkeypatch.setenv("LAKEHOUSE_CHURN_PREDICTIONS_EARLIEST", "1990-01-01")
    words = ("quarantine", "replay", "--product", "churn", "--root", root, "--json")
    assert json.loads(verb(*words).stdout)["churn"]["entered"] == OLD
    assert json.loads(verb(*words).stdout)["churn"]["entered"] == 0
    again = score("--since", "2020-01-01")
    assert (again["predictions"], again["dead_letters"]) == (GOOD + OLD, HOPELESS)
    land(FLOWS, {**given, **cured}, root)
    told = verb("audit", "churn", "--content", "all", "--root", root).stdout
    assert f"PROVEN: {GOOD + OLD + HOPELESS} of {GOOD + OLD + HOPELESS} records" in told
