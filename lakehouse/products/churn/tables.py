"""Churn: what the silver tables of customers and of predictions are.

What is told by day is counted in bins, and bins add up: drift, percentiles and curves are derived
from them when they are read.
"""

from __future__ import annotations

from lakehouse.model.flow import (
    MONEY,
    Aggregate,
    BronzeFlow,
    Flow,
    Keyed,
    Measure,
    Ratio,
    SilverFlow,
)
from lakehouse.products.churn.bins import BLANK, EDGES, labels
from lakehouse.products.churn.contract import CUSTOMERS, FEATURES, PREDICTIONS


def _bin(name: str) -> str:
    """SQL: the bin of a feature, or of ``probability``."""
    if name not in EDGES:
        return f"CAST({name} AS VARCHAR)"
    below = " ".join(
        f"WHEN {name} < {edge} THEN '{label}'"
        for edge, label in zip(EDGES[name], labels(name), strict=False)
    )
    return f"CASE WHEN {name} IS NULL THEN '{BLANK}' {below} ELSE '{labels(name)[-1]}' END"


_CASES = " ".join(f"WHEN '{name}' THEN {name}" for name in FEATURES)
_EACH = ", ".join(f"('{name}')" for name in FEATURES)
INPUTS = Aggregate(
    name="inputs",
    keys={
        "day": ("day", "DATE"),
        "feature": ("feature", "VARCHAR"),
        "bin": (f"CASE feature {_CASES} END", "VARCHAR"),
    },
    docs={
        "day": "UTC date of event_time",
        "feature": "column of the customer",
        "bin": "its value, or where a number lies; see lakehouse/products/churn/bins.py",
    },
    slice={"day": "CAST(event_time AS DATE)", **{name: _bin(name) for name in FEATURES}},
    explode=f"CROSS JOIN (VALUES {_EACH}) AS f(feature)",
    measures={"customers": Measure("count(*)", "BIGINT", "sum", "records with such a value")},
    doc="one row per day, feature and bin: the histogram that drift is told by",
)

_TIME = "lpad(CAST(epoch_us({}) AS VARCHAR), 20, '0')"
_NUMBER = "lpad(CAST({} AS VARCHAR), 20, '0')"
SEQUENCE = " || '-' || ".join(
    (
        _TIME.format("event_time"), _TIME.format("scored_at"),
        _NUMBER.format("input_partition"), _NUMBER.format("input_offset"), "model_version",
    )
)  # fmt: skip
"""Facts that were known later win; of the same facts the prediction that was made later."""
KEYED = Keyed(
    key="customerID",
    order="sequence",
    time="known_at",
    follows="prediction",
    columns={
        "customerID": ("customerID", "VARCHAR"),
        "Contract": ("Contract", "VARCHAR"),
        "tenure": ("tenure", "BIGINT"),
        "PaymentMethod": ("PaymentMethod", "VARCHAR"),
        "MonthlyCharges": ("MonthlyCharges", "DECIMAL(18,4)"),
        "Churn": ("Churn", "VARCHAR"),
        "prediction": ("prediction", "VARCHAR"),
        "probability": ("probability", "DECIMAL(18,4)"),
        "threshold": ("threshold", "DECIMAL(18,4)"),
        "model_version": ("model_version", "VARCHAR"),
        "contributions": ("contributions", "VARCHAR"),
        "known_at": ("event_time", "TIMESTAMPTZ"),
        "scored_at": ("scored_at", "TIMESTAMPTZ"),
        "input_topic": ("input_topic", "VARCHAR"),
        "input_partition": ("input_partition", "BIGINT"),
        "input_offset": ("input_offset", "BIGINT"),
        "sequence": (SEQUENCE, "VARCHAR"),
    },
    block="ascii(md5(customerID)) % 16",
    where="true",
    deleted="false",
    docs={
        "customerID": "the customer",
        "prediction": "Yes: the customer is about to leave",
        "known_at": "event_time of the facts that it was made of",
        "sequence": "orders the predictions of a customer: by known_at, then by scored_at",
    },
)


def _count(where: str, doc: str) -> Measure:
    return Measure(f"sum(CASE WHEN {where} THEN sign ELSE 0 END)", "BIGINT", "sum", doc)


def _sum(column: str, where: str, doc: str) -> Measure:
    signed = f"CASE WHEN NOT ({where}) THEN 0 WHEN sign > 0 THEN {column} ELSE -{column} END"
    return Measure(f"sum({signed})", MONEY, "sum", doc)


RISK = Aggregate(
    name="risk",
    keys={
        "month": ("CAST(date_trunc('month', known_at) AS DATE)", "DATE"),
        "contract": ("Contract", "VARCHAR"),
        "tenure_band": (
            "CASE WHEN tenure <= 12 THEN '0-12' WHEN tenure <= 24 THEN '13-24' "
            "WHEN tenure <= 48 THEN '25-48' WHEN tenure <= 60 THEN '49-60' ELSE '61+' END",
            "VARCHAR",
        ),
        "payment_method": ("PaymentMethod", "VARCHAR"),
    },
    docs={
        "month": "first day of the UTC month of known_at",
        "contract": "the customer's contract",
        "tenure_band": "months that the customer has stayed",
        "payment_method": "how the customer pays",
    },
    measures={
        "customers": _count("true", "customers, each by the latest prediction"),
        "leaving": _count("prediction = 'Yes'", "those who are about to leave"),
        "probability": _sum("probability", "true", "Σ probability of leaving"),
        "charges": _sum("MonthlyCharges", "true", "Σ MonthlyCharges"),
        "at_risk": _sum("MonthlyCharges", "prediction = 'Yes'", "those of who is about to leave"),
    },
    ratios={"risk": Ratio("probability", "customers", "probability ÷ customers")},
    having="customers > 0",
    doc="one row per month, contract, tenure band and payment method",
)
SCORES = Aggregate(
    name="scores",
    of_changes=True,
    keys={
        "day": ("CAST(event_time AS DATE)", "DATE"),
        "model_version": ("model_version", "VARCHAR"),
        "score": (_bin("probability"), "VARCHAR"),
        "prediction": ("prediction", "VARCHAR"),
        "known": ("coalesce(Churn, 'unknown')", "VARCHAR"),
    },
    docs={
        "day": "UTC date of event_time",
        "model_version": "the model",
        "score": "where the probability lies",
        "prediction": "what the model said: Yes or No",
        "known": "whether the customer left: Yes, No or unknown",
    },
    measures={
        "predictions": Measure("count(*)", "BIGINT", "sum", "how many"),
        "probability": Measure("sum(probability)", MONEY, "sum", "Σ probability"),
    },
    doc="one row per day, model, bin of the score, prediction and what is known: predicted "
    "against known, calibration and drift of the score are told by it",
)

_US = "CAST(ceil(inference_ms * 1000) AS BIGINT)"
_STEP = f"CAST(pow(10, greatest(length(CAST({_US} AS VARCHAR)) - 2, 0)) AS BIGINT)"
LATENCY = Aggregate(
    name="latency",
    of_changes=True,
    keys={
        "day": ("CAST(scored_at AS DATE)", "DATE"),
        "model_version": ("model_version", "VARCHAR"),
        "at_most_us": (f"(({_US} + {_STEP} - 1) // {_STEP}) * {_STEP}", "BIGINT"),
    },
    docs={
        "day": "UTC date of scored_at",
        "model_version": "the model",
        "at_most_us": "inference_ms in microseconds, rounded up to two digits",
    },
    measures={
        "predictions": Measure("count(*)", "BIGINT", "sum", "how many"),
        "milliseconds": Measure("sum(inference_ms)", MONEY, "sum", "Σ inference_ms"),
        "slowest_ms": Measure("max(inference_ms)", "DECIMAL(18,4)", "max", "the slowest"),
    },
    doc="one row per day, model and bucket of latency: percentiles and breaches are told by it",
)

FLOWS: tuple[Flow, ...] = (
    BronzeFlow(CUSTOMERS),
    SilverFlow(CUSTOMERS, (INPUTS,)),
    BronzeFlow(PREDICTIONS),
    SilverFlow(PREDICTIONS, (RISK, SCORES, LATENCY), keyed=KEYED),
)
