"""The demo: users on pages, late, out of order and broken events too; every table accounted for."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from lakehouse.audit.brief import audited
from lakehouse.core.errors import Exit
from lakehouse.core.paths import own_command, root_option
from lakehouse.core.signals import stop_on_signals
from lakehouse.explorer.accounted import show_account, show_section
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.operations.keep import keep
from lakehouse.products.activity.account import account, sent_on
from lakehouse.products.activity.contract import ACTIVITY
from lakehouse.products.activity.settings import activity_of
from lakehouse.products.activity.tables import FLOWS
from lakehouse.runtime.demo import BatchLines, Stage
from lakehouse.runtime.driver import run
from lakehouse.settings.sections import PostgresSettings
from lakehouse.settings.settings import Settings
from producers.activity import replay
from producers.activity.generator import Shares
from producers.activity.producer import history
from producers.message import Message
from producers.sending import send

SHARES = Shares(late=0.02, out_of_order=0.1, duplicates=0.01, corrupt=0.01)
EDITS = ("user_id=user", "page_url=page", "event_time=time")
"""Where lines of Wikipedia's edits have the fields; others have them under their own names."""


def demo(stage: Stage) -> Exit:
    """Produce, land, fold, send on, report, audit; OK when all is proven and where it belongs.

    The database is always an embedded one: nobody's own tables get made-up users.
    """
    started = time.perf_counter()
    settings, say = stage.settings, stage.say
    total = replay.count_lines(stage.replay) if stage.replay else stage.count
    root = stage.empty_lake()
    settings = stage.in_batches(settings, total)
    say(f"demo lake: {root}  ({total:,} events)")
    settings = settings.model_copy(update={"postgres": PostgresSettings()})
    with (
        stage.broker(settings) as settings,
        stage.database(settings) as settings,
        stop_on_signals(stage.say_stopping) as stop,
    ):
        wait = stage.start_session(settings, "demo")
        messages = _messages(settings, total, stage.replay)
        summary = send(settings, ACTIVITY, messages, total=total, stop=stop)
        say(summary.told())
        say("landing: Kafka → bronze → windows, sessions, Parquet, Postgres and a topic")
        landed = BatchLines(summary.sent, say)
        run(FLOWS, settings, wait, available_now=True, stop=stop, on_landed=landed)
        if stop.is_set():
            return Exit.INTERRUPTED
        catalogue = Catalogue(str(root))
        show_section("pages", ACTIVITY.name, catalogue, settings.explorer, {})
        lines = account(catalogue, settings.explorer, summary.by_kind, sent_on(settings))
        show_account(lines)
        verdict = audited("activity", settings, say, keep)
    holds = all(line.holds for line in lines) and summary.failed == 0
    lakehouse, there = own_command(), root_option(root)
    stage.say_done(
        time.perf_counter() - started,
        f"{lakehouse} report {there}    # every analysis",
        f"{lakehouse} explore {there} --sql 'FROM silver.activity_user_sessions LIMIT 5'",
        f"{lakehouse} audit activity {there}",
        f"{lakehouse} up activity    # live users, until Ctrl-C",
    )
    return verdict if holds else Exit.FAULT


def _messages(settings: Settings, count: int, path: Path | None) -> Iterable[Message]:
    if path:
        return replay.read(path, replay.mapping(EDITS))
    return history(settings, count, activity_of(settings).seed, SHARES)
