"""One audit of one product: pin the tables, ask Kafka, compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from lakehouse.audit import sales
from lakehouse.audit.addresses import Account, account, erased_view, quarantine_view
from lakehouse.audit.flags import flags
from lakehouse.audit.ledger import compare_ledger
from lakehouse.audit.pins import Pin, Snapshots, count, engine
from lakehouse.audit.proof import Proof
from lakehouse.audit.recompute import Compared, Recompute, compare_all
from lakehouse.audit.topic import Judge, judge, read_topic
from lakehouse.core.errors import ServiceUnavailable, TableMissing
from lakehouse.core.flow import SilverFlow
from lakehouse.core.settings import Settings
from lakehouse.core.topic import Topic
from lakehouse.products import FLOWS
from lakehouse.publish.ends import Ends

Say = Callable[[str], None]
RECOMPUTES: dict[str, tuple[str, Sequence[Recompute]]] = {
    "sales": (sales.COUNTED, sales.RECOMPUTES)
}
"""Product → the rows that count, and what each silver table must hold."""


@dataclass(frozen=True)
class Broker:
    """Kafka's side of the audit: how to read a topic, and how to judge a gap."""

    topic: Callable[[], Topic | None]
    judge: Judge


def broker_of(settings: Settings, product: str) -> Broker:
    """The broker that settings name."""
    name = settings.product(product).topic
    return Broker(lambda: read_topic(settings.kafka, name), judge(settings.kafka, name))


def audit(product: str, settings: Settings, broker: Broker, now: datetime, say: Say) -> Proof:
    """The proof of one product.

    Bronze's version is pinned first, then quarantine's, then the ledger of erased
    addresses, then Kafka is asked: what lands meanwhile lies above bronze's ends, and
    is left out. Raises TableMissing
    where there is no bronze.
    """
    with engine(settings) as connection:
        snapshots = Snapshots(settings.lake.root, connection)
        name = f"bronze.{product}"
        if not snapshots.exists(name):
            raise TableMissing(
                f"table {name}", "does not exist yet", f"run {product}.bronze, or give --root"
            )
        bronze = snapshots.pin("bronze", name)
        bad = f"quarantine.{product}"
        quarantine = snapshots.pin("all_quarantine", bad) if snapshots.exists(bad) else None
        quarantine_view(connection, quarantine, bronze)
        gone = f"erased.{product}"
        erased_view(connection, snapshots.pin("ledger", gone) if snapshots.exists(gone) else None)
        say(f"{name} at version {bronze.version}: comparing addresses with Kafka's offsets")
        ends, topic, questions = _ends(snapshots, bronze, settings, product, broker)
        found, more = _account(snapshots, ends, topic, broker)
        say("checking what is late and what was sent twice")
        marks = flags(connection, settings.product(product).deduplication_horizon)
        tables = _silver(snapshots, product, bronze, say)
        tables.append(compare_ledger(snapshots, product, bronze))
    return Proof(
        product, now, ends.topic, ends.topic_id, bronze.version,
        quarantine.version if quarantine else None, found, marks, tuple(tables),
        (*questions, *more),
    )  # fmt: skip


def _ends(
    snapshots: Snapshots, bronze: Pin, settings: Settings, product: str, broker: Broker
) -> tuple[Ends, Topic | None, list[str]]:
    """Bronze's ends and the topic that they are of; None and why where they cannot be compared."""
    name, questions = settings.product(product).topic, []
    topic: Topic | None = None
    try:
        topic = broker.topic()
        if topic is None:
            questions.append(f"the broker has no topic {name!r}")
    except ServiceUnavailable as error:
        questions.append(f"{error.place}: {error.fault}")
    id_, numbers = (topic.id, list(topic.ranges)) if topic else ("", [])
    ends = snapshots.ends(bronze, name, id_, numbers)
    if ends is None:
        if count(snapshots.connection, "bronze"):
            questions.append("no commit of bronze says how far it holds the topic")
        return Ends(name, id_), topic, questions
    if topic is not None and (ends.topic, ends.topic_id) != (topic.name, topic.id):
        questions.append(
            f"bronze holds topic {ends.topic!r} with id {ends.topic_id}, and the broker has "
            f"{topic.name!r} with id {topic.id}: the topic was made anew"
        )
        topic = None
    return ends, topic, questions


def _account(
    snapshots: Snapshots, ends: Ends, topic: Topic | None, broker: Broker
) -> tuple[Account, list[str]]:
    """The account, and a question where Kafka expired records while they were read."""
    connection = snapshots.connection
    if topic is None:
        return account(connection, ends, None, None), []
    try:
        found = account(connection, ends, topic, broker.judge)
        after = broker.topic()
    except ServiceUnavailable as error:
        return account(connection, ends, None, None), [f"{error.place}: {error.fault}"]
    moved = after is None or any(
        after.ranges.get(p.partition, (0, 0))[0] != p.beginning
        for p in found.partitions
        if p.markers
    )
    return found, ["records expired in Kafka while they were read: run it again"] * moved


def _silver(snapshots: Snapshots, product: str, bronze: Pin, say: Say) -> list[Compared]:
    """Every table that the product's silver flow declares, compared or said why not."""
    counted, recomputes = RECOMPUTES.get(product, ("", ()))
    known = {r.name for r in recomputes}
    declared = {
        name
        for flow in FLOWS
        if isinstance(flow, SilverFlow) and flow.product == product
        for name in [*(a.name for a in flow.aggregates), *(f.name for f in flow.finers)]
    }
    unknown = [
        Compared(f"silver.{product}_{name}", doubt="the audit has no recompute for it")
        for name in sorted(declared - known)
    ]
    return [*compare_all(snapshots, product, counted, recomputes, bronze, say), *unknown]
