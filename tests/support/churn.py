"""Customers and predictions by hand, and a lake that they land in, without Spark."""

import json

import msgspec
import pyarrow as pa

from lakehouse.audit.compare import compare_all
from lakehouse.audit.declared import declared, recomputes_of
from lakehouse.audit.pins import Snapshots
from lakehouse.ingest.decode import decode_batch
from lakehouse.ingest.landing import BronzePublisher
from lakehouse.ingest.writers.arrow import ArrowWriter
from lakehouse.model.flow import SilverFlow
from lakehouse.products.churn.tables import FLOWS
from lakehouse.products.registry import contract
from lakehouse.silver.publisher import SilverPublisher
from tests.conftest import NOW, RULES, decoded, records
from tests.support.engine import auditing, connected
from tests.support.product_lake import rows

CUSTOMER = {
    "event_id": "e1", "event_time": "2026-11-20T11:00:00Z", "customerID": "7590-VHVEG",
    "gender": "Female", "SeniorCitizen": 0, "Partner": "Yes", "Dependents": "No", "tenure": 1,
    "PhoneService": "No", "MultipleLines": "No phone service", "InternetService": "DSL",
    "OnlineSecurity": "No", "OnlineBackup": "Yes", "DeviceProtection": "No", "TechSupport": "No",
    "StreamingTV": "No", "StreamingMovies": "No", "Contract": "Month-to-month",
    "PaperlessBilling": "Yes", "PaymentMethod": "Electronic check", "MonthlyCharges": 29.85,
    "TotalCharges": 29.85, "Churn": "No",
}  # fmt: skip
_CARRIED = ("event_time", "customerID", "Contract", "tenure", "PaymentMethod", "MonthlyCharges")


def predicted(customer, probability, *, offset=0, partition=0, model="v1", **more):
    """What a model might say of a customer's record, as an event."""
    made = {
        "event_id": f"{customer['event_id']}@{model}", "input_event_id": customer["event_id"],
        **{name: customer[name] for name in _CARRIED}, "input_topic": "telco.raw.customers",
        "input_partition": partition, "input_offset": offset,
        "prediction": "Yes" if probability >= 0.5 else "No", "probability": probability,
        "threshold": 0.5, "model_version": model, "contributions": "[]",
        "scored_at": "2026-11-20T11:30:00Z", "inference_ms": 0.2, **more,
    }  # fmt: skip
    return made | ({"Churn": customer["Churn"]} if customer.get("Churn") else {})


class Lake:
    """Publishers of both contracts over one root; ``restart`` opens them as another process."""

    def __init__(self, settings):
        self.settings = settings
        self.flows = {f.product: f for f in FLOWS if isinstance(f, SilverFlow)}
        self.next = dict.fromkeys(self.flows, 0)
        self.restart()

    def restart(self):
        for silver in vars(self).get("silver", {}).values():
            silver.settle()  # a process that ended writes no more
        self.connection = connected(self.settings)
        self.bronze = {
            name: BronzePublisher.open(contract(name), self.settings, "t1", self.connection)
            for name in self.flows
        }
        self.silver = {
            name: SilverPublisher.open(flow, self.settings, self.connection)
            for name, flow in self.flows.items()
        }

    def land(self, name, *events, fold=True):
        """A batch of one contract lands, values or events; silver follows, unless told not to."""
        values = [e if isinstance(e, bytes | None) else msgspec.json.encode(e) for e in events]
        topic = self.settings.product(name).topic
        landing = decoded(values, contract(name), topic=topic, first=self.next[name])
        self.next[name] += len(values)
        landed = ArrowWriter(self.bronze[name]).publish(landing, {0: self.next[name]}, NOW)
        if fold:
            self.silver[name].catch_up()
        return landed

    def rows(self, table, columns="*", order="ALL"):
        for silver in self.silver.values():
            silver.persist()
        return rows(self.settings, table, columns, order)

    def audited(self):
        """What the audit finds wrong, by the product's own recompute and by its declarations."""
        wrong = []
        with auditing(self.settings) as connection:
            snapshots = Snapshots(self.settings.lake.root, connection)
            for name, flow in self.flows.items():
                self.silver[name].persist()
                bronze = snapshots.pin("bronze", f"bronze.{name}")
                for found in (recomputes_of(name), declared(contract(name), [flow])):
                    compared = compare_all(snapshots, name, found, bronze, lambda _: None)
                    mine = [c for c in compared if c.table in flow.tables]
                    assert {c.table for c in mine} == {*flow.tables}
                    wrong += [c for c in mine if c.differing or c.fault or c.doubt]
        return wrong


def customer(**changes):
    """A customer's event; text of its value where it is to be sent."""
    return {**CUSTOMER, **changes}


def value(event):
    """The event as a record's value."""
    return json.dumps(event).encode()


def scored(models, version, events, *, first=0, partition=0):
    """What a version of the model says of customers' events, as predictions of their records."""
    values = [value(e) for e in events]
    batches = decode_batch(records(values, first=first), contract("churn"), RULES)
    rows = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    scorer = models.scorer(version)
    threshold = scorer.card.threshold
    for n, (event, units) in enumerate(zip(events, scorer.score(rows).rounded(), strict=True)):
        said = predicted(event, int(units) / 10_000, offset=first + n, partition=partition,
                         model=version, threshold=threshold)  # fmt: skip
        yield {**said, "prediction": "Yes" if said["probability"] >= threshold else "No"}
