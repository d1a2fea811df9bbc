"""The contracts of churn: what is known of a customer, and what was predicted of one.

Customers have the columns of IBM's Telco file, by its names. A prediction names the record that
it was made of, and says again what reports divide by, so that neither is looked up.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lakehouse.model.contract import Contract, Record

Text = Annotated[str, Meta(min_length=1)]
Time = Annotated[datetime, Meta(tz=True)]
YesNo = Literal["Yes", "No"]
Line = Literal["Yes", "No", "No phone service"]
Service = Literal["Yes", "No", "No internet service"]
Internet = Literal["DSL", "Fiber optic", "No"]
Term = Literal["Month-to-month", "One year", "Two year"]
Method = Literal[
    "Electronic check", "Mailed check", "Bank transfer (automatic)", "Credit card (automatic)"
]
Months = Annotated[int, Meta(ge=0, le=1200)]


class Customer(msgspec.Struct, kw_only=True, gc=False):
    """What is known of one customer at one time: the 21 columns of IBM's file, and its own id."""

    event_id: Text
    event_time: Time
    customerID: Text  # noqa: N815  # the file's names
    gender: Literal["Female", "Male"]
    SeniorCitizen: Annotated[int, Meta(ge=0, le=1)]
    Partner: YesNo
    Dependents: YesNo
    tenure: Months
    PhoneService: YesNo
    MultipleLines: Line
    InternetService: Internet
    OnlineSecurity: Service
    OnlineBackup: Service
    DeviceProtection: Service
    TechSupport: Service
    StreamingTV: Service
    StreamingMovies: Service
    Contract: Term
    PaperlessBilling: YesNo
    PaymentMethod: Method
    MonthlyCharges: Decimal
    TotalCharges: Decimal | None = None
    Churn: YesNo | None = None


FEATURES = tuple(
    name for name in Customer.__struct_fields__
    if name not in {"event_id", "event_time", "customerID", "Churn"}
)  # fmt: skip
"""The 19 columns that a model may use, in the file's order."""


_IS_TEXT = re.compile(rb'"TotalCharges"[ \t\r\n]*:[ \t\r\n]*"')
"""A value without it need not be parsed to know that it has no such text."""


def _unwrap(record: Record) -> bytes:
    """The record's value; a TotalCharges that is blank text, as the file has it, is a null.

    Of doubled keys the last wins: the null is put last.
    """
    value = record.value
    if value is None:
        raise ValueError("the value is null (a tombstone)")
    body = value.strip(b" \t\r\n")
    if not body.startswith(b"{") or not _IS_TEXT.search(body):
        return value
    said = msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get("TotalCharges")
    if said is None or bytes(said)[:1] != b'"' or msgspec.json.decode(said, type=str).strip():
        return value
    return body[:-1] + b',"TotalCharges":null}'


CUSTOMERS = Contract(
    name="churn",
    version=1,
    event=Customer,
    unwrap=_unwrap,
    mends=True,
    person="customerID",
    descriptions={
        "event_id": "unique; a copy with the same id counts once",
        "event_time": "when this was known: RFC 3339 with an offset",
        "customerID": "who; a customer may come again with new facts",
        "gender": "Female or Male",
        "SeniorCitizen": "1 or 0",
        "Partner": "Yes or No, as Dependents",
        "tenure": "months that the customer has stayed",
        "MultipleLines": "Yes, No or No phone service",
        "InternetService": "DSL, Fiber optic or No",
        "OnlineSecurity": "Yes, No or No internet service, as the columns up to StreamingMovies",
        "Contract": "Month-to-month, One year or Two year",
        "PaymentMethod": "Electronic check, Mailed check, Bank transfer (automatic) or "
        "Credit card (automatic)",
        "MonthlyCharges": "a JSON number, not negative, at most 4 digits after the point",
        "TotalCharges": "the same; null, absent or blank text where nothing was charged yet",
        "Churn": "whether the customer left, where that is known: Yes, No or null",
    },
)
"""Topic ``telco.raw.customers`` → bronze.churn."""


class Prediction(msgspec.Struct, kw_only=True, gc=False):
    """What one model said of one record of a customer."""

    event_id: Text
    event_time: Time
    customerID: Text  # noqa: N815
    input_event_id: Text
    input_topic: Text
    input_partition: Annotated[int, Meta(ge=0)]
    input_offset: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    prediction: YesNo
    probability: Decimal
    threshold: Decimal
    model_version: Text
    contributions: Text
    Contract: Term
    tenure: Months
    PaymentMethod: Method
    MonthlyCharges: Decimal
    Churn: YesNo | None = None
    scored_at: Time
    inference_ms: Decimal


PREDICTIONS = Contract(
    name="churn_predictions",
    version=1,
    event=Prediction,
    person="customerID",
    descriptions={
        "event_id": "input_event_id@model_version: a record that is scored again counts once",
        "event_time": "the input's own",
        "input_event_id": "the input's event_id",
        "input_topic": "the input's address: topic, partition and offset",
        "prediction": "Yes, the customer leaves, where probability >= threshold; else No",
        "probability": "of Yes, from 0 to 1, rounded half even to 4 digits",
        "threshold": "from 0 to 1, with at most 4 digits",
        "model_version": "the version in the model store",
        "contributions": "JSON array of objects with `feature`, `value` and `contribution` (its "
        "share of the log odds), the greatest first",
        "Contract": "the input's, as tenure, PaymentMethod, MonthlyCharges and Churn",
        "Churn": "whether the customer left, where the input knew",
        "scored_at": "when; a measurement, as inference_ms",
        "inference_ms": "milliseconds that features and model took, with at most 4 digits",
    },
)
"""Topic ``telco.churn.predictions`` → bronze.churn_predictions."""
