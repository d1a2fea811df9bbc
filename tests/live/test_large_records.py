"""Records of hundreds of kilobytes and of megabytes land with the default gigabyte of heap."""

import json
import os

import pytest
from deltalake import DeltaTable
from kafka import KafkaProducer

from tests.conftest import sale
from tests.live.conftest import make_topic, rows, sales_from

pytestmark = pytest.mark.live
EVENT = {"event_time": "2026-11-20T11:00:00+00:00"}


def values(name, count, size, *, compressible=False, broken=False):
    """Sales with an unknown field of this size, which bronze keeps; or no JSON of that size."""
    for n in range(count):
        note = "x" * size if compressible else os.urandom(size // 2).hex()
        if broken:
            yield b"{" + note.encode()
        else:
            event = sale(event_id=f"{name}{n}", order_id=f"{name}{n}", note=note, **EVENT)
            yield json.dumps(event).encode()


def send(environment, topic, found, **options):
    producer = KafkaProducer(
        bootstrap_servers=environment["LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS"],
        max_request_size=2**30, **options,
    )  # fmt: skip
    with producer:
        sent = [producer.send(topic, value, partition=n % 2) for n, value in enumerate(found)]
        producer.flush()
        for future in sent:
            future.get(200)
    return len(sent)


CASES = {
    "valid": [("a", 400, 900_000, {})],
    "broken": [("a", 400, 900_000, {"broken": True})],
    "compressible": [("a", 150, 5_000_000, {"compressible": True})],
    "in between": [
        ("a", 1000, 10, {}),
        ("b", 30, 5_000_000, {"compressible": True}),
        ("c", 1000, 10, {}),
        ("d", 30, 900_000, {}),
        ("e", 30, 900_000, {"broken": True}),
        ("f", 1000, 10, {}),
    ],
}


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=() if c == "in between" else pytest.mark.long) for c in CASES]
)
def test_large_records_land(case, kafka, land, tmp_path):
    topic, root = f"large-{tmp_path.name}", tmp_path / "lake"
    environment = sales_from(kafka, topic, LAKEHOUSE_LAKE_ROOT=str(root))
    make_topic(environment)
    wanted = {"bronze": 0, "quarantine": 0}
    for name, count, size, kind in CASES[case]:
        packed = {"compression_type": "gzip"} if kind.get("compressible") else {}
        done = send(environment, topic, values(name, count, size, **kind), **packed)
        wanted["quarantine" if kind.get("broken") else "bronze"] += done
    land(["sales.bronze", "sales.silver"], environment, root)
    commits = DeltaTable(root / "bronze" / "sales").version()
    print(case, commits, "commits")
    assert commits > 1
    for table, count in wanted.items():
        found = rows(root, f"SELECT count(*) AS n FROM {table}.sales")[0]["n"]
        assert found == count, table
