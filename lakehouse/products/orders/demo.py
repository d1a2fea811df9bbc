"""The demo of orders: Postgres → Kafka → lake, in two rounds, checked row by row."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from lakehouse.core.errors import Exit, UsageError
from lakehouse.core.paths import own_command, root_option
from lakehouse.core.signals import stop_on_signals
from lakehouse.explorer.format import Format
from lakehouse.explorer.show import Wide, printed
from lakehouse.ingest.landing import Landed
from lakehouse.operations.keep import keep
from lakehouse.products.orders.tables import FLOWS
from lakehouse.products.orders.verify import show, verify
from lakehouse.runtime.demo import Stage
from lakehouse.runtime.driver import run
from lakehouse.settings.postgres_client import connect
from lakehouse.settings.sections import PostgresSettings
from producers.orders.capture import capture_orders
from producers.orders.load import load, make_table

ROUNDS = (5, 5)
"""Orders inserted in each round, after the ten of db/orders.sql."""


def demo(stage: Stage) -> Exit:
    """Insert, capture, land, twice; report, and OK when the lake equals the table.

    The database is always an embedded one: nobody's own table gets made-up orders.
    """
    started = time.perf_counter()
    if stage.replay:
        raise UsageError("--replay", "is not for the demo of orders", "leave it out")
    say, root = stage.say, stage.empty_lake()
    settings = stage.settings.model_copy(update={"postgres": PostgresSettings()})
    rounds: list[dict[str, Any]] = []
    with (
        stage.broker(settings) as settings,
        stage.database(settings) as settings,
        stop_on_signals(stage.say_stopping) as stop,
    ):
        wait = stage.start_session(settings, "demo")
        with closing(connect(settings.postgres)) as connection:
            make_table(connection)
        say("db/orders.sql made the table, with 10 orders")
        for number, count in enumerate(ROUNDS, start=1):
            load(
                settings.postgres, settings.captured("orders").table, count=count, updates=0,
                deletes=0, bad=0, seed=number, now=datetime.now(UTC),
            )  # fmt: skip
            captured = capture_orders(settings, available_now=True, stop=stop)
            total = _Total()
            run(FLOWS, settings, wait, available_now=True, stop=stop, on_landed=total)
            if stop.is_set():
                return Exit.INTERRUPTED
            rounds.append(
                {
                    "round": number, "inserted": count, "captured": captured.acknowledged,
                    "landed": total.good, "quarantined": total.bad, "duplicates": total.doubled,
                }
            )  # fmt: skip
            say(f"round {number}: {count} inserted, {total.good} changes landed")
        checks = verify(settings, say, keep)
    sys.stdout.write(printed({"orders": rounds}, Format.table, Wide.FEWER))
    show(checks)
    sys.stdout.write("".join(f"{check.detail}\n" for check in checks if check.name == "audit"))
    holds = all(check.ok for check in checks) and not any(r["duplicates"] for r in rounds)
    sys.stdout.write("the lake equals the table\n" if holds else "the lake DIFFERS from it\n")
    lakehouse, there = own_command(), root_option(root)
    stage.say_done(
        time.perf_counter() - started,
        f"{lakehouse} explore {there} --sql 'FROM silver.orders_current'",
        f"{lakehouse} orders insert --count 100 --updates 40 --deletes 5 --bad 2 {there}",
        f"{lakehouse} audit orders {there}",
    )
    return Exit.OK if holds else Exit.FAULT


class _Total:
    """What all batches of a round landed."""

    def __init__(self) -> None:
        self.good = self.bad = self.doubled = 0

    def __call__(self, landed: Landed) -> None:
        self.good += landed.good
        self.bad += landed.bad
        self.doubled += landed.duplicates
