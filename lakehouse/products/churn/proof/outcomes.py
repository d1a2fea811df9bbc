"""Each record of a customer has exactly one outcome: a prediction, or a dead letter.

What lies below the offset that the scorer's group has committed has an outcome; the rest waits for
it. A record that broke the contract has a dead letter; once it was replayed from quarantine it may
be scored too. A dead letter that its topic's retention removed is not missed.

All of it may be asked while customers come: how far the group has read is asked first, then the
dead letters, then where the topic of predictions ends, and then what bronze has of it. Where bronze
is behind that end, nobody can tell yet whether an outcome is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from confluent_kafka import Consumer, KafkaException, TopicPartition

from lakehouse.audit.check import Check, Scene
from lakehouse.audit.run import broker_of
from lakehouse.core.errors import LakehouseError
from lakehouse.core.text import whole_number
from lakehouse.ingest.ends import Ends
from lakehouse.products.churn.contract import PREDICTIONS
from lakehouse.products.churn.model.span import GROUP
from lakehouse.products.churn.settings import churn_of, predictions_of
from lakehouse.settings.kafka_client import reader_options, unreachable
from lakehouse.settings.settings import Settings
from lakehouse.sinks.kafka_records import expired, messages
from lakehouse.storage.duck import query

TOPIC, PARTITION, OFFSET = (f"__connect.errors.{n}" for n in ("topic", "partition", "offset"))
"""Headers of a dead letter: the address of the record that cannot be scored."""
_LETTERS = pa.schema([("topic", pa.string()), ("part", pa.int64()), ("place", pa.int64())])
_NEVER = 2**62
_NEXT = pa.schema([("part", pa.int64()), ("next", pa.int64())])
_TABLES = (
    """
    CREATE OR REPLACE TEMP TABLE raw AS
    SELECT "partition" AS part, "offset" AS place, event_id, false AS is_expired FROM bronze
    WHERE topic = $topic AND {good_now}
    UNION ALL
    SELECT "partition", "offset", NULL, epoch_ms(kafka_time) < {since} FROM quarantine
    WHERE topic = $topic AND {bad_now}
    """,
    """
    CREATE OR REPLACE TEMP TABLE said AS
    SELECT input_partition AS part, input_offset AS place, input_event_id AS event_id,
        model_version, is_duplicate
    FROM predicted WHERE input_topic = $topic
    """,
    "CREATE OR REPLACE TEMP TABLE dead AS SELECT part, place FROM letters WHERE topic = $topic",
    """
    CREATE OR REPLACE TEMP TABLE mended AS
    SELECT "partition" AS part, "offset" AS place FROM {every} AS t
    SEMI JOIN bronze USING (topic, "partition", "offset") WHERE t.topic = $topic
    """,
    """
    CREATE OR REPLACE TEMP TABLE gone AS
    SELECT "partition" AS part, "offset" AS place FROM erased WHERE topic = $topic
    """,
)
_FOUND = {
    "have no outcome": """
        FROM raw JOIN scored USING (part) ANTI JOIN dead USING (part, place)
        ANTI JOIN said ON raw.part = said.part AND raw.place = said.place
            AND raw.event_id = said.event_id
        WHERE place < next AND NOT is_expired""",
    "are predicted twice by one model": """
        FROM (SELECT part, place FROM said WHERE NOT is_duplicate
            GROUP BY part, place, event_id, model_version HAVING count(*) > 1)""",
    "have two dead letters": """
        FROM (SELECT part, place FROM dead GROUP BY ALL HAVING count(*) > 1)""",
    "have a prediction and a dead letter": """
        FROM said SEMI JOIN dead USING (part, place) ANTI JOIN mended USING (part, place)""",
    "have a prediction, and are no customer's": """
        FROM said JOIN landed USING (part)
        ANTI JOIN (FROM raw WHERE event_id IS NOT NULL) AS kept USING (part, place, event_id)
        ANTI JOIN gone USING (part, place) WHERE place < next""",
    "have a dead letter, and keep the contract": """
        FROM dead SEMI JOIN (FROM raw WHERE event_id IS NOT NULL) AS kept USING (part, place)
        ANTI JOIN mended USING (part, place)""",
}
_COUNTS = {
    "predicted": "SELECT count(DISTINCT (part, place)) FROM said",
    "by several models": "SELECT count(*) FROM (SELECT part, place FROM said GROUP BY ALL "
    "HAVING count(DISTINCT model_version) > 1)",
    "dead letters": "SELECT count(*) FROM dead",
    "not yet scored": "SELECT count(*) FROM raw LEFT JOIN scored USING (part) "
    "WHERE next IS NULL OR place >= next",
}


@dataclass(frozen=True)
class Told:
    """What Kafka says of outcomes, asked in this order."""

    read: Mapping[int, int]
    """Partition → the offset that the scorer's group has committed."""
    letters: Sequence[Mapping[str, Any]]
    ends: Mapping[int, int]
    """Where the topic of predictions ends."""
    since: int = 0
    """Dead letters of records before this Kafka time, in ms, may have expired."""
    topic_id: str = ""
    """Of the topic of predictions; empty where there is none."""

    def is_beyond(self, landed: Ends | None) -> bool:
        """Whether the topic of predictions has what bronze has not landed.

        Of one that was made anew that is all that it has.
        """
        is_same = landed is not None and self.topic_id in {"", landed.topic_id}
        known = landed.next if landed and is_same else {}
        return any(known.get(number, 0) < end for number, end in self.ends.items())


def one_outcome(scene: Scene) -> Check:
    """Every record of bronze and quarantine; a doubt where Kafka does not answer."""
    if not scene.snapshots.exists("bronze.churn_predictions"):
        return Check("outcomes")
    try:
        told = asked(scene)
    except LakehouseError as error:
        return Check("outcomes", doubts=(f"outcomes cannot be asked: {error.fault}",))
    pin = scene.snapshots.pin("predicted", "bronze.churn_predictions")
    topic = predictions_of(scene.settings).topic
    landed = scene.snapshots.ends(pin, topic, "")
    is_behind = told.is_beyond(landed)
    duck = scene.snapshots.connection
    duck.register("letters", pa.Table.from_pylist([*told.letters], _LETTERS))
    duck.register("landed", _table(scene.ends.next))
    duck.register("scored", _table({} if is_behind else told.read))
    _prepare(scene, told.since)
    faults: list[str] = []
    first: list[dict[str, Any]] = []
    for what, of in _FOUND.items():
        sql = f'SELECT DISTINCT part AS "partition", place AS "offset" {of} ORDER BY ALL'
        if (rows := query(duck, sql)).num_rows:
            faults.append(f"{rows.num_rows:,} records {what}")
            first += [{"records that": what, **row} for row in rows.slice(0, 5).to_pylist()]
    counts = {what: int(duck.execute(sql).fetchall()[0][0]) for what, sql in _COUNTS.items()}
    if is_behind:
        counts["of which the outcome may not have landed yet"] = counts.pop("not yet scored")
    return Check("outcomes", tuple(faults), counts=counts, first=tuple(first))


def asked(scene: Scene) -> Told:
    """Kafka's side; ServiceUnavailable or ServiceAway where it does not answer."""
    settings, topic = scene.settings, scene.topic
    broker = broker_of(settings, PREDICTIONS.name)
    read = committed(settings, topic.id, topic.ranges) if topic else {}
    gone = expired(settings.kafka, churn_of(settings).deadletter_topic)
    letters = [*dead_letters(settings)]
    since = min((one["time"] for one in letters), default=_NEVER) if gone else 0
    predictions = broker.topic()
    ranges = predictions.ranges if predictions else {}
    ends = {n: end for n, (_, end) in ranges.items()}
    return Told(read, letters, ends, since, predictions.id if predictions else "")


def committed(settings: Settings, topic_id: str, partitions: Iterable[int]) -> dict[int, int]:
    """How far the scorer's group has read the topic of this id; partitions that it has not, not."""
    options = {**reader_options(settings.kafka), "group.id": GROUP, "log_level": 0}
    wait = settings.kafka.request_timeout.total_seconds()
    places = [TopicPartition(churn_of(settings).topic, n) for n in partitions]
    with closing(Consumer(options)) as consumer:
        try:
            found = consumer.committed(places, timeout=wait)
        except KafkaException as error:
            raise unreachable(settings.kafka, error.args[0].str()) from None
    return {p.partition: p.offset for p in found if p.offset >= 0 and p.metadata == topic_id}


def _table(ends: Mapping[int, int]) -> pa.Table:
    rows = [{"part": part, "next": end} for part, end in ends.items()]
    return pa.Table.from_pylist(rows, _NEXT)


def _prepare(scene: Scene, since: int) -> None:
    """The tables that the questions read, of the topic that bronze holds."""
    parts = {
        "good_now": scene.ends.are_of_now(),
        "bad_now": scene.ends.are_of_now(by_id=True),
        "since": str(since),
        "every": "all_quarantine" if scene.quarantine else "quarantine",
    }
    for statement in _TABLES:
        sql = statement.format(**parts)
        given = {"topic": scene.ends.topic} if "$topic" in sql else None
        scene.snapshots.connection.execute(sql, given)


def dead_letters(settings: Settings) -> Iterator[dict[str, Any]]:
    """Topic, part and place of the record that each dead letter is of, and the letter's time."""
    for batch in messages(settings.kafka, churn_of(settings).deadletter_topic):
        for one in batch:
            headers = {name: _text(value) for name, value in one.headers() or ()}
            yield {
                "topic": headers.get(TOPIC, ""),
                "part": whole_number(headers.get(PARTITION, "")),
                "place": whole_number(headers.get(OFFSET, "")),
                "time": one.timestamp()[1],
            }


def _text(value: bytes | str | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""
