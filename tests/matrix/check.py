"""Kafka's records against the tables, without a line of the code that landed them.

The topic is read by a consumer of its own; which records are good is told by what
their sender wrote into the headers; sums are Python's over the records' JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb
from deltalake import DeltaTable
from kafka import KafkaConsumer, TopicPartition

from tests.matrix.stage import ROOT, Stage

HORIZON_MS = 3_600_000
Address = tuple[int, int]
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Record:
    """A committed record of the topic, as its sender and the broker made it."""

    time: int
    value: bytes | None
    broken: bool


@dataclass(frozen=True)
class Found:
    """Addresses lost and doubled, and what else is wrong, in words."""

    records: int
    lost: int
    doubled: int
    wrong: list[str]


def check(stage: Stage) -> Found:
    """Compare everything that the topic holds with everything that landed, then audit."""
    topic = dict(read(stage))
    bronze = _rows(stage, "bronze.sales", "event_id, batch_id")
    bad = _rows(stage, "quarantine.sales", "value")
    held = Counter(row[:2] for row in [*bronze, *bad])
    wrong = [
        *_placed(topic, bronze, bad),
        *_sent(stage, len(topic)),
        *_silver(stage, topic, bronze),
        *_audit(stage),
    ]
    doubled = sum(count - 1 for count in held.values())
    return Found(len(topic), len(topic.keys() - held.keys()), doubled, wrong)


def _placed(topic: Mapping[Address, Record], bronze: list[Row], bad: list[Row]) -> Iterator[str]:
    """Each row where its sender says that it belongs, with what the record holds."""
    counts: Counter[str] = Counter()
    for *address, event_id, _ in bronze:
        record = topic.get((address[0], address[1]))
        if record is None:
            counts["addresses that Kafka does not have"] += 1
        elif record.broken:
            counts["broken records in bronze"] += 1
        elif json.loads(record.value or b"")["event_id"] != event_id:
            counts["rows of bronze with another event's id"] += 1
    for *address, value in bad:
        record = topic.get((address[0], address[1]))
        if record is None:
            counts["addresses that Kafka does not have"] += 1
        elif not record.broken:
            counts["good records in quarantine"] += 1
        elif record.value != value:
            counts["rows of quarantine with other bytes"] += 1
    yield from (f"{count} {what}" for what, count in counts.items())


def read(stage: Stage) -> Iterator[tuple[Address, Record]]:
    """Every committed record of the topic."""
    consumer = KafkaConsumer(
        bootstrap_servers=stage.broker.servers,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    try:
        ends = {TopicPartition(stage.topic, p): end for p, end in stage.offsets().items()}
        consumer.assign(list(ends))
        while any(consumer.position(place) < end for place, end in ends.items()):
            for place, batch in consumer.poll(timeout_ms=200).items():
                for r in batch:
                    broken = any(name == "fault" for name, _ in r.headers)
                    yield (place.partition, r.offset), Record(r.timestamp, r.value, broken)
    finally:
        consumer.close()


def _rows(stage: Stage, table: str, columns: str) -> list[Row]:
    files = DeltaTable(stage.table(table)).file_uris()
    if not files:
        return []
    sql = f'SELECT "partition", "offset", {columns} FROM read_parquet($files)'
    return duckdb.execute(sql, {"files": files}).fetchall()


def _sent(stage: Stage, records: int) -> Iterator[str]:
    """What producers say they sent against what the topic has."""
    acknowledged = sum(s["acknowledged"] for s in stage.summaries)
    unsure = stage.producers_killed or any(s["failed"] for s in stage.summaries)
    if records < acknowledged or (not unsure and records != acknowledged):
        yield f"producers count {acknowledged} acknowledged records, the topic has {records}"


def _silver(stage: Stage, topic: Mapping[Address, Record], bronze: list[Row]) -> Iterator[str]:
    """Lines, units and money by country from the records' own JSON, against silver."""
    want: dict[tuple[str, str], list[Any]] = defaultdict(lambda: [0, 0, Decimal(0)])
    seen: dict[str, list[int]] = defaultdict(list)
    landed = [(row[3], topic[row[:2]].time, *row[:2]) for row in bronze if row[:2] in topic]
    for _, time, *place in sorted(landed):
        event = json.loads(topic[place[0], place[1]].value or b"{}", parse_float=Decimal)
        copies = seen[event["event_id"]]
        if not any(abs(time - earlier) <= HORIZON_MS for earlier in copies):
            sums = want[event["country"], event["currency"]]
            sums[0] += 1
            sums[1] += event["quantity"]
            sums[2] += event["quantity"] * Decimal(event["unit_price"])
        copies.append(time)
    found = duckdb.execute(
        "SELECT country, currency, lines, units, net_revenue FROM read_parquet($files)",
        {"files": DeltaTable(stage.table("silver.sales_by_country")).file_uris()},
    ).fetchall()
    got = {tuple(row[:2]): list(row[2:]) for row in found}
    differing = [key for key in {*want, *got} if want.get(key) != got.get(key)]
    if differing:
        key = sorted(differing)[0]
        yield (
            f"{len(differing)} rows of silver.sales_by_country are not what Kafka's JSON gives: "
            f"{key} is {got.get(key)}, not {want.get(key)}"
        )


def _audit(stage: Stage) -> Iterator[str]:
    """What `lakehouse audit` says against the tables."""
    done = subprocess.run(
        [sys.executable, "-m", "lakehouse", "audit", "sales", "--json"],
        cwd=ROOT, env=stage.environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode:
        try:
            found = json.loads(done.stdout)["sales"]
            said = "; ".join([*found["faults"], *found["doubts"]])
        except (ValueError, KeyError):
            said = done.stderr.strip()[-300:]
        yield f"audit exits {done.returncode}: {said}"
