"""A database of orders of a test's own, its capture, and what the topic says of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from kafka import KafkaConsumer, TopicPartition

from lakehouse.products.registry import sections_of_products
from lakehouse.settings.settings import load
from producers.orders.capture import capture_orders

ROOT = Path(__file__).parents[2]
COLUMNS = (
    "order_id", "customer_name", "restaurant_name", "item", "amount", "order_status", "created_at",
)  # fmt: skip


@dataclass
class Orders:
    """One database, one lake, one topic and one slot, all named alike."""

    name: str
    url: str
    kafka: str
    root: Path

    @property
    def environment(self):
        """What a process needs to capture it."""
        return {
            "LAKEHOUSE_POSTGRES_URL": self.url,
            "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "LAKEHOUSE_ORDERS_TOPIC": self.name,
            "LAKEHOUSE_ORDERS_SLOT": self.name,
            "LAKEHOUSE_ORDERS_PUBLICATION": self.name,
            "LAKEHOUSE_ORDERS_POLL_INTERVAL": "200 ms",
            "LAKEHOUSE_LAKE_ROOT": str(self.root),
        }

    def settings(self, **more):
        """The same, read."""
        return load(sections_of_products(), ROOT / "config.ini", {**self.environment, **more})

    def connect(self):
        """A connection of the test's own, which commits by itself."""
        connection = psycopg.connect(self.url)
        connection.autocommit = True
        return connection

    def sql(self, text, *values):
        """Run statements, each its own transaction where they stand alone; the last one's rows."""
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(text, values or None)
            return cursor.fetchall() if cursor.description else []

    def capture(self, mode="slot", **how):
        """Take in what is there, in this process."""
        return capture_orders(self.settings(), mode=mode, available_now=True, **how)

    def start(self, *words, **environment):
        """A capture in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "producers/orders/capture.py", *words],
            cwd=ROOT, env={**os.environ, **self.environment, **environment},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    @contextmanager
    def following(self, mode="slot"):
        """A capture that runs meanwhile, in a thread; its summary at the end."""
        stop, done = threading.Event(), []

        def follow():
            try:
                done.append(capture_orders(self.settings(), mode=mode, stop=stop))
            except BaseException as error:
                done.append(error)
                raise

        thread = threading.Thread(target=follow)
        thread.start()
        try:
            yield done
        finally:
            stop.set()
            thread.join(200)
        assert not isinstance(done[0], BaseException), done[0]

    def records(self):
        """Every record of the topic, as (key, value, headers), in each partition's order."""
        with closing(Topic(self.kafka, self.name)) as topic:
            return topic.records()

    def assert_captured(self):
        """The topic says what the table has, each key's changes in their order; its records."""
        records = self.records()
        assert current(records) == self.table()
        check_order(records)
        return records

    def table(self):
        """Key → row, as Postgres has it now."""
        columns = ", ".join(
            f"to_char({c} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
            if c == "created_at" else f"{c}::text" for c in COLUMNS
        )  # fmt: skip
        return {row[0]: row for row in self.sql(f"SELECT {columns} FROM orders")}

    def until(self, wanted, seconds=150):
        """Wait until a test of the topic's current state holds."""
        deadline = time.monotonic() + seconds
        with closing(Topic(self.kafka, self.name)) as topic:
            while not wanted(topic.current()):
                assert time.monotonic() < deadline, "not captured in time"
                time.sleep(0.2)

    def until_sent(self, count):
        """Wait until the topic has more records than that, without reading them."""
        deadline = time.monotonic() + 240
        with closing(Topic(self.kafka, self.name)) as topic:
            while topic.size() <= count:
                assert time.monotonic() < deadline, "not captured in time"
                time.sleep(0.02)


def until_said(process, *words):
    """What a process said on its stderr, read until every word has come."""
    told = ""
    while not all(word in told for word in words):
        part = os.read(process.stderr.fileno(), 65_536)
        assert part, told
        told += part.decode()
    return told


class Topic:
    """A topic read again and again: what was read once is not fetched and parsed again."""

    def __init__(self, kafka, name):
        self.name, self.parts, self.found = name, [], {}
        self.newest, self.fresh, self.rows = {}, [], {}
        self.consumer = KafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
        self.close = self.consumer.close

    def exists(self):
        """Whether it does; then its partitions are there to be read."""
        if not self.parts and (there := self.consumer.partitions_for_topic(self.name)):
            self.parts = [TopicPartition(self.name, p) for p in there]
            self.consumer.assign(self.parts)
            self.consumer.seek_to_beginning(*self.parts)
        return bool(self.parts)

    def size(self):
        """The sum of its partitions' ends."""
        return sum(self.consumer.end_offsets(self.parts).values()) if self.exists() else 0

    def records(self):
        """Every record that the topic has now, in each partition's order."""
        self._read()
        return [self.found[place] for place in sorted(self.found)]

    def current(self):
        """As :func:`current` of them: only what came since is looked at."""
        self._read()
        if self.fresh:
            for key, value in self.fresh:
                _keep(self.newest, key, value)
            self.fresh.clear()
            self.rows = _rows(self.newest)
        return self.rows

    def _read(self):
        if not self.exists():
            return
        ends = self.consumer.end_offsets(self.parts)
        while any(self.consumer.position(part) < ends[part] for part in self.parts):
            for batch in self.consumer.poll(timeout_ms=500).values():
                for r in batch:
                    value = json.loads(r.value) if r.value else None
                    key = json.loads(r.key)
                    self.found[r.partition, r.offset] = (key, value, dict(r.headers))
                    self.fresh.append((key, value))


def current(records):
    """Key → row: the change with the highest sequence of each key, deleted ones left out."""
    newest = {}
    for key, value, _ in records:
        _keep(newest, key, value)
    return _rows(newest)


def _keep(newest, key, value):
    """Key → (sequence, change) with one more record."""
    if value is None:
        return
    order, id_ = value["source"]["sequence"], key["order_id"]
    if id_ not in newest or order >= newest[id_][0]:
        newest[id_] = (order, value)


def _rows(newest):
    return {
        str(key): tuple(_plain(c, value["after"][c]) for c in COLUMNS)
        for key, (_, value) in newest.items() if value["op"] != "d"
    }  # fmt: skip


def _plain(column, value):
    if column == "created_at" and value is not None:
        day, _, rest = value.removesuffix("Z").partition("T")
        whole, _, part = rest.partition(".")
        return f"{day} {whole}.{part:0<6}"
    return None if value is None else str(value)


def check_order(records):
    """Each key's changes come in their order; only what is sent again comes late."""
    seen = defaultdict(list)
    for key, value, headers in records:
        order = value["source"]["sequence"] if value else headers["sequence"].decode()
        known = seen[key["order_id"]]
        assert order in known or order > max(known, default="")
        known.append(order)
    assert seen


def sequences(records):
    """Every change's key and sequence, as often as it was sent."""
    return [(k["order_id"], v["source"]["sequence"]) for k, v, _ in records if v is not None]


INSERT = "INSERT INTO orders (customer_name, restaurant_name, item, amount) VALUES "
MODES = pytest.mark.parametrize("mode", ["slot", "poll"])
BOTH_IF_LONG = pytest.mark.parametrize(
    "mode", ["slot", pytest.param("poll", marks=pytest.mark.long)]
)
