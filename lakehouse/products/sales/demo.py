"""The demo: the whole path on a lake of its own, and the proof that nothing was lost."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime

from lakehouse.audit.brief import audited
from lakehouse.core.errors import Exit
from lakehouse.core.paths import own_command, root_option
from lakehouse.core.signals import stop_on_signals
from lakehouse.explorer.accounted import show_account, show_section
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.report import views
from lakehouse.operations.keep import keep
from lakehouse.products.sales.account import account
from lakehouse.products.sales.contract import SALES
from lakehouse.products.sales.settings import sales_of
from lakehouse.products.sales.tables import FLOWS
from lakehouse.runtime.demo import BatchLines, Stage
from lakehouse.runtime.driver import run
from lakehouse.settings.settings import Settings
from producers.message import Message
from producers.sales import retail
from producers.sales.generator import Shares
from producers.sales.producer import HISTORY_DAYS, generator
from producers.sending import send

SHARES = Shares(late=0.01, duplicates=0.01, corrupt=0.005)


_FIGURES = ("currency", "orders", "units", "net_revenue", "last_sale")
"""Columns of the totals that the demo shows: they fit any terminal."""


def demo(stage: Stage) -> Exit:
    """Produce, land, aggregate, report, audit; OK when it is proven, and as it was produced."""
    started = time.perf_counter()
    settings, say = stage.settings, stage.say
    replay = retail.Retail(stage.replay) if stage.replay else None
    total = replay.lines if replay else stage.count
    root = stage.empty_lake()
    settings = stage.in_batches(settings, total)
    say(f"demo lake: {root}  ({total:,} events)")
    with stage.broker(settings) as settings, stop_on_signals(stage.say_stopping) as stop:
        wait = stage.start_session(settings, "demo")
        messages = replay or _history(settings, total)
        summary = send(settings, SALES, messages, total=total, stop=stop)
        say(summary.told())
        say("landing: Kafka → bronze and quarantine → silver")
        landed = BatchLines(summary.sent, say)
        run(FLOWS, settings, wait, available_now=True, stop=stop, on_landed=landed)
        if stop.is_set():
            return Exit.INTERRUPTED
        catalogue = Catalogue(str(root))
        show_section("totals", SALES.name, catalogue, settings.explorer, views(), _FIGURES)
        lines = account(catalogue, settings.explorer, summary.by_kind, summary.amounts)
        show_account(lines)
        verdict = audited("sales", settings, say, keep)
    holds = all(line.holds for line in lines) and summary.failed == 0
    lakehouse = own_command()
    stage.say_done(
        time.perf_counter() - started,
        f"{lakehouse} report {root_option(root)}    # every analysis",
        f"{lakehouse} explore {root_option(root)}",
        f'{lakehouse} explore {root_option(root)} --sql "FROM clients LIMIT 5"',
        f"{lakehouse} tables {root_option(root)}",
        f"{lakehouse} history bronze.sales {root_option(root)}",
        f"{lakehouse} up sales    # a live shop, until Ctrl-C",
    )
    return verdict if holds else Exit.FAULT


def _history(settings: Settings, count: int) -> Iterable[Message]:
    seed = sales_of(settings).seed
    shop = generator(settings, seed, f"s{seed}n{count}", SHARES)
    return shop.history(count, datetime.now(UTC), HISTORY_DAYS)
