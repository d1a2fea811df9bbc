"""Kafka's records against the tables, without a line of the code that landed them.

The topic is read by a consumer of its own; which records are good is told by what
their sender wrote into the headers; sums are Python's over the records' JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import duckdb
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from deltalake import DeltaTable

from tests.matrix.driver import ROOT
from tests.matrix.stage import Stage

Address = tuple[int, int]
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Found:
    """Addresses lost and doubled, and what else is wrong, in words."""

    records: int
    lost: int
    doubled: int
    wrong: list[str]


def check(stage: Stage) -> Found:
    """Every address of the topics against bronze and quarantine, the audit, the product's own."""
    return replace(counted(stage), wrong=[*stage.wrong(), *_audit(stage)])


def counted(stage: Stage) -> Found:
    """Every address of the topics against bronze and quarantine alone."""
    records = lost = doubled = 0
    for contract, topic in stage.topics.items():
        there = {address for address, _ in read(stage, topic)}
        held = Counter(
            row[:2]
            for layer in ("bronze", "quarantine")
            for row in rows(stage, f"{layer}.{contract}", "batch_id")
        )
        records += len(there)
        lost += len(there - held.keys())
        doubled += sum(count - 1 for count in held.values())
    return Found(records, lost, doubled, [])


@dataclass(frozen=True)
class Record:
    """A committed record of the topic, as its sender and the broker made it."""

    time: int
    value: bytes | None
    broken: bool
    headers: Mapping[str, bytes]


def read(stage: Stage, topic: str = "") -> Iterator[tuple[Address, Record]]:
    """Every committed record of the topic, by the C client: the one in Python lacks codecs."""
    topic = topic or stage.topic
    places = [TopicPartition(topic, number, 0) for number in stage.offsets(topic)]
    options = {
        "bootstrap.servers": stage.broker.servers, "group.id": "matrix",
        "enable.auto.commit": False, "enable.partition.eof": True,
        "isolation.level": "read_committed",
    }  # fmt: skip
    consumer, at_end = Consumer(options), set[int]()
    try:
        consumer.assign(places)
        while len(at_end) < len(places):
            for r in consumer.consume(1_000, 1):
                if (error := r.error()) is None:
                    headers: Any = dict(r.headers() or ())
                    record = Record(r.timestamp()[1], r.value(), "fault" in headers, headers)
                    yield (int(r.partition() or 0), int(r.offset() or 0)), record
                elif error.code() == KafkaError._PARTITION_EOF:
                    at_end.add(int(r.partition() or 0))
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()


def rows(stage: Stage, table: str, columns: str) -> list[Row]:
    files = DeltaTable(stage.lake.table(table)).file_uris()
    if not files:
        return []
    sql = f'SELECT "partition", "offset", {columns} FROM read_parquet($files)'
    if table.startswith("quarantine."):  # a replayed record is in bronze; its row stays, marked
        sql += " WHERE replayed_version IS NULL"
    return duckdb.execute(sql, {"files": files}).fetchall()


def _audit(stage: Stage) -> Iterator[str]:
    """What `lakehouse audit` says against the tables."""
    done = subprocess.run(
        [sys.executable, "-m", "lakehouse", "audit", stage.product.name, "--caught-up", "--json"],
        cwd=ROOT, env=stage.environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode:
        try:
            found = json.loads(done.stdout).values()
            said = "; ".join(
                why for proof in found for why in [*proof["faults"], *proof["doubts"]]
            ) or "; ".join(proof["headline"] for proof in found)
        except (ValueError, KeyError):
            said = done.stderr.strip()[-300:]
        yield f"audit exits {done.returncode}: {said}"
