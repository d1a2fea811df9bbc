"""The demo: a model is trained, customers come, each is scored as it comes; all of it is proven."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from lakehouse.audit.brief import audited
from lakehouse.core.errors import Exit
from lakehouse.core.paths import own_command, root_option
from lakehouse.core.signals import Stop, stop_on_signals
from lakehouse.core.text import Say
from lakehouse.explorer.accounted import show_account, show_section
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.report import views
from lakehouse.ingest.landing import Landed
from lakehouse.operations.keep import keep
from lakehouse.products.churn.account import account
from lakehouse.products.churn.asked.traced import sample
from lakehouse.products.churn.contract import CUSTOMERS
from lakehouse.products.churn.model import need_packages
from lakehouse.products.churn.model.customers import generated
from lakehouse.products.churn.model.outcomes import Scored
from lakehouse.products.churn.model.store import Models
from lakehouse.products.churn.model.stream import ScoringService
from lakehouse.products.churn.settings import churn_of
from lakehouse.products.churn.tables import FLOWS
from lakehouse.products.registry import contracts_of
from lakehouse.runtime.demo import Stage
from lakehouse.runtime.driver import run
from lakehouse.settings.settings import Settings
from producers.churn import table
from producers.churn.events import of_row
from producers.churn.producer import history
from producers.message import Message
from producers.sending import Summary, send

CORRUPT = 0.01
TRAINED_ON = 5_000
EXAMPLES = 3


def demo(stage: Stage) -> Exit:
    """Train, produce, score, land, report, audit; OK when all is proven and where it belongs."""
    started = time.perf_counter()
    need_packages()
    settings, say = stage.settings, stage.say
    total = table.count_rows(stage.replay) if stage.replay else stage.count
    root = stage.empty_lake()
    settings = stage.in_batches(settings, total)
    say(f"demo lake: {root}  ({total:,} records of customers)")
    with stage.broker(settings) as settings, stop_on_signals(stage.say_stopping) as stop:
        wait = stage.start_session(settings, "demo")
        _train(settings, say)
        with _scoring(settings) as wait_for:
            messages = _messages(settings, stage.replay, total)
            summary = send(settings, CUSTOMERS, messages, total=total, stop=stop)
            say(summary.told())
            scored = wait_for(summary.acknowledged, stop)
        if stop.is_set():
            return Exit.INTERRUPTED
        say(
            f"scored as they came: {scored.predictions:,} predictions, "
            f"{scored.dead_letters:,} dead letters, {scored.transactions:,} transactions"
        )
        say("landing: Kafka → bronze → risk, scores, drift, latency")
        run(FLOWS, settings, wait, available_now=True, stop=stop, on_landed=_told(say))
        if stop.is_set():
            return Exit.INTERRUPTED
        holds = _shown(settings, summary)
        verdicts = [audited(name, settings, say, keep) for name in contracts_of("churn")]
    lakehouse, there = own_command(), root_option(root)
    [one] = sample(settings, 1)
    stage.say_done(
        time.perf_counter() - started,
        f"{lakehouse} report {there}    # every analysis",
        f"{lakehouse} churn explain {one['input']['customerID']} {there}",
        f"{lakehouse} churn sample {there}",
        f"{lakehouse} explore {there} --sql 'FROM churn_drift ORDER BY psi DESC LIMIT 5'",
        f"{lakehouse} audit churn {there}",
    )
    worst = max(verdicts)
    return worst if holds else Exit.FAULT


def _train(settings: Settings, say: Say) -> None:
    """A model of other customers than those that will come."""
    from lakehouse.products.churn.model.training import train  # noqa: PLC0415  # an extra's

    seed, now = churn_of(settings).seed + 1, datetime.now(UTC)
    models = Models(settings.lake.root)
    card = models.save(train(generated(TRAINED_ON, seed, now), seed=seed, now=now))
    models.promote(card.version)
    say(
        f"model {card.version}: AUC {card.auc:.3f} in five folds of {card.data.rows:,} customers; "
        f"threshold {card.threshold:.4f}"
    )


@contextmanager
def _scoring(settings: Settings) -> Iterator[Callable[[int, Stop], Scored]]:
    """Score beside the block; gives a function that waits until so many records have an outcome."""
    stop = Stop()
    service = ScoringService(settings, stop)
    with ThreadPoolExecutor(1, "scorer") as pool:
        running = pool.submit(service.run)

        def wait(records: int, stopped: Stop) -> Scored:
            scored = service.scored
            while scored.predictions + scored.dead_letters < records and not stopped.wait(0.05):
                if running.done():
                    return running.result()
            return scored

        try:
            yield wait
        finally:
            stop.set()
            running.result()


def _messages(settings: Settings, path: Path | None, total: int) -> Iterable[Message]:
    now = datetime.now(UTC)
    if path:
        return (of_row(row, f"{n}", now, 0.0) for n, row in enumerate(table.rows(path)))
    return history(total, churn_of(settings).seed, CORRUPT, now)


def _shown(settings: Settings, summary: Summary) -> bool:
    """Write key figures, account and examples; whether everything is where it belongs."""
    catalogue = Catalogue(settings.lake.root)
    found = views(None, settings)
    show_section("churn_risk", CUSTOMERS.name, catalogue, settings.explorer, found)
    lines = account(catalogue, settings, summary.by_kind)
    show_account(lines)
    for one in sample(settings, EXAMPLES):
        facts, said = one["input"], one["prediction"]
        sys.stdout.write(
            f"{facts['customerID']}: {said['prediction']}, {said['probability']:.4f}; "
            f"{facts['topic']}/{facts['partition']}/{facts['offset']} → "
            f"{said['topic']}/{said['partition']}/{said['offset']}\n"
        )
    return all(line.holds for line in lines) and summary.failed == 0


def _told(say: Say) -> Callable[[Landed], None]:
    """One line of narration a batch."""

    def tell(landed: Landed) -> None:
        say(
            f"  bronze +{landed.good:,}, quarantine +{landed.bad:,}, "
            f"duplicates {landed.duplicates:,}"
        )

    return tell
