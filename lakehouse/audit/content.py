"""Bronze and quarantine against Kafka's own bytes, record by record.

The tables' rows become one number each, a hash of every column that a record says;
so do the records as the witness tells them, a range of offsets at a time. What
differs is read again and named. Memory holds the numbers of the tables' rows (they
go to disk where they do not fit) and the records of one poll; many records are told by
processes beside it (:mod:`lakehouse.audit.tellers`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from lakehouse.audit.check import Check, Scene
from lakehouse.audit.extent import Content
from lakehouse.audit.left_out import all_quarantine
from lakehouse.audit.pins import count
from lakehouse.audit.sample import INSIDE, register, sample, slices
from lakehouse.audit.tellers import MANY, Ahead, Tellers
from lakehouse.audit.told import RAW_COLUMNS, Told, bronze_columns, deep
from lakehouse.audit.topic import SAMPLE, Gap, Records
from lakehouse.core.progress import Counted
from lakehouse.core.sql import text
from lakehouse.ingest.topic import Topic
from lakehouse.model.witness import Witness

NAME = "content against Kafka"
COMPARED = "records whose content was compared"
_QUARANTINED = """
CREATE OR REPLACE TEMP VIEW quarantined AS
SELECT key, value, headers, left_out_bytes, left_out_sha256, "partition", "offset", kafka_time
FROM ({rows}) WHERE topic = {topic} AND {now}
"""
_NONE = """
SELECT CAST(NULL AS BLOB) AS key, CAST(NULL AS BLOB) AS value, '' AS topic, 0 AS "partition",
    CAST(NULL AS STRUCT("key" VARCHAR, "value" BLOB)[]) AS headers, 0 AS "offset",
    CAST(NULL AS TIMESTAMPTZ) AS kafka_time, 0 AS batch_id, '' AS topic_id,
    CAST(NULL AS BIGINT) AS left_out_bytes, '' AS left_out_sha256 WHERE false
"""
_HELD = """
CREATE OR REPLACE TEMP TABLE numbers AS
SELECT "partition", "offset", hash({bronze}) AS says, true AS in_bronze
FROM bronze {inside_bronze} WHERE topic = $topic AND {now}
UNION ALL
SELECT "partition", "offset", hash({quarantine}), false FROM quarantined {inside_quarantined}
"""
_DIFFERING = """
CREATE OR REPLACE TEMP TABLE differing AS
SELECT "partition", "offset", in_bronze, told.place IS NULL AS gone, said IS NULL AS broken
FROM (SELECT * FROM numbers {inside}) AS ours
LEFT JOIN (SELECT *, "offset" AS place FROM told) AS told USING ("partition", "offset")
WHERE place IS NULL OR says IS DISTINCT FROM
    CASE WHEN in_bronze THEN said WHEN says = bare THEN bare ELSE raw END
"""
_LAST = 'SELECT "partition", max("offset") + 1 FROM quarantined GROUP BY 1'
VALUES = "rows of bronze are not what Kafka's records say"
BROKEN = "rows of bronze come from records that say no such event in plain JSON"
BYTES = "rows of quarantine are not Kafka's bytes"
GONE = "rows are at offsets where Kafka has no committed record"
_Ranges = dict[int, tuple[int, int]]


@dataclass
class _Found:
    compared: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    first: list[dict[str, Any]] = field(default_factory=list)

    def add(self, what: str, where: str, scene: Scene) -> None:
        rows = count(scene.snapshots.connection, f"differing WHERE {where}")
        if rows:
            self.counts[what] = self.counts.get(what, 0) + rows


def compare_content(scene: Scene) -> Check:
    """The content of none, of a sample or of all of the records that both sides have.

    Records that Kafka has no more are left out. A row at an offset without a committed
    record is a fault; in a topic that is compacted nobody can tell.
    """
    records = scene.broker.records
    if scene.topic is None or records is None or scene.content is Content.NONE:
        return Check(NAME)
    scene.say(f"comparing content with Kafka's own bytes: {scene.content.value}")
    with deep():
        found = _compared(scene, scene.topic, scene.recomputes.witness, records)
    doubts = []
    if GONE in found.counts and scene.broker.is_compacted():
        doubts.append(f"content: {found.counts.pop(GONE):,} {GONE}, and it compacts the topic")
    faults = [f"content: {number:,} {what}" for what, number in found.counts.items()]
    return Check(
        NAME, tuple(faults), tuple(doubts), {COMPARED: found.compared}, tuple(found.first[:SAMPLE])
    )


def told_ahead(scene: Scene, later: ExitStack) -> Ahead | None:
    """What records say, told from now on beside the other steps; None where there are few.

    Offsets up to bronze's ends: they are known before a table is read.
    """
    records, topic = scene.broker.records, scene.topic
    if topic is None or records is None or scene.content is not Content.ALL:
        return None
    ranges = _ranges(topic, scene.ends.next)
    if sum(after - first for first, after in ranges.values()) < MANY:
        return None
    tellers = later.enter_context(Tellers(scene.settings, scene.recomputes.witness, records))
    return tellers.ahead(slices(ranges)) if tellers else None


def _compared(scene: Scene, topic: Topic, witness: Witness, records: Records) -> _Found:
    connection, found, all_ = scene.snapshots.connection, _Found(), scene.content is Content.ALL
    told = Told(connection, witness)
    _view(scene)
    held, landed = dict(connection.execute(_LAST).fetchall()), scene.ends.next
    ranges = _ranges(topic, {p: max(landed.get(p, 0), held.get(p, 0)) for p in topic.ranges})
    drawn = None if all_ else sample(connection, ranges)
    of = sum(after - first for first, after in ranges.values()) if all_ else 0
    done = Counted("comparing content", of, "offsets")
    _hold(scene, witness, drawn)
    for gaps, hashes in _all(scene, ranges) if drawn is None else [(drawn, None)]:
        if hashes is None:
            told.take(records(gaps))
        else:
            told.put(hashes)
        register(connection, gaps)
        _compare(scene, found)
        if room := max(0, SAMPLE - len(found.first)):
            found.first += told.explain(records, room)
        if all_:
            done.add(sum(map(len, gaps)))
    return found


def _all(scene: Scene, ranges: _Ranges) -> Iterator[tuple[list[Gap], pa.Table | None]]:
    """Every offset, a part at a time, with what its records say where that is told ahead."""
    if scene.ahead:
        yield from scene.ahead
        landed = scene.ends.next  # beyond it quarantine may have rows, where a batch was cut
        ranges = {p: (max(first, landed.get(p, 0)), upto) for p, (first, upto) in ranges.items()}
    yield from ((gaps, None) for gaps in slices(ranges))


def _compare(scene: Scene, found: _Found) -> None:
    connection = scene.snapshots.connection
    connection.execute(_DIFFERING.format(inside=INSIDE.format(table="numbers")))
    if count(connection, "differing WHERE gone"):
        _forget_expired(scene)
    both = 'told SEMI JOIN numbers USING ("partition", "offset")'
    landed = f"{both} WHERE NOT {scene.ends.are_above()}"  # what a crash left is not among them
    found.compared += count(connection, landed)
    found.add(VALUES, "in_bronze AND NOT gone AND NOT broken", scene)
    found.add(BROKEN, "in_bronze AND NOT gone AND broken", scene)
    found.add(BYTES, "NOT in_bronze AND NOT gone", scene)
    found.add(GONE, "gone", scene)


def _view(scene: Scene) -> None:
    """The view ``quarantined``: every row of the topic as it is now, replayed ones too."""
    pin = scene.quarantine
    scene.snapshots.connection.execute(
        _QUARANTINED.format(
            rows=_NONE if pin is None else all_quarantine(pin),
            topic=text(scene.ends.topic),
            now=scene.ends.are_of_now(by_id=True),
        )
    )


def _ranges(topic: Topic, upto: Mapping[int, int]) -> _Ranges:
    """Of each partition the offsets that Kafka has, up to some of each."""
    ends = {p: (first, min(after, upto.get(p, 0))) for p, (first, after) in topic.ranges.items()}
    return {p: (first, after) for p, (first, after) in ends.items() if after > first}


def _hold(scene: Scene, witness: Witness, gaps: list[Gap] | None) -> None:
    """The table ``numbers``: the rows of both tables as numbers, all or those in the ranges."""
    connection = scene.snapshots.connection
    if gaps is not None:
        register(connection, gaps)
    inside = {
        f"inside_{table}": "" if gaps is None else INSIDE.format(table=table)
        for table in ("bronze", "quarantined")
    }
    sql = _HELD.format(
        bronze=", ".join(bronze_columns(witness).values()),
        quarantine=", ".join(RAW_COLUMNS.values()),
        now=scene.ends.are_of_now(),
        **inside,
    )
    connection.execute(sql, {"topic": scene.ends.topic})


def _forget_expired(scene: Scene) -> None:
    """Rows whose records expired while they were read are no difference."""
    after = scene.broker.topic()
    for partition, (beginning, _) in (after.ranges if after else {}).items():
        scene.snapshots.connection.execute(
            'DELETE FROM differing WHERE gone AND "partition" = $partition AND "offset" < $first',
            {"partition": partition, "first": beginning},
        )
