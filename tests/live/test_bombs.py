"""Records that unpack to much more than they are on the wire: the flow goes on behind them."""

import json
import time

import pytest
from kafka import KafkaProducer

from tests.conftest import long, sale
from tests.live.conftest import command, make_topic, rows, sales_from
from tests.live.test_large_records import EVENT

pytestmark = pytest.mark.live
MIB = 2**20
MOST = {"one record": 700}
OTHERS = 1_500
"""MB that the reader may take: it unpacks a record of 150 or 400 MB, and has it in Python once."""
LEFT_OUT = {
    "one record": 1,
    "one larger record": 1,
    "one valid record": 1,
    "one batch": 0,
    "deep": 0,
}


def event(name, **more):
    return json.dumps(sale(event_id=name, order_id=name, **EVENT, **more)).encode()


BOMBS = {
    "one record": lambda: [b"{" + b"x" * (150 * MIB)],
    "one larger record": lambda: [b"{" + b"x" * (400 * MIB)],
    "one valid record": lambda: [event("big", note="x" * (200 * MIB))],
    "one batch": lambda: [event(f"n{n}", note="x" * MIB) for n in range(400)],
    "deep": lambda: [b'{"a":' * (4 * MIB)],
}
"""What makes each: no worker holds them but in their test."""


# batches of much smaller records, through the same flow: test_large_records
@pytest.mark.parametrize("bomb", ["one record", *long(*(b for b in BOMBS if b != "one record"))])
def test_a_bomb_does_not_stop_the_flow(bomb, kafka, land, peak, tmp_path):
    topic, root = f"bomb-{tmp_path.name}", tmp_path / "lake"
    environment = sales_from(
        kafka, topic, LAKEHOUSE_SALES_PARTITIONS="1", LAKEHOUSE_LAKE_ROOT=str(root)
    )
    make_topic(environment)
    bombs, around = BOMBS[bomb](), [event(f"small{n}") for n in range(20)]
    big = {"compression_type": "gzip", "batch_size": 2**30, "linger_ms": 2000}
    for values, options in ((around[:10], {}), (bombs, big), (around[10:], {})):
        with KafkaProducer(bootstrap_servers=kafka, max_request_size=2**31 - 1, **options) as out:
            sent = [out.send(topic, value, partition=0) for value in values]
            out.flush()
            assert [future.get(200).offset for future in sent]
    began = time.monotonic()
    land(["sales.bronze", "sales.silver"], environment, root)
    print(bomb, f"{time.monotonic() - began:.0f} s, reader {peak():,} MB")
    assert peak() < MOST.get(bomb, OTHERS)
    landed = sum(
        rows(root, f"SELECT count(*) AS n FROM {table}.sales")[0]["n"]
        for table in ("bronze", "quarantine")
    )
    assert landed == 20 + len(bombs)
    left_out = rows(root, "SELECT count(left_out_sha256) AS n FROM quarantine.sales")[0]["n"]
    assert left_out == LEFT_OUT[bomb]
    began = time.monotonic()
    found = command("audit", "sales", "--content", "all", timeout=200, check=False, **environment)
    print(f"audit: {time.monotonic() - began:.0f} s")
    assert found.stdout.startswith("PROVEN"), found.stdout + found.stderr[-3000:]
