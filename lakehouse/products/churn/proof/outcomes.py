"""Each record of a customer has exactly one outcome: a prediction, or a dead letter.

A partition is scored in the order of its offsets, so what lies above its last outcome waits for the
scorer, and what lies below has an outcome. A record that broke the contract has a dead letter; once
it was replayed from quarantine it may be scored too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from lakehouse.audit.check import Check, Scene
from lakehouse.core.errors import LakehouseError
from lakehouse.core.text import whole_number
from lakehouse.products.churn.settings import churn_of
from lakehouse.settings.settings import Settings
from lakehouse.sinks.kafka_records import messages
from lakehouse.storage.duck import query

TOPIC, PARTITION, OFFSET = (f"__connect.errors.{n}" for n in ("topic", "partition", "offset"))
"""Headers of a dead letter: the address of the record that cannot be scored."""
_LETTERS = pa.schema([("topic", pa.string()), ("part", pa.int64()), ("place", pa.int64())])
_LANDED = pa.schema([("part", pa.int64()), ("next", pa.int64())])
_TABLES = (
    """
    CREATE OR REPLACE TEMP TABLE raw AS
    SELECT "partition" AS part, "offset" AS place, event_id FROM bronze
    WHERE topic = $topic AND {good_now}
    UNION ALL SELECT "partition", "offset", NULL FROM quarantine WHERE topic = $topic AND {bad_now}
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
    """
    CREATE OR REPLACE TEMP TABLE reached AS SELECT part, max(place) AS upto FROM (
        SELECT part, place FROM said UNION ALL FROM dead) GROUP BY part
    """,
)
_FOUND = {
    "have no outcome": """
        FROM raw JOIN reached USING (part) ANTI JOIN dead USING (part, place)
        ANTI JOIN said ON raw.part = said.part AND raw.place = said.place
            AND raw.event_id = said.event_id
        WHERE place <= upto""",
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
    "not yet scored": "SELECT count(*) FROM raw LEFT JOIN reached USING (part) "
    "WHERE upto IS NULL OR place > upto",
}


def one_outcome(scene: Scene) -> Check:
    """Every record of bronze and quarantine; a doubt where Kafka does not give the dead letters."""
    if not scene.snapshots.exists("bronze.churn_predictions"):
        return Check("outcomes")
    scene.snapshots.pin("predicted", "bronze.churn_predictions")
    try:
        letters = pa.Table.from_pylist([*dead_letters(scene.settings)], _LETTERS)
    except LakehouseError as error:
        return Check("outcomes", doubts=(f"dead letters cannot be read: {error.fault}",))
    duck = scene.snapshots.connection
    ends = [{"part": part, "next": end} for part, end in scene.ends.next.items()]
    duck.register("letters", letters)
    duck.register("landed", pa.Table.from_pylist(ends, _LANDED))
    _prepare(scene)
    faults: list[str] = []
    first: list[dict[str, Any]] = []
    for what, of in _FOUND.items():
        sql = f'SELECT DISTINCT part AS "partition", place AS "offset" {of} ORDER BY ALL'
        if (rows := query(duck, sql)).num_rows:
            faults.append(f"{rows.num_rows:,} records {what}")
            first += [{"records that": what, **row} for row in rows.slice(0, 5).to_pylist()]
    counts = {what: int(duck.execute(sql).fetchall()[0][0]) for what, sql in _COUNTS.items()}
    return Check("outcomes", tuple(faults), counts=counts, first=tuple(first))


def _prepare(scene: Scene) -> None:
    """The tables that the questions read, of the topic that bronze holds."""
    parts = {
        "good_now": scene.ends.are_of_now(),
        "bad_now": scene.ends.are_of_now(by_id=True),
        "every": "all_quarantine" if scene.quarantine else "quarantine",
    }
    for statement in _TABLES:
        sql = statement.format(**parts)
        given = {"topic": scene.ends.topic} if "$topic" in sql else None
        scene.snapshots.connection.execute(sql, given)


def dead_letters(settings: Settings) -> Iterator[dict[str, Any]]:
    """Topic, part and place of the record that each dead letter is of."""
    for batch in messages(settings.kafka, churn_of(settings).deadletter_topic):
        for one in batch:
            headers = {name: _text(value) for name, value in one.headers() or ()}
            yield {
                "topic": headers.get(TOPIC, ""),
                "part": whole_number(headers.get(PARTITION, "")),
                "place": whole_number(headers.get(OFFSET, "")),
            }


def _text(value: bytes | str | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""
