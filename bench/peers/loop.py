"""The loop that a good engineer writes by hand: no recovery, and one bad line stops it.

A thread reads Kafka by confluent-kafka; 200,000 records at a time go through pyarrow's JSON
reader into a Delta table. ``fast`` keeps prices as floats, in one file a batch, as a first
version would. ``careful`` keeps them exact, by event date, and syncs each file to disk.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from deltalake import DeltaTable, write_deltalake

from lakehouse.products.registry import load_settings

BATCH = 200_000
EXACT, FLOAT = pa.decimal128(18, 4), pa.float64()
FIELDS: dict[str, pa.DataType] = {
    "event_id": pa.string(),
    "event_time": pa.timestamp("us", "UTC"),
    "order_id": pa.string(),
    "client_id": pa.string(),
    "country": pa.string(),
    "segment": pa.string(),
    "product_id": pa.string(),
    "product_name": pa.string(),
    "quantity": pa.int64(),
    "unit_price": EXACT,
    "currency": pa.string(),
    "channel": pa.string(),
}


def main(is_careful: bool) -> None:
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
            "fetch.queue.backoff.ms": 5,
        }
    )
    partitions = consumer.list_topics(topic).topics[topic].partitions
    wanted = sum(consumer.get_watermark_offsets(TopicPartition(topic, p))[1] for p in partitions)
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    batches: queue.Queue[list[bytes]] = queue.Queue(2)
    threading.Thread(target=_read, args=(consumer, wanted, batches), daemon=True).start()
    uri, rows = f"{settings.lake.root}/bronze", 0
    fields = FIELDS if is_careful else FIELDS | {"unit_price": FLOAT}
    with ThreadPoolExecutor(8) as pool:
        while rows < wanted:
            values = batches.get()
            table = _parsed(values, pa.schema(list(fields.items())))
            if is_careful:
                _write_by_date(table, uri, pool)
            else:
                write_deltalake(uri, table, mode="append")
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


def _parsed(values: list[bytes], schema: pa.Schema) -> pa.Table:
    options = pj.ParseOptions(explicit_schema=schema)
    read = pj.ReadOptions(block_size=8 * 1024 * 1024)
    return pj.read_json(pa.BufferReader(b"\n".join(values)), read, options)


def _write_by_date(table: pa.Table, uri: str, pool: ThreadPoolExecutor) -> None:
    table = table.append_column("event_date", pc.cast(table["event_time"], pa.date32(), safe=False))
    write_deltalake(uri, table, mode="append", partition_by=["event_date"])
    version = DeltaTable(uri).version()
    log = Path(uri, "_delta_log", f"{version:020}.json")
    actions = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    added = [Path(uri, action["add"]["path"]) for action in actions if "add" in action]
    _sync([*added, log, *{path.parent for path in [*added, log]}], pool)


def _sync(paths: Iterable[Path], pool: ThreadPoolExecutor) -> None:
    def one(path: Path) -> None:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    for _ in pool.map(one, paths):
        pass


if __name__ == "__main__":
    main(sys.argv[1] == "careful")
