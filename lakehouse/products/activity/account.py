"""Where every event that the producer sent ended: in each table that takes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing

from lakehouse.explorer.accounted import Line
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.sql import read
from lakehouse.products.activity.settings import activity_of
from lakehouse.settings.postgres_client import connect
from lakehouse.settings.sections import ExplorerSettings
from lakehouse.settings.settings import Settings
from lakehouse.sinks.kafka_records import messages

_BRONZE = """
SELECT count(*) AS records, count_if(is_duplicate) AS duplicates, count_if(is_late) AS late,
    count_if(event_id LIKE '%-late' AND NOT is_duplicate) AS sent_late,
    count_if(event_type = 'page_view' AND NOT is_duplicate AND NOT is_late) AS views,
    count_if(NOT is_duplicate AND NOT is_late) AS counted
FROM bronze.activity"""
_FOUND = """
SELECT (SELECT count(*) FROM quarantine.activity) AS quarantined,
    (SELECT count(*) FROM lake.activity) AS files,
    (SELECT coalesce(sum(views), 0) FROM silver.activity_page_view_counts) AS views,
    (SELECT coalesce(sum(events), 0) FROM silver.activity_active_users) AS events,
    (SELECT coalesce(sum(pages), 0) FROM silver.activity_user_sessions) AS pages,
    (SELECT coalesce(sum(late), 0) FROM ledger.activity) AS late"""
_POSTGRES = """
SELECT (SELECT coalesce(sum(views), 0) FROM page_view_counts),
    (SELECT coalesce(sum(events), 0) FROM active_users),
    (SELECT coalesce(sum(pages), 0) FROM user_sessions)"""
_OVERLAP = 5
"""Windows of five minutes, one a minute, that each event is in."""


def account(
    catalogue: Catalogue,
    settings: ExplorerSettings,
    by_kind: Mapping[str, int],
    on: Mapping[str, int],
) -> list[Line]:
    """What was sent, by kind, against every table, and what was sent ``on``, by sink.

    Which events came late depends on what had been read before them: windows and sessions are
    held against bronze's marks, which the audit checks.
    """
    bronze, found = (_numbers(catalogue, sql, settings) for sql in (_BRONZE, _FOUND))
    corrupt = sum(n for kind, n in by_kind.items() if kind.startswith("corrupt"))
    kept = sum(by_kind.values()) - corrupt
    copies, due = by_kind.get("duplicate", 0), _OVERLAP * bronze["counted"]
    return [
        Line("keeps the contract", "bronze", kept, bronze["records"]),
        Line("sent twice", "bronze, marked", copies, bronze["duplicates"]),
        Line("sent late", "bronze", by_kind.get("late", 0), bronze["sent_late"]),
        Line("breaks the contract", "quarantine", corrupt, found["quarantined"]),
        Line("came late", "ledger", bronze["late"], found["late"]),
        Line("an event", "Parquet files", kept - copies, found["files"]),
        Line("a view in time", "page_view_counts", bronze["views"], found["views"]),
        Line("an event in time", "active_users", due, found["events"]),
        Line("a view in time", "user_sessions", bronze["views"], found["pages"]),
        Line("a view in time", "Postgres page_view_counts", bronze["views"], on["views"]),
        Line("an event in time", "Postgres active_users", due, on["events"]),
        Line("a view in time", "Postgres user_sessions", bronze["views"], on["pages"]),
        Line("an event", "the enriched topic, each once", kept - copies, on["enriched"]),
    ]  # fmt: skip


def sent_on(settings: Settings) -> dict[str, int]:
    """What Postgres and the enriched topic have; -1 where an event is in the topic twice."""
    with closing(connect(settings.postgres)) as connection:
        row = connection.execute(_POSTGRES).fetchone() or (0, 0, 0)
    topic = activity_of(settings).enriched_topic
    events = (json.loads(m.value()) for part in messages(settings.kafka, topic) for m in part)
    addresses = [(event["partition"], event["offset"]) for event in events]
    once = len(addresses) if len({*addresses}) == len(addresses) else -1
    return {**dict(zip(("views", "events", "pages"), map(int, row), strict=True)), "enriched": once}


def _numbers(catalogue: Catalogue, sql: str, settings: ExplorerSettings) -> dict[str, int]:
    [row] = read(catalogue, sql, settings).to_pylist()
    return {name: int(number) for name, number in row.items()}
