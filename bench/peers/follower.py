"""The real follower of sales, in a process of its own, on a bronze that it is given.

``fill LAKE CLIENTS`` makes bronze with three orders a client, a line each, and silver of it;
``batches LAKE CLIENTS COUNT`` starts on it and takes batches of 1,000 rows, two a second.
Prints one JSON line.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pyarrow as pa

from lakehouse.core.paths import Lake
from lakehouse.ingest.landing import BronzePublisher
from lakehouse.model.flow import SilverFlow
from lakehouse.products.registry import load_settings
from lakehouse.products.sales.contract import SALES
from lakehouse.products.sales.tables import FLOWS
from lakehouse.settings.settings import Settings
from lakehouse.silver.publisher import SilverPublisher
from lakehouse.storage.duck import Limits, opened
from lakehouse.storage.log import entry
from lakehouse.storage.table import Table

PERIOD = 0.5
"""Seconds from batch to batch: large tables have their turns meanwhile."""
BATCH, NEW, ORDERS = 1_000, 5, 3
"""Rows of a batch; every fifth is of a new client; orders of each client."""
_AT_ONCE = 500_000
_ROWS = """
SELECT uuid()::VARCHAR AS event_id, {time} - to_seconds(i % {seconds}) AS event_time,
    'order-' || ({first_order} + i) AS order_id, 'client-' || ({client}) AS client_id,
    'Country ' || (hash(client_id) % 20) AS country,
    if(hash(client_id) % 2 = 0, 'B2B', 'B2C') AS segment,
    'product-' || (hash(i * 7) % 3000) AS product_id, 'A product' AS product_name,
    CAST(1 + i % 5 AS INTEGER) AS quantity, CAST(9.95 AS DECIMAL(18, 4)) AS unit_price,
    'EUR' AS currency, ['web', 'store'][1 + i % 2] AS channel, CAST(NULL AS VARCHAR) AS extra,
    'sales' AS topic, 0 AS "partition", {first_order} + i AS "offset", {time} AS kafka_time,
    {time} AS ingest_time, CAST({batch} AS BIGINT) AS batch_id,
    CAST(NULL AS TIMESTAMPTZ) AS watermark, false AS is_late, false AS is_duplicate,
    CAST(event_time AS DATE) AS event_date
FROM range({rows}) AS t(i)
"""


class Shop:
    """Bronze that grows by made-up rows, and the follower of it."""

    def __init__(self, settings: Settings, clients: int) -> None:
        self._settings, self.clients, self._orders, self._batch = settings, clients, 0, 0
        silver = settings.silver
        limits = Limits(silver.engine_memory, silver.engine_threads, folders=[settings.lake.root])
        self._made = opened(limits)
        self._made.execute("SELECT setseed(0.5)").fetchall()
        self._connection = opened(limits)
        self.bronze = BronzePublisher.open(SALES, settings, None, self._connection).bronze

    def follow(self) -> SilverPublisher:
        """The follower, at bronze's version."""
        flow = next(f for f in FLOWS if isinstance(f, SilverFlow))
        silver = SilverPublisher.open(flow, self._settings, self._connection)
        silver.catch_up()
        return silver

    def land(self, rows: int, client: str, days: int) -> pa.Table:
        """Commit rows to bronze, spread over so many days; what they are."""
        now = datetime.now(UTC) - timedelta(seconds=1)
        made = self._made.sql(_ROWS.format(
            time=f"TIMESTAMPTZ '{now.isoformat()}'", seconds=days * 86_400 or 60,
            first_order=self._orders, client=client, rows=rows, batch=self._batch,
        )).to_arrow_table()  # fmt: skip
        schema = pa.schema(self.bronze.dt.schema())
        made = made.select(schema.names).cast(schema)
        self.bronze.append(made, {})
        self._orders, self._batch = self._orders + rows, self._batch + 1
        return made

    def fill(self) -> None:
        """Three orders of each client."""
        total = self.clients * ORDERS
        for first in range(0, total, _AT_ONCE):
            rows = min(_AT_ONCE, total - first)
            self.land(rows, f"({first} + i) % {self.clients}", 30)

    def go_on(self) -> None:
        """From the end of what is there."""
        count = f"SELECT count(*) FROM read_parquet({self.bronze.files()!r})"
        [(self._orders,)] = self._made.execute(count).fetchall()
        self._batch = self.bronze.version

    def batches(self, silver: SilverPublisher, count: int) -> Iterator[float]:
        """Seconds of each batch in silver, its upkeep and publishing with it."""
        for number in range(count):
            known = f"CAST(hash(i * 31 + {number}) % {self.clients} AS BIGINT)"
            new = f"{self.clients} + {number * BATCH} + i"
            client = f"CASE WHEN i % {NEW} = 0 THEN {new} ELSE {known} END"
            rows = self.land(BATCH, client, 0)
            started = time.perf_counter()
            silver.take(self.bronze.version - 1, self.bronze.version, rows)
            silver.maintain()
            took = time.perf_counter() - started
            yield took
            time.sleep(max(0.0, PERIOD - took))


def written(tables: list[Table], since: list[int]) -> int:
    """Bytes of the files and log entries that commits after these versions added."""
    total = 0
    for table, version in zip(tables, since, strict=True):
        for number in range(version + 1, table.version + 1):
            text = entry(table.uri, number).read_text("utf-8")
            actions = map(json.loads, text.splitlines())
            total += len(text) + sum(a["add"]["size"] for a in actions if "add" in a)
    return total


def kept(folder: Path) -> int:
    """Bytes on disk below a folder."""
    return sum(p.stat().st_blocks * 512 for p in folder.rglob("*") if p.is_file())


def main(verb: str, root: str, clients: int, count: int) -> dict[str, Any]:
    """What the verb measured."""
    settings = load_settings(None).with_root(Path(root))
    shop = Shop(settings, clients)
    if verb == "fill":
        shop.fill()
        started = time.perf_counter()
        shop.follow().persist()
        return {"seconds": time.perf_counter() - started}
    started = time.perf_counter()
    silver = shop.follow()
    restart = time.perf_counter() - started
    shop.go_on()
    tables = silver.every_table()
    since = [table.version for table in tables]
    took = [*shop.batches(silver, count)]
    lake = Lake(settings.lake.root)
    return {
        "restart": restart, "median": median(took), "mean": sum(took) / count, "worst": max(took),
        "bytes": written(tables, since) / (count * BATCH),
        "silver": kept(Path(lake.join("silver"))), "state": kept(Path(lake.join("_state"))),
        "memory": psutil.Process().memory_full_info().uss / 1e6,
    }  # fmt: skip


if __name__ == "__main__":
    words = sys.argv[1:]
    print(json.dumps(main(words[0], words[1], int(words[2]), int(words[3]))))
