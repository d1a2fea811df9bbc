"""Silver of churn: what it holds, by increments, by its recompute and by its declarations."""

import shutil
from decimal import Decimal
from pathlib import Path

import msgspec

from producers.churn.producer import history
from tests.conftest import NOW
from tests.support.churn import Lake, customer, predicted


def test_risk_follows_the_latest_prediction_of_each_customer(settings):
    lake = Lake(settings)
    ann, bob = customer(), customer(customerID="b", event_id="e2", Contract="One year")
    later = customer(
        event_id="e3", event_time="2026-11-20T11:30:00Z", tenure=13, Contract="Two year"
    )
    lake.land("churn_predictions", predicted(ann, 0.7), predicted(bob, 0.2, offset=1))
    assert [r["leaving"] for r in lake.rows("silver.churn_predictions_risk")] == [1, 0]
    lake.land("churn_predictions", predicted(later, 0.9, offset=2))
    lake.land("churn_predictions", predicted(ann, 0.1, model="v2"))  # older facts, scored again
    risk = {r["contract"]: r for r in lake.rows("silver.churn_predictions_risk")}
    assert {c: (r["customers"], r["leaving"]) for c, r in risk.items()} == {
        "One year": (1, 0), "Two year": (1, 1),
    }  # fmt: skip
    assert risk["Two year"]["tenure_band"] == "13-24"
    assert risk["Two year"]["risk"] == Decimal("0.9")
    now = {r["customerID"]: r for r in lake.rows("silver.churn_predictions_current")}
    assert now["7590-VHVEG"]["probability"] == Decimal("0.9")
    assert lake.audited() == []


def test_scores_and_latency_count_every_prediction_once_however_often_it_is_made(settings):
    lake = Lake(settings)
    events = [
        predicted(customer(event_id=f"e{n}"), round(0.05 + n / 10, 4), offset=n, inference_ms=ms)
        for n, ms in enumerate((0.0123, 0.0991, 0.1234, 0.9961, 15, 15.0001, 0))
    ]
    lake.land("churn_predictions", *events[:3])
    lake.land("churn_predictions", *events)
    scores = lake.rows("silver.churn_predictions_scores")
    assert sum(r["predictions"] for r in scores) == 7
    assert {(r["score"], r["known"]) for r in scores} >= {("below 0.1", "No"), ("0.5 to 0.6", "No")}
    latency = lake.rows("silver.churn_predictions_latency", order="at_most_us")
    assert [r["at_most_us"] for r in latency] == [0, 13, 100, 130, 1000, 15000, 16000]
    assert sum(r["milliseconds"] for r in latency) == Decimal("31.2310")
    assert lake.audited() == []


def test_inputs_are_counted_by_day_feature_and_bin(settings):
    lake = Lake(settings)
    lake.land("churn", customer(), customer(event_id="e2", TotalCharges=" ", tenure=0), b"{")
    lake.land("churn", customer(event_id="e2"))  # a duplicate
    rows = lake.rows("silver.churn_inputs")
    found = {(r["feature"], r["bin"]): r["customers"] for r in rows}
    assert found["Contract", "Month-to-month"] == 2
    assert found["TotalCharges", "blank"] == found["tenure", "below 1"] == 1
    assert len({r["feature"] for r in rows}) == 19
    assert sum(found.values()) == 2 * 19
    assert lake.audited() == []


def test_tables_of_many_batches_are_those_of_a_recompute_after_a_restart(settings):
    lake = Lake(settings)
    made = [msgspec.json.decode(m.value) for m in history(600, 5, 0.0, NOW, days=70)]
    for number, part in enumerate(_parts(made, 150)):
        lake.land("churn", *part)
        said = (
            predicted(one, (n * 37 + number * 13) % 1000 / 1000, offset=150 * number + n,
                      inference_ms=n / 100)
            for n, one in enumerate(part)
        )  # fmt: skip
        lake.land("churn_predictions", *said, fold=number != 1)
        if number == 1:
            lake.restart()
        if number == 2:  # the state is a cache: lost, it is rebuilt of the tables
            lake.rows("silver.churn_predictions_risk")
            for silver in lake.silver.values():
                silver.close()
            shutil.rmtree(Path(settings.lake.root, "_state"))
            lake.restart()
    assert lake.audited() == []
    assert sum(r["customers"] for r in lake.rows("silver.churn_predictions_risk")) == len(
        {one["customerID"] for one in made}
    )


def test_late_facts_take_their_place_and_an_older_state_gives_way(settings):
    """In any order of arrival the same tables: what is latest goes by the facts' own time."""
    facts = [
        customer(event_id=f"e{n}", event_time=f"2026-11-{day:02}T11:00:00Z", tenure=day)
        for n, day in enumerate((9, 3, 20, 15))
    ]
    lake = Lake(settings)
    for n, one in enumerate(facts):
        lake.land("churn_predictions", predicted(one, (0.9, 0.1, 0.2, 0.8)[n], offset=n))
    [now] = lake.rows("silver.churn_predictions_current")
    assert (now["tenure"], now["prediction"]) == (20, "No")
    runs = lake.rows("silver.churn_predictions_history", order="started_at")
    assert [r["prediction"] for r in runs] == ["No", "Yes", "No"]
    assert lake.audited() == []


def _parts(made, size):
    return [made[n : n + size] for n in range(0, len(made), size)]
