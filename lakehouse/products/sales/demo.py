"""The demo: the whole path on a lake of its own, and the proof that nothing was lost."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from pyspark.sql import SparkSession

from lakehouse.core.errors import Exit, UsageError
from lakehouse.core.lock import write_locks
from lakehouse.core.paths import Lake, own_command
from lakehouse.core.signals import stop_on_signals
from lakehouse.explorer.account import Line, account
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.format import Format
from lakehouse.explorer.report import report
from lakehouse.explorer.show import render
from lakehouse.explorer.views import VIEWS
from lakehouse.ingest.landing import Landed
from lakehouse.products.registry import flows
from lakehouse.products.sales.tables import FLOWS
from lakehouse.runtime.driver import run, say_stopping, tables_of
from lakehouse.settings.settings import Settings
from producers.message import Message
from producers.sales import retail
from producers.sales.generator import Shares
from producers.sales.producer import HISTORY_DAYS, generator, show
from producers.sending import send

MARK = "made-by-demo"
"""A file in the root of a lake that a demo made, and may remove."""
SHARES = Shares(late=0.01, duplicates=0.01, corrupt=0.005)


def demo(
    settings: Settings,
    count: int,
    replay: Path | None,
    say: Callable[[str], None],
    *,
    broker: Callable[[Settings], AbstractContextManager[Settings]],
    start_session: Callable[[Settings, str], Callable[[], SparkSession]],
) -> Exit:
    """Produce, land, aggregate, report; OK when what was produced is what landed."""
    started = time.perf_counter()
    root = Path(settings.lake.root)
    total = retail.count_lines(replay) if replay else count
    fresh(root, settings)
    stream = settings.stream.model_copy(update={"max_records_per_batch": max(1000, total // 6)})
    settings = settings.model_copy(update={"stream": stream})
    say(f"demo lake: {root}  ({total:,} events)")
    with broker(settings) as settings, stop_on_signals(say_stopping) as stop:
        wait = start_session(settings, "demo")
        summary = send(settings, _messages(settings, count, replay), total=total, stop=stop)
        show(summary, as_json=False)
        say("landing: Kafka → bronze and quarantine → silver")
        landed = _Progress(summary.sent, say)
        run(FLOWS, settings, wait, available_now=True, stop=stop, on_landed=landed)
    if stop.is_set():
        return Exit.INTERRUPTED
    catalogue = Catalogue(str(root))
    sys.stdout.write(render(report(catalogue, settings.explorer, VIEWS, say), Format.table, 132))
    lines = account(catalogue, settings.explorer, summary.by_kind, summary.revenue)
    holds = all(line.holds for line in lines) and summary.failed == 0
    _show_account(lines, holds)
    say(f"done in {time.perf_counter() - started:.0f} s. Now try:")
    lakehouse = own_command()
    for command in (
        f"{lakehouse} explore --root {root}",
        f'{lakehouse} explore --root {root} --sql "FROM clients LIMIT 5"',
        f"{lakehouse} tables --root {root}",
        f"{lakehouse} history bronze.sales --root {root}",
        f"{lakehouse} up    # a live shop, until Ctrl-C",
    ):
        say(f"  {command}")
    return Exit.OK if holds else Exit.FAULT


def _messages(settings: Settings, count: int, replay: Path | None) -> Iterable[Message]:
    if replay:
        return retail.read(replay)
    seed = settings.producer.seed
    shop = generator(settings, seed, f"s{seed}n{count}", SHARES)
    return shop.history(count, datetime.now(UTC), HISTORY_DAYS)


def fresh(root: Path, settings: Settings) -> None:
    """A root without a lake, once nobody writes the one there; what no demo made is left alone.

    TableLocked where another process writes a table of it. The mark and the locks stay, so
    that a crash half way leaves what the next demo may remove.
    """
    lake = Lake(str(root))
    try:
        if root.exists() and any(root.iterdir()):
            if not (root / MARK).is_file():
                raise UsageError(
                    str(root), "holds something that no demo made", "give another --root"
                )
            tables = {table for f in flows() for table in tables_of(f)}
            tables |= {path.name.removesuffix(".lock") for path in lake.locks.glob("*.lock")}
            with write_locks(lake.locks, sorted(tables), "demo", settings.publish.lock_timeout):
                _clear(root.absolute(), {root.absolute() / MARK, lake.locks})
        root.mkdir(parents=True, exist_ok=True)
        (root / MARK).touch()
    except OSError as error:
        raise UsageError(
            str(root), f"cannot be a lake: {error.strerror}", "give another --root"
        ) from None


def _clear(folder: Path, kept: set[Path]) -> None:
    for path in folder.iterdir():
        if path in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


class _Progress:
    """One line of narration a batch."""

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self._total, self._say, self._done = total, say, 0

    def __call__(self, landed: Landed) -> None:
        self._done += landed.good + landed.bad
        self._say(
            f"  {self._done:>9,} of {self._total:,}: bronze +{landed.good:,}, quarantine "
            f"+{landed.bad:,}, late {landed.late:,}, doubled {landed.duplicates:,}"
        )


def _show_account(lines: list[Line], holds: bool) -> None:
    rows = pa.Table.from_pylist(
        [
            {
                "what was sent": line.kind,
                "where it belongs": line.place,
                "sent": line.sent,
                "found": line.landed,
                "": "ok" if line.holds else "DIFFERS",
            }
            for line in lines
        ]
    )
    sys.stdout.write(render({"produced_=_landed": rows}, Format.table, 132))
    sys.stdout.write("PROVEN: what was produced is what landed\n" if holds else "NOT PROVEN\n")
