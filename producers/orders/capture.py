"""The orders capture: sends the table's snapshot and every change to Kafka.

python producers/orders/capture.py                     # from a replication slot, until Ctrl-C
python producers/orders/capture.py --mode poll         # where the database allows no slot
python producers/orders/capture.py --available-now     # what is there, then end
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

if __package__ in {None, ""}:  # if run as a file, the project's folder is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lakehouse.core.errors import Exit, UsageError
from lakehouse.core.logging import configure_logging
from lakehouse.core.options import AvailableNow, Config, script
from lakehouse.core.signals import Stop, stop_on_signals
from lakehouse.core.text import say
from lakehouse.products.orders.contract import NAME, VERSION, Order
from lakehouse.products.registry import load_settings
from lakehouse.settings.settings import Settings
from producers.cdc.plan import Plan, SnapshotMode, Summary
from producers.cdc.run import capture
from producers.cdc.state import Mode
from producers.command import AsJson
from producers.orders.options import AnewOption, ModeOption, ResendOption, SnapshotOption


def capture_orders(
    settings: Settings,
    *,
    mode: Mode = "slot",
    snapshot: SnapshotMode = "initial",
    anew: bool = False,
    available_now: bool = False,
    resend: bool = False,
    stop: threading.Event | None = None,
) -> Summary:
    """Capture [orders] table until ``stop`` is set; gives what was sent, and up to where."""
    plan = Plan(
        settings, NAME, f"{NAME}/{VERSION}", Order, mode, snapshot, available_now,
        stop or threading.Event(), resend,
    )  # fmt: skip
    return capture(plan, anew=anew)


def run(
    mode: ModeOption = "slot",
    snapshot: SnapshotOption = "initial",
    anew: AnewOption = False,
    resend: ResendOption = False,
    available_now: AvailableNow = False,
    root: Annotated[
        Path | None, typer.Option(help="the lake's root, which keeps the state")
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Send the orders table's snapshot and changes to Kafka, until Ctrl-C.

    Examples: --mode poll   |   --available-now --json   |   --anew
    """
    settings = load_settings(config)
    configure_logging(settings.logging.format, settings.logging.level)
    settings = settings.with_root(root) if root else settings
    for section, key, given in (
        ("kafka", "bootstrap_servers", settings.kafka.bootstrap_servers),
        ("postgres", "url", settings.postgres.url),
    ):
        if not given:
            raise UsageError(
                f"[{section}] {key}",
                "is empty, and a producer of its own starts no service",
                f"set LAKEHOUSE_{section}_{key}".upper() + ", or use `lakehouse capture orders`",
            )
    with stop_on_signals() as stop:
        summary = capture_orders(
            settings,
            mode=mode,
            snapshot=snapshot,
            anew=anew,
            resend=resend,
            available_now=available_now,
            stop=stop,
        )
    show(summary, as_json=as_json)
    raise SystemExit(exit_of(summary, stop))


def exit_of(summary: Summary, stop: Stop) -> Exit:
    """INTERRUPTED after Ctrl-C, and where any signal left a snapshot unfinished."""
    return Exit.INTERRUPTED if stop.interrupted or summary.unfinished else Exit.OK


def show(summary: Summary, *, as_json: bool) -> None:
    """The closing summary: JSON on stdout, or a line on stderr."""
    if as_json:
        sys.stdout.write(json.dumps(summary.as_dict()) + "\n")
        return
    names = {"r": "read", "c": "created", "u": "updated", "d": "deleted"}
    told = ", ".join(f"{n:,} {names[op]}" for op, n in summary.counts.items() if op in names)
    say(
        f"captured in {summary.seconds:.1f} s: {told or 'nothing new'}; "
        f"{summary.acknowledged:,} of {summary.sent:,} records acknowledged"
    )
    if summary.unfinished:
        say(summary.unfinished)


if __name__ == "__main__":
    script(run)
