"""Windows and sessions against Kafka's own bytes: some are recomputed from the records themselves.

What a record says is told by the witness; that it landed, and whether it is late or a copy, is
bronze's word, which other checks hold against Kafka. A window, or a key of sessions, is drawn
only where Kafka still has all of its records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lakehouse.audit.check import Check, Scene
from lakehouse.audit.compare import differences, moment, terms
from lakehouse.audit.extent import Content
from lakehouse.audit.pins import count
from lakehouse.audit.told import Decoded
from lakehouse.audit.topic import SAMPLE, Gap, Records
from lakehouse.core.sql import identifier, listed, text
from lakehouse.ingest.topic import Topic
from lakehouse.model.flow import SilverFlow
from lakehouse.model.recompute import Recompute
from lakehouse.model.window import END, START
from lakehouse.model.witness import Kind
from lakehouse.products.registry import flows
from lakehouse.storage.duck import lent

NAME = "windows and sessions from Kafka's bytes"
WINDOWS, USERS = "windows recomputed from Kafka", "keys of sessions recomputed from Kafka"
_DRAWN = 30
"""So many are drawn of each table."""
_DRAW = """
CREATE OR REPLACE TEMP TABLE drawn AS
SELECT {keys} FROM (
    SELECT c.*, count(*) AS size, bool_and({there}) AS is_there
    FROM (FROM (SELECT DISTINCT {keys} FROM held) USING SAMPLE reservoir({most} ROWS)) AS c
    JOIN bronze_then AS b ON {match} GROUP BY ALL
)
WHERE is_there
QUALIFY sum(size) OVER (ORDER BY size, {keys} ROWS UNBOUNDED PRECEDING) <= {records}
"""
_NEEDED = """
CREATE OR REPLACE TEMP TABLE needed AS
SELECT b.* FROM bronze_then AS b SEMI JOIN drawn AS c ON {match}
"""
_HEARD_WHOLE = """
CREATE OR REPLACE TEMP TABLE drawn AS
SELECT c.* FROM drawn AS c
ANTI JOIN (FROM needed ANTI JOIN said USING ("partition", "offset")) AS b ON {match}
"""


@dataclass(frozen=True)
class _Kind:
    """A table of windows or sessions: what is drawn of it, and which of bronze's rows make it."""

    what: str
    table: str
    recompute: Recompute
    keys: tuple[str, ...]
    match: str
    """SQL over a row ``b`` of bronze and what is drawn, ``c``."""
    records: int
    """Most records that are read: a window's are neighbours, a key's are far apart."""


def recomputed_from_kafka(scene: Scene) -> Check:
    """Some windows and sessions, recomputed from Kafka's records; none where they are not read."""
    records = scene.broker.records
    if scene.topic is None or records is None or scene.content is Content.NONE:
        return Check(NAME)
    faults: list[str] = []
    counts: dict[str, int] = {}
    first: list[dict[str, object]] = []
    for kind in _kinds(scene):
        scene.say(f"recomputing some of {kind.table} from Kafka's records")
        drawn = _draw(scene, scene.topic, kind)
        if not drawn:
            continue
        sampled = _hear(scene, records, kind)
        counts[kind.what] = counts.get(kind.what, 0) + sampled
        differing, found = _compare(scene, kind)
        first += found
        if differing:
            faults.append(f"{kind.table}: {differing:,} rows are not what Kafka's records give")
    return Check(NAME, tuple(faults), counts=counts, first=tuple(first[:SAMPLE]))


def _kinds(scene: Scene) -> Iterator[_Kind]:
    known = {recompute.name: recompute for recompute in scene.recomputes.tables}
    for flow in flows():
        if not isinstance(flow, SilverFlow) or flow.product != scene.product:
            continue
        for aggregate in flow.aggregates:
            if aggregate.window and aggregate.name in known:
                time = f"b.{identifier(aggregate.window.time)}"
                match = f"{time} >= c.{START} AND {time} < c.{END}"
                yield _Kind(
                    WINDOWS, flow.table(aggregate.name), known[aggregate.name], (START, END),
                    match, 5_000,
                )  # fmt: skip
        for session in flow.sessions:
            if session.name in known:
                key = identifier(session.key)
                yield _Kind(
                    USERS, flow.table(session.name), known[session.name], (session.key,),
                    f"b.{key} = c.{key}", 500,
                )  # fmt: skip


def _draw(scene: Scene, topic: Topic, kind: _Kind) -> int:
    """Make ``drawn``, with ``held``, ``bronze_then`` and ``moment`` of the table; how many."""
    snapshots = scene.snapshots
    if not snapshots.exists(kind.table):
        return 0
    held = snapshots.pin("held", kind.table)
    source = snapshots.note(kind.table, "source", held.version)
    if source is None or source["id"] != scene.bronze.id or int(source["version"]) < 0:
        return 0
    version = int(source["version"])
    snapshots.pin("bronze_then", scene.bronze.name, version)
    terms(snapshots, kind.table, held.version, kind.recompute.name)
    moment(snapshots, scene.bronze, version)
    kept = " OR ".join(
        f'(b."partition" = {number} AND b."offset" >= {first})'
        for number, (first, _) in topic.ranges.items()
    )
    there = f"b.topic = {text(topic.name)} AND {scene.ends.are_of_now('b.')} AND ({kept})"
    snapshots.connection.execute(
        _DRAW.format(
            keys=listed(kind.keys), there=there if kept else "false", match=kind.match,
            most=_DRAWN, records=kind.records,
        )
    )  # fmt: skip
    return count(snapshots.connection, "drawn")


def _hear(scene: Scene, records: Records, kind: _Kind) -> int:
    """Make ``heard``: bronze's rows of what is drawn, as Kafka's records say them; how many drawn.

    What Kafka does not give any more is drawn no longer.
    """
    connection, witness = scene.snapshots.connection, scene.recomputes.witness
    connection.execute(_NEEDED.format(match=kind.match))
    places = connection.execute(
        'SELECT DISTINCT "partition", "offset" FROM needed ORDER BY ALL'
    ).fetchall()
    types = {row[0]: row[1] for row in connection.execute("DESCRIBE needed").fetchall()}
    told = ", ".join(
        f"CAST(said.{identifier(name)} AS {types[name]}) AS {identifier(name)}"
        for name, field in witness.fields.items()
        if field is not Kind.JSON
    )
    with lent(connection, said=Decoded(witness).whole(records(_gaps(places)))):
        connection.execute(_HEARD_WHOLE.format(match=kind.match))
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE heard AS SELECT needed.* REPLACE ({told}) "
            'FROM needed JOIN said USING ("partition", "offset") WHERE said.broken IS NULL'
        )
    return count(connection, "drawn")


def _gaps(places: list[tuple[int, int]]) -> Iterator[Gap]:
    """Addresses, in their order, as ranges of neighbours."""
    begun: Gap | None = None
    for partition, offset in places:
        if begun and (begun.partition, begun.next) == (partition, offset):
            begun = Gap(partition, begun.first, offset + 1)
            continue
        if begun:
            yield begun
        begun = Gap(partition, offset, offset + 1)
    if begun:
        yield begun


def _compare(scene: Scene, kind: _Kind) -> tuple[int, tuple[dict[str, object], ...]]:
    """How many rows of what is drawn are not what the recompute gives over ``heard``."""
    snapshots, keys = scene.snapshots, listed(kind.keys)
    connection = snapshots.connection
    for name in ("held", "moment"):
        drawn = f" SEMI JOIN drawn USING ({keys})" if name == "held" else ""
        connection.execute(f"CREATE OR REPLACE TEMP TABLE kept_{name} AS FROM {name}{drawn}")
        snapshots.view_files(name, f"FROM kept_{name}", ())
    snapshots.view_files("bronze_then", "FROM heard", ())
    snapshots.view_files("counted", scene.recomputes.counted, ())
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE wanted AS FROM ({kind.recompute.sql}) "
        f"SEMI JOIN drawn USING ({keys})"
    )
    columns = [row[0] for row in connection.execute("DESCRIBE wanted").fetchall()]
    found = differences(connection, columns, kind.recompute.keys)
    connection.execute("DROP TABLE wanted")
    return found
