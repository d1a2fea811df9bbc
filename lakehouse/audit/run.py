"""One audit of one product: pin the tables, ask Kafka, compare."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from lakehouse.audit.account import Account
from lakehouse.audit.addresses import account, erased_view, quarantine_view
from lakehouse.audit.asked import checks_of
from lakehouse.audit.check import Check, Scene
from lakehouse.audit.compare import Compared, compare_all
from lakehouse.audit.content import COMPARED, told_ahead
from lakehouse.audit.content import NAME as CONTENT
from lakehouse.audit.declared import recomputes_of
from lakehouse.audit.extent import Content
from lakehouse.audit.flags import Flags, flags
from lakehouse.audit.kafka_sink import compare_kafka
from lakehouse.audit.ledger import compare_ledger
from lakehouse.audit.parquet import compare_parquet
from lakehouse.audit.pins import Pin, Snapshots, count, engine
from lakehouse.audit.postgres_sink import compare_postgres
from lakehouse.audit.proof import Proof
from lakehouse.audit.reach import ContentRead
from lakehouse.audit.steps import Steps
from lakehouse.audit.topic import Broker, is_compacted, judge, read_topic, records
from lakehouse.core.errors import ServiceUnavailable, TableDamaged, TableMissing
from lakehouse.core.memory import bounded, growth
from lakehouse.core.paths import Lake
from lakehouse.core.text import Say
from lakehouse.ingest.ends import Ends
from lakehouse.ingest.topic import Topic
from lakehouse.model.flow import Flow, ParquetFlow, SilverFlow
from lakehouse.model.sink import KafkaSink, PostgresSink
from lakehouse.products.registry import flows
from lakehouse.settings.settings import Settings
from lakehouse.storage.log import commits, notes
from lakehouse.storage.log_health import Log


def topic_of(settings: Settings, product: str) -> str:
    """The topic that bronze says it holds, whatever settings name now; theirs where none does."""
    uri = Lake(settings.lake.root).table(f"bronze.{product}")
    held = notes(commits(uri, Log.of(uri).newest))
    try:
        return next(str(note["ends"]["topic"]) for note in held if "ends" in note)
    except (StopIteration, TableDamaged):  # the audit tells of the damage when it opens the table
        return settings.product(product).topic


def broker_of(settings: Settings, product: str) -> Broker:
    """The broker that settings name, asked of the topic that bronze holds; or none to ask."""
    name = topic_of(settings, product)
    kafka = settings.kafka
    if not kafka.bootstrap_servers:
        return Broker(_no_broker, judge(kafka, name))
    return Broker(
        lambda: read_topic(kafka, name),
        judge(kafka, name),
        records(kafka, name),
        lambda: is_compacted(kafka, name),
    )


def _no_broker() -> Topic | None:
    raise ServiceUnavailable(
        "Kafka", "is not named, and no data of this lake's embedded one is here",
        "name the broker by [kafka] bootstrap_servers",
    )  # fmt: skip


def audit(
    product: str,
    settings: Settings,
    broker: Broker,
    now: datetime,
    say: Say,
    content: Content = Content.SAMPLE,
    *,
    with_source: bool = False,
) -> Proof:
    """The proof of one product; what could not be checked is a doubt in it, not an exception.

    Bronze's version is pinned first, then quarantine's, then the ledger of erased
    addresses, then Kafka is asked: what lands meanwhile lies above bronze's ends, and
    is left out. Raises TableMissing where there is no bronze.
    """
    steps = Steps()
    with bounded(growth(settings.silver.engine_memory)):
        proof = steps.run(
            f"bronze.{product}",
            lambda: _proof(
                product, settings, broker, now, say, content, steps, with_source=with_source
            ),
        )
    if isinstance(proof, TableMissing):
        raise proof
    return proof or Proof(
        product, now, settings.product(product).topic, "", -1, None, Account.unknown(),
        Flags.unknown(), (), tuple(steps.doubts),
    )  # fmt: skip


def _proof(
    product: str,
    settings: Settings,
    broker: Broker,
    now: datetime,
    say: Say,
    content: Content,
    steps: Steps,
    *,
    with_source: bool,
) -> Proof | TableMissing:
    with engine(settings) as connection, ExitStack() as later:
        snapshots = Snapshots(settings.lake.root, connection)
        steps.unreadable = snapshots.unreadable
        name = f"bronze.{product}"
        if not snapshots.exists(name):
            return TableMissing(
                f"table {name}", "does not exist yet", f"run {product}.bronze, or give --root"
            )
        bronze = snapshots.pin("bronze", name)
        quarantine = _pinned(snapshots, "all_quarantine", f"quarantine.{product}", steps)
        erased_view(connection, _pinned(snapshots, "ledger", f"erased.{product}", steps))
        say(f"{name} at version {bronze.version}: comparing addresses with Kafka's offsets")
        ends, topic, questions = _ends(snapshots, bronze, settings, product, broker, steps)
        quarantine_view(connection, quarantine, ends)
        is_whole = not steps.doubts
        scene = Scene(
            snapshots, product, settings, bronze, quarantine, ends, topic, broker,
            recomputes_of(product), content, say,
        )  # fmt: skip
        ahead = steps.run(CONTENT, partial(told_ahead, scene, later))
        scene = replace(scene, ahead=ahead)
        found, more = (
            _account(snapshots, ends, topic, broker, steps)
            if is_whole  # what a table that cannot be read holds would count as missing
            else (Account.unknown(), [])
        )
        say("checking what is late and what was sent twice")
        horizon = settings.product(product).deduplication_horizon // timedelta(microseconds=1)
        rules = ends.rules_of_all(horizon)
        marks = steps.run("marks of bronze", lambda: flags(connection, rules))
        tables = _tables(scene)
        asked = checks_of(product, with_source=with_source)
        checks = [steps.run(name, partial(check, scene)) for name, check in asked]
    answers = tuple(check for check in checks if check)
    return Proof(
        product, now, ends.topic, ends.topic_id, bronze.version,
        quarantine.version if quarantine else None, found, marks or Flags.unknown(),
        tuple(tables), (*questions, *more, *steps.doubts),
        answers, _read(content, answers, found), scene.recomputes.is_declared,
    )  # fmt: skip


def _read(content: Content, checks: Sequence[Check], account: Account) -> ContentRead | None:
    """How many records were compared by content; None where none was."""
    compared = [check.counts[COMPARED] for check in checks if COMPARED in check.counts]
    return ContentRead(content, compared[0], account.total("kept")) if compared else None


def _pinned(snapshots: Snapshots, view: str, name: str, steps: Steps) -> Pin | None:
    """The table as a view; None where it does not exist, or, with a doubt, cannot be opened."""
    if not snapshots.exists(name):
        return None
    return steps.run(name, lambda: snapshots.pin(view, name))


def _ends(
    snapshots: Snapshots,
    bronze: Pin,
    settings: Settings,
    product: str,
    broker: Broker,
    steps: Steps,
) -> tuple[Ends, Topic | None, list[str]]:
    """Bronze's ends and the topic that they are of; None and why where they cannot be compared."""
    name, questions = topic_of(settings, product), []
    topic: Topic | None = None
    try:
        topic = broker.topic()
        if topic is None:
            questions.append(f"the broker has no topic {name!r}")
    except ServiceUnavailable as error:
        questions.append(f"{error.place}: {error.fault}")
    id_ = topic.id if topic else ""
    known = len(steps.doubts)
    ends = steps.run(f"ends of {bronze.name}", lambda: snapshots.ends(bronze, name, id_))
    if ends is None and len(steps.doubts) > known:
        return Ends(name, id_), None, questions
    if ends is None:
        if count(snapshots.connection, "bronze"):
            questions.append("no commit of bronze says how far it holds the topic")
        return Ends(name, id_), topic, questions
    if ends.is_from_rows:
        questions.append(
            "no commit in bronze's log says how far it holds the topic, its rows alone do: "
            f"run {product}.bronze until it lands a batch"
        )
    if topic is not None and (ends.topic, ends.topic_id) != (topic.name, topic.id):
        questions.append(
            f"bronze holds topic {ends.topic!r} with id {ends.topic_id}, and the broker has "
            f"{topic.name!r} with id {topic.id}: the topic was recreated"
        )
        topic = None
    return ends, topic, questions


def _account(
    snapshots: Snapshots, ends: Ends, topic: Topic | None, broker: Broker, steps: Steps
) -> tuple[Account, list[str]]:
    """The account, and a question where Kafka expired records while they were read."""
    connection = snapshots.connection

    def alone() -> Account:
        return account(connection, ends, None, None)

    def compared() -> tuple[Account, list[str]]:
        if topic is None:
            return alone(), []
        try:
            found = account(connection, ends, topic, broker.judge)
            after = broker.topic()
        except ServiceUnavailable as error:
            return alone(), [f"{error.place}: {error.fault}"]
        moved = after is None or any(
            after.ranges.get(p.partition, (0, 0))[0] != p.beginning
            for p in found.partitions
            if p.markers
        )
        return found, ["records expired in Kafka while they were read: run it again"] * moved

    return steps.run("addresses", compared) or (Account.unknown(), [])


def _tables(scene: Scene) -> list[Compared]:
    """Every table that flows of the product keep, compared; or why it could not be."""
    tables = _silver(scene)
    tables.append(compare_ledger(scene.snapshots, scene.product, scene.bronze))
    for flow in flows():
        if flow.product == scene.product:
            tables += _sent(flow, scene)
    return tables


def _silver(scene: Scene) -> list[Compared]:
    """Every table that the product's silver flow declares, compared or said why not."""
    product, recomputes = scene.product, scene.recomputes
    known = {f"silver.{product}_{r.name}" for r in recomputes.tables}
    declared = {
        name
        for flow in flows()
        if isinstance(flow, SilverFlow) and flow.product == product
        for name in flow.tables
    }
    unknown = [
        Compared(name, doubt="the audit has no recompute for it")
        for name in sorted(declared - known)
    ]
    return [*compare_all(scene.snapshots, product, recomputes, scene.bronze, scene.say), *unknown]


def _sent(flow: Flow, scene: Scene) -> list[Compared]:
    """What a flow keeps outside of Delta, compared; nothing of other flows."""
    snapshots, settings, bronze = scene.snapshots, scene.settings, scene.bronze
    if isinstance(flow, ParquetFlow):
        return [compare_parquet(snapshots, flow, bronze)]
    if isinstance(flow, PostgresSink):
        scene.say(f"comparing {flow.name} with silver")
        return compare_postgres(snapshots, flow, settings, bronze)
    if isinstance(flow, KafkaSink):
        scene.say(f"comparing {flow.name} with bronze")
        return [compare_kafka(snapshots, flow, settings, bronze)]
    return []
