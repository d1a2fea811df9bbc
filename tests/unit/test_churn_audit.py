"""The audit of churn: one outcome a record, and predictions that the model makes again."""

import json
import math
import shutil

import pytest

from lakehouse.audit.extent import Content
from lakehouse.core.errors import LakehouseError, UsageError
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.report import report, views
from lakehouse.explorer.sql import read
from lakehouse.products.churn.asked.told import told
from lakehouse.products.churn.asked.traced import explain, sample
from lakehouse.products.churn.model.store import Models
from lakehouse.products.churn.proof import outcomes
from lakehouse.products.churn.proof.outcomes import Told
from producers.churn.producer import history
from tests.conftest import NOW, settings_at
from tests.support.churn import Lake, customer, scored, value
from tests.support.models import small
from tests.support.product_lake import proof_of

TOPIC = "telco.raw.customers"
BAD = (3, 11)
"""Offsets of records that break the contract."""


@pytest.fixture(scope="module")
def landed(tmp_path_factory):
    """40 records, two of them broken; ``said`` are the predictions of the others."""
    settings = settings_at(tmp_path_factory.mktemp("churn") / "lake")
    lake = Lake(settings)
    lake.models = Models(settings.lake.root)
    lake.version = lake.models.save(small()).version
    lake.models.promote(lake.version)
    lake.events = [json.loads(m.value) for m in history(40, 3, 0.0, NOW, days=2)]
    lake.land("churn", *(b"{" if n in BAD else value(e) for n, e in enumerate(lake.events)))
    lake.said = [
        p for p in scored(lake.models, lake.version, lake.events) if p["input_offset"] not in BAD
    ]
    for silver in lake.silver.values():
        silver.persist()
        silver.settle()
    return lake


@pytest.fixture
def lake(landed, settings):
    """A copy of it."""
    shutil.copytree(landed.settings.lake.root, settings.lake.root)
    lake = Lake(settings)
    lake.next, lake.events, lake.said = {**landed.next}, landed.events, [*landed.said]
    lake.models, lake.version = Models(settings.lake.root), landed.version
    return lake


@pytest.fixture
def dead(monkeypatch, lake):
    """Dead letters as the topic would have them: offsets, which a test may change."""
    offsets = [*BAD]

    def told(_):
        letters = [{"topic": TOPIC, "part": 0, "place": n} for n in offsets]
        ends = {0: lake.next["churn_predictions"] + lake.on_its_way}
        return Told(lake.read, letters, ends, lake.since, lake.topic_id)

    lake.read, lake.on_its_way, lake.since, lake.topic_id = {0: 40}, 0, 0, ""
    monkeypatch.setattr(outcomes, "asked", told)
    return offsets


def asked(lake, product, name):
    for silver in lake.silver.values():
        silver.persist()
    proof = proof_of(product, lake.settings, lake.next[product], Content.NONE)
    return next(check for check in proof.checks if check.name == name)


def test_each_record_has_one_outcome(lake, dead):
    lake.land("churn_predictions", *lake.said)
    found = asked(lake, "churn", "outcomes")
    assert (found.faults, found.doubts) == ((), ())
    assert found.counts["predicted"] == 38
    assert found.counts["dead letters"] == 2
    assert found.counts["not yet scored"] == 0
    assert asked(lake, "churn_predictions", "predictions").counts == {"predictions made again": 38}


def test_what_is_not_scored_or_has_not_landed_yet_waits(lake, dead):
    lake.land("churn_predictions", *lake.said[:20])
    lake.read = {0: lake.said[19]["input_offset"] + 1}
    found = asked(lake, "churn", "outcomes")
    assert found.faults == ()
    assert found.counts["not yet scored"] == 40 - 20 - 2
    lake.read, lake.on_its_way = {0: 40}, 1
    found = asked(lake, "churn", "outcomes")
    assert found.faults == ()
    assert found.counts["of which the outcome may not have landed yet"] == 40
    lake.on_its_way = 0
    assert asked(lake, "churn", "outcomes").faults == ("18 records have no outcome",)


def test_outcomes_in_a_topic_that_was_made_anew_have_not_landed_yet(lake, dead):
    lake.land("churn_predictions", *lake.said[:20])
    lake.topic_id, lake.on_its_way = "made anew", -2
    found = asked(lake, "churn", "outcomes")
    assert (found.faults, found.counts["predicted"]) == ((), 20)
    assert found.counts["of which the outcome may not have landed yet"] == 40
    lake.on_its_way = -20  # it has nothing that could land: what is missing is lost
    assert asked(lake, "churn", "outcomes").faults == ("18 records have no outcome",)


def wrong(lake, said, dead=BAD):
    lake.land("churn_predictions", *said)
    return " ".join(asked(lake, "churn", "outcomes").faults)


def test_a_record_without_an_outcome_is_found(lake, dead):
    assert wrong(lake, lake.said[:10] + lake.said[11:]) == "1 records have no outcome"


def test_a_dead_letter_that_is_missing_or_there_twice_is_found(lake, dead):
    dead[:] = [3, 3]
    assert wrong(lake, lake.said) == "1 records have no outcome 1 records have two dead letters"


def test_dead_letters_that_expired_are_not_missed(lake, dead):
    dead.clear()
    lake.since = int(NOW.timestamp() * 1000) + 1
    assert wrong(lake, lake.said) == ""
    lake.since -= 1
    assert asked(lake, "churn", "outcomes").faults == ("2 records have no outcome",)


def test_a_prediction_beside_a_dead_letter_is_found(lake, dead):
    dead.append(5)
    told = wrong(lake, lake.said)
    assert "1 records have a prediction and a dead letter" in told
    assert "1 records have a dead letter, and keep the contract" in told


def test_a_second_prediction_and_one_of_nobody_are_found(lake, dead):
    again = {**lake.said[4], "event_id": "another"}
    nobody = {**lake.said[4], "event_id": "nobody", "input_event_id": "none", "input_offset": 3}
    told = wrong(lake, [*lake.said, again, nobody])
    assert "1 records are predicted twice by one model" in told
    assert "1 records have a prediction, and are no customer's" in told


def test_predictions_of_another_model_are_counted_and_made_again(lake, dead):
    other = lake.models.save(small(2)).version
    more = [p for p in scored(lake.models, other, lake.events) if p["input_offset"] not in BAD]
    assert wrong(lake, [*lake.said, *more[:5]]) == ""
    assert asked(lake, "churn", "outcomes").counts["by several models"] == 5
    assert asked(lake, "churn_predictions", "predictions").counts["predictions made again"] == 43


@pytest.mark.parametrize(
    "changes",
    [
        [{"probability": 0.0001}, {"prediction": "other"}, {"threshold": 0.0101}],
        [{"tenure": 999}, {"customerID": "0000-OTHER"}, {"event_id": "x"}],
    ],
)
def test_a_prediction_that_its_model_does_not_make_is_named(lake, dead, changes):
    """One value of each of three: a prediction is found by it alone."""
    said = [{**one, **more} for one, more in zip(lake.said, changes, strict=False)]
    if said[1]["prediction"] == "other":
        said[1]["prediction"] = "No" if lake.said[1]["prediction"] == "Yes" else "Yes"
    lake.land("churn_predictions", *said, *lake.said[3:])
    found = asked(lake, "churn_predictions", "predictions")
    assert found.faults == ("3 predictions are not what their model says of their input",)
    assert sorted(row["offset"] for row in found.first) == [0, 1, 2]


def test_a_model_that_is_gone_is_a_doubt(lake, dead):
    one = lake.said[0]
    gone = {**one, "model_version": "gone", "event_id": f"{one['input_event_id']}@gone"}
    lake.land("churn_predictions", gone)
    assert "gone" in asked(lake, "churn_predictions", "predictions").doubts[0]


def test_the_report_has_every_section_and_drift_against_training(lake, dead):
    lake.land(
        "churn_predictions", *lake.said, {**lake.said[0], "event_id": "s", "inference_ms": 20}
    )
    for silver in lake.silver.values():
        silver.persist()
    catalogue = Catalogue(lake.settings.lake.root)
    explorer, own = lake.settings.explorer, views(None, lake.settings)
    left_out = []
    found = report(catalogue, explorer, own, left_out.append)
    assert all("ledger.churn" in told for told in left_out)  # which this lake does not keep
    assert found["churn_outcomes"].to_pylist()[0]["predictions"] == 39
    by_contract = [r for r in found["churn_risk"].to_pylist() if r["by"] == "contract"]
    assert sum(r["customers"] for r in by_contract) == len({p["customerID"] for p in lake.said})
    [latency] = found["churn_latency"].to_pylist()
    assert (latency["p50_ms"], latency["p99_ms"], latency["breaches"]) == (0.2, 20, 1)
    sql = "SELECT * FROM churn_drift ORDER BY ALL"
    drift = read(catalogue, sql, explorer, own).to_pylist()
    assert {r["feature"] for r in drift} >= {"tenure", "probability", "Contract"}
    assert {r["verdict"] for r in drift} == {"too few"}
    assert all(r["psi"] >= 0 for r in drift)


def test_a_sample_has_inputs_and_predictions_and_a_customer_is_explained(lake, dead):
    lake.land("churn_predictions", *lake.said)
    found = sample(lake.settings, 10)
    assert len(found) == 10
    one = found[0]
    assert one["input"]["customerID"] == lake.events[one["input"]["offset"]]["customerID"]
    assert one["prediction"]["topic"] == "telco.churn.predictions"
    answer = explain(lake.settings, one["input"]["customerID"])
    latest = answer["predictions"][0]["prediction"]
    assert answer["why"]["probability"] == pytest.approx(latest["probability"], abs=1e-4)
    assert len(answer["why"]["contributions"]) == 19
    text = told(answer)
    assert f"{TOPIC}/0/{answer['predictions'][0]['input']['offset']}" in text
    assert "contributions to the log odds" in text.lower()
    with pytest.raises(UsageError, match="has no prediction"):
        explain(lake.settings, "nobody' OR true --")


def test_drift_is_the_stability_index_against_the_promoted_models_training(settings):
    lake, models = Lake(settings), Models(settings.lake.root)
    models.promote(models.save(small()).version)
    lake.land("churn", *(customer(event_id=f"e{n}", Contract="Two year") for n in range(250)))
    lake.silver["churn"].persist()
    lake.silver["churn_predictions"].persist()
    sql = "FROM churn_drift WHERE feature = 'Contract'"
    catalogue, explorer = Catalogue(settings.lake.root), settings.explorer
    [found] = read(catalogue, sql, explorer, views(None, settings).items()).to_pylist()
    trained = small().card.histograms["Contract"]
    index = 0.0
    for term, customers in trained.items():
        was, now = customers / sum(trained.values()), 1.0 if term == "Two year" else 0.0001
        index += (now - was) * math.log(now / was)
    assert found["psi"] == pytest.approx(index, abs=1e-4)
    assert (found["records"], found["verdict"]) == (250, "shifted")


def test_a_damaged_card_is_said_where_drift_is_asked_for_and_nowhere_else(lake, dead):
    lake.models.folder.joinpath(lake.version, "card.json").write_bytes(b"{")
    own, catalogue = views(None, lake.settings).items(), Catalogue(lake.settings.lake.root)
    [one] = read(catalogue, "SELECT count(*) AS n FROM bronze.churn", lake.settings.explorer, own)
    assert one.to_pylist() == [38]
    with pytest.raises(LakehouseError, match="damaged"):
        read(catalogue, "FROM churn_training", lake.settings.explorer, own)
