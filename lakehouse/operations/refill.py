"""Fills a sink again: its tables are compared whole with silver, its topic with bronze."""

from __future__ import annotations

from lakehouse.core.errors import UsageError
from lakehouse.core.lock import write_locks
from lakehouse.core.paths import Lake
from lakehouse.model.sink import KafkaSink, PostgresSink, SinkFlow
from lakehouse.products.registry import contracts_of, flows
from lakehouse.runtime.driver import sink_locks
from lakehouse.settings.settings import Settings
from lakehouse.sinks.kafka import KafkaWriter
from lakehouse.sinks.postgres import PostgresWriter
from lakehouse.storage.duck import connect


def sinks_of(product: str, table: str | None = None) -> list[SinkFlow]:
    """The sinks of a product, those alone that fill a table of Postgres where one is named.

    UsageError where there is none.
    """
    names = contracts_of(product)
    found = [f for f in flows() if isinstance(f, SinkFlow) and f.product in names]
    tables = {t.name for f in found if isinstance(f, PostgresSink) for t in f.into}
    if table is not None and table not in tables:
        known = ", ".join(sorted(tables)) or "another product"
        raise UsageError(f"table {table!r}", f"is no table of a sink of {product}", f"use {known}")
    if not found:
        having = sorted({f.product for f in flows() if isinstance(f, SinkFlow)})
        raise UsageError(
            f"product {product!r}", "has no sink", f"use {' or '.join(having) or 'another verb'}"
        )
    return [f for f in found if table is None or isinstance(f, PostgresSink)]


def refill(product: str, table: str | None, settings: Settings) -> list[str]:
    """Fill the sinks of a product again, or one table; what was filled.

    A row that is right stays as it is. Killed, it leaves the old rows, and is run again.
    TableLocked while a flow writes them.
    """
    chosen = sinks_of(product, table)
    locks, wait = Lake(settings.lake.root).locks, settings.publish.lock_timeout
    filled = []
    with write_locks(locks, sink_locks(chosen), "refill", wait), connect(settings) as connection:
        for sink in chosen:
            if isinstance(sink, KafkaSink):
                writer = KafkaWriter(sink, settings, connection)
                filled.append(f"topic {writer.topic.name}, {writer.refill():,} records")
                writer.close()
                continue
            tables = PostgresWriter(sink, settings, connection)
            tables.refill(table)
            filled += [sink.place(t) for t in sink.into if table in {None, t.name}]
            tables.close()
    return filled
