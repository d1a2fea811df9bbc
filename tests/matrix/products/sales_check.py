"""Sales against Kafka's records: places, what was sent, and silver from the JSON itself."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import duckdb
from deltalake import DeltaTable

from tests.matrix.check import Address, Record, Row, read, rows
from tests.matrix.stage import Stage

HORIZON_MS = 3_600_000


def wrong(stage: Stage) -> Iterator[str]:
    """What landed where its sender did not mean it, what is not counted, what does not add up."""
    topic = dict(read(stage))
    bronze = rows(stage, "bronze.sales", "event_id, batch_id")
    yield from _placed(topic, bronze, rows(stage, "quarantine.sales", "value"))
    yield from _sent(stage, len(topic))
    yield from _silver(stage, topic, bronze)


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
        {"files": DeltaTable(stage.lake.table("silver.sales_by_country")).file_uris()},
    ).fetchall()
    got = {tuple(row[:2]): list(row[2:]) for row in found}
    differing = [key for key in {*want, *got} if want.get(key) != got.get(key)]
    if differing:
        key = sorted(differing)[0]
        yield (
            f"{len(differing)} rows of silver.sales_by_country are not what Kafka's JSON gives: "
            f"{key} is {got.get(key)}, not {want.get(key)}"
        )
