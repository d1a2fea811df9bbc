"""Churn: its contracts, and the bins in which inputs and scores are counted."""

import json
from decimal import Decimal

import pytest

from lakehouse.ingest.verdict import explain
from lakehouse.model.contract import Record
from lakehouse.products.churn.bins import BLANK, bin_of, labels
from lakehouse.products.churn.contract import FEATURES
from lakehouse.products.registry import contract, load_settings
from tests.conftest import NOW, RULES, decoded
from tests.support.churn import CUSTOMER


def judged(value):
    return explain(Record(None, value, None, NOW), contract("churn"), RULES)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, None),
        ({"TotalCharges": " "}, None),
        ({"TotalCharges": ""}, None),
        ({"TotalCharges": None, "Churn": None}, None),
        ({"TotalCharges": "29.85"}, "'TotalCharges'"),
        ({"SeniorCitizen": 2}, "'SeniorCitizen'"),
        ({"SeniorCitizen": "No"}, "'SeniorCitizen'"),
        ({"Contract": "Three year"}, "'Contract'"),
        ({"tenure": -1}, "'tenure'"),
        ({"MonthlyCharges": -1}, "'MonthlyCharges'"),
        ({"customerID": ""}, "'customerID' is empty"),
        ({"Churn": "perhaps"}, "'Churn'"),
    ],
)
def test_what_keeps_and_what_breaks_the_contract(changes, verdict):
    told = judged(json.dumps({**CUSTOMER, **changes}).encode()).verdict
    assert (told is None) if verdict is None else (verdict in told)


def test_what_may_be_left_out():
    bare = {k: v for k, v in CUSTOMER.items() if k not in {"TotalCharges", "Churn"}}
    assert judged(json.dumps(bare).encode()).verdict is None
    assert "tombstone" in judged(None).verdict
    assert len(FEATURES) == 19


def test_each_contract_has_a_section_of_its_own():
    settings = load_settings()
    topics = [settings.product(name).topic for name in ("churn", "churn_predictions")]
    assert topics == ["telco.raw.customers", "telco.churn.predictions"]
    assert {settings.product(n).partitions for n in ("churn", "churn_predictions")} == {3}


def test_a_value_at_an_edge_is_in_the_upper_bin():
    assert [bin_of("tenure", n) for n in (0, 1, 6, 7, 72)] == [
        "below 1", "1 to 7", "1 to 7", "7 to 13", "from 61",
    ]  # fmt: skip
    assert bin_of("TotalCharges", None) == bin_of("TotalCharges", float("nan")) == BLANK
    assert bin_of("probability", 0.3) == "0.3 to 0.4"
    assert bin_of("Contract", "One year") == "One year"
    assert len(labels("probability")) == 10


def test_charges_that_are_blank_or_absent_are_null_in_bronze_and_others_are_exact():
    blank = {**CUSTOMER, "TotalCharges": " "}
    absent = {k: v for k, v in CUSTOMER.items() if k != "TotalCharges"}
    null = {**CUSTOMER, "TotalCharges": None}
    values = [json.dumps(e).encode() for e in (CUSTOMER, blank, absent, null)]
    rows = decoded(values, contract("churn")).sort_by("offset")
    assert rows["verdict"].null_count == 4
    assert rows["TotalCharges"].to_pylist() == [Decimal("29.85"), None, None, None]
