"""The loop that a good engineer writes by hand: no checks, no recovery; one bad line stops it.

A thread reads Kafka by confluent-kafka; 200,000 records at a time go through
pyarrow's JSON reader into a date-partitioned Delta table.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from deltalake import write_deltalake

from lakehouse.products.registry import load_settings

BATCH = 200_000
SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_time", pa.timestamp("us", "UTC")),
        ("order_id", pa.string()),
        ("client_id", pa.string()),
        ("country", pa.string()),
        ("segment", pa.string()),
        ("product_id", pa.string()),
        ("product_name", pa.string()),
        ("quantity", pa.int64()),
        ("unit_price", pa.decimal128(18, 4)),
        ("currency", pa.string()),
        ("channel", pa.string()),
    ]
)


def main() -> None:
    """Print {rows, seconds}: from the first request to the last commit."""
    settings = load_settings(None)
    topic = settings.product("sales").topic
    started = time.perf_counter()
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka.bootstrap_servers,
            "group.id": "loop",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": 10 * 1024 * 1024,
            "queued.max.messages.kbytes": 200_000,
        }
    )
    partitions = consumer.list_topics(topic).topics[topic].partitions
    wanted = sum(consumer.get_watermark_offsets(TopicPartition(topic, p))[1] for p in partitions)
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    batches: queue.Queue[list[bytes]] = queue.Queue(2)
    threading.Thread(target=_read, args=(consumer, wanted, batches), daemon=True).start()
    rows = 0
    while rows < wanted:
        values = batches.get()
        _write(values, f"{settings.lake.root}/bronze")
        rows += len(values)
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - started}))
    sys.stdout.flush()


def _read(consumer: Consumer, wanted: int, batches: queue.Queue[list[bytes]]) -> None:
    got = 0
    batch: list[bytes] = []
    while got < wanted:
        for message in consumer.consume(20_000, 1.0):
            batch.append(cast("bytes", message.value()))
            got += 1
        if len(batch) >= BATCH or got >= wanted:
            batches.put(batch)
            batch = []


def _write(values: list[bytes], uri: str) -> None:
    options = pj.ParseOptions(explicit_schema=SCHEMA)
    read = pj.ReadOptions(block_size=8 * 1024 * 1024)
    table = pj.read_json(pa.BufferReader(b"\n".join(values)), read, options)
    table = table.append_column("event_date", pc.cast(table["event_time"], pa.date32(), safe=False))
    write_deltalake(uri, table, mode="append", partition_by=["event_date"])


if __name__ == "__main__":
    main()
