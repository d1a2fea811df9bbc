"""An enriched topic against bronze: each row that counts once, and as bronze has it.

What the declared columns add is not compared: it says what was known when it was sent. Nor
is ``processing_time`` where it is earlier than bronze's: a row that landed again, after bronze
was restored, had been sent before, and a topic takes nothing back. So what was erased from bronze
since is left out. So are records of versions that bronze has and the topic's marker does not:
they are being sent.
"""

from __future__ import annotations

from dataclasses import replace

from lakehouse.audit.compare import Compared, differences, or_doubt
from lakehouse.audit.pins import Pin, Snapshots, count
from lakehouse.core.errors import ServiceUnavailable
from lakehouse.model.sink import KafkaSink
from lakehouse.settings.settings import Settings
from lakehouse.sinks.kafka_records import (
    ADDRESS,
    event_of,
    expired,
    gone_until,
    held,
    last_marker,
    topic_of,
)
from lakehouse.storage.log_health import Log

_HELD = """
CREATE OR REPLACE TEMP TABLE sent (
    "from" VARCHAR, version BIGINT, part INTEGER, topic VARCHAR, "partition" INTEGER,
    "offset" BIGINT, processing_time TIMESTAMPTZ, value VARCHAR
)
"""
_MORE = """
INSERT INTO sent
SELECT split_part(header, '/', 1), TRY_CAST(split_part(header, '/', 2) AS BIGINT), "partition",
    value ->> 'topic', TRY_CAST(value ->> 'partition' AS INTEGER),
    TRY_CAST(value ->> 'offset' AS BIGINT), TRY_CAST(value ->> 'processing_time' AS TIMESTAMPTZ),
    value
FROM (SELECT header, "partition", CASE WHEN json_valid(value) THEN value ELSE '{}' END AS value
    FROM records)
"""
_AS_SENT = """
SELECT bronze_then.* REPLACE (least(ingest_time, first.processing_time) AS ingest_time)
FROM bronze_then LEFT JOIN (
    SELECT topic, "partition", "offset", min(processing_time) AS processing_time
    FROM sent GROUP BY ALL
) AS first USING (topic, "partition", "offset")
"""

_ERASED = """(
    SELECT DISTINCT topic, "partition", "offset" FROM erased WHERE starts_with("table", 'bronze.')
)"""


def compare_kafka(
    snapshots: Snapshots, sink: KafkaSink, settings: Settings, bronze: Pin
) -> Compared:
    """Every record of the topic; a doubt where the broker does not answer.

    The view ``erased`` is there.
    """
    name = f"kafka.{topic_of(sink, settings)}"
    return or_doubt(snapshots, name, lambda: _compare(snapshots, sink, settings, bronze, name))


def _compare(
    snapshots: Snapshots, sink: KafkaSink, settings: Settings, bronze: Pin, name: str
) -> Compared:
    kafka, topic, duck = settings.kafka, topic_of(sink, settings), snapshots.connection
    if not kafka.bootstrap_servers:
        raise ServiceUnavailable(
            "Kafka", "is not named, and no data of this lake's embedded one is here",
            "name the broker by [kafka] bootstrap_servers",
        )  # fmt: skip
    last = last_marker(kafka, topic, sink.name)  # first: what is sent since is above it
    if last is None:
        return Compared(name, doubt="no marker says which version of bronze it has (yet)")
    applied = last.applied
    found = Compared(name, source=applied.version)
    if applied.bronze != bronze.id:
        return replace(found, doubt=f"was filled from another lake, of bronze {applied.bronze}")
    duck.execute(_HELD)
    for records in held(kafka, topic):
        duck.register("records", records)
        duck.execute(_MORE)
        duck.unregister("records")
    newest = Log.of(snapshots.lake.table(bronze.name)).newest  # last: nobody has sent more of it
    gone = expired(kafka, topic)
    since = gone_until(gone, applied)  # up to then not all are there
    snapshots.pin("bronze_then", bronze.name, applied.version)
    wanted = f"FROM ({_AS_SENT}) WHERE NOT is_duplicate AND ({sink.where})"
    duck.execute(
        'CREATE OR REPLACE TEMP TABLE wanted AS SELECT topic, "partition", "offset", '
        + f"{event_of(sink)} AS event FROM ({wanted}"
        + (f" AND ingest_time > {since})" if gone else ")")
    )
    duck.execute(
        'CREATE OR REPLACE TEMP VIEW held AS SELECT topic, "partition", "offset", '
        "CASE WHEN starts_with(value, event) THEN event ELSE value END AS event "
        'FROM sent LEFT JOIN wanted USING (topic, "partition", "offset") '
        f'LEFT JOIN {_ERASED} AS gone USING (topic, "partition", "offset") '
        f"WHERE coalesce(version, 0) NOT BETWEEN {applied.version + 1} AND {newest} "
        "AND (gone.topic IS NULL OR coalesce(starts_with(value, event), false))"
        + (f" AND processing_time > {since}" if gone else "")
    )
    version = max(applied.version, 0)
    report = replace(
        found,
        behind=max(0, bronze.version - version),
        rows=count(duck, "held"),
        recomputed=count(duck, "wanted"),
        lacking=snapshots.changed_rows(bronze.name, version, max(version, bronze.version)),
    )
    differing, first = differences(duck, [*ADDRESS, "event"], ADDRESS)
    duck.execute("DROP VIEW held; DROP TABLE wanted")
    return replace(report, differing=differing, first=first)
