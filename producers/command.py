"""What the commands of all producers share: options, settings, the closing summary, the end."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO

import typer

from lakehouse.core.errors import Exit, UsageError
from lakehouse.core.text import narration, say

if TYPE_CHECKING:
    from lakehouse.core.signals import Stop
    from lakehouse.settings.settings import Settings
    from producers.message import Message
    from producers.sending import Summary

Count = Annotated[int | None, typer.Option(min=1, help="finish after so many events")]
Seed = Annotated[int | None, typer.Option(min=0, help="the same seed makes the same events")]
Corrupt = Annotated[
    float | None, typer.Option(min=0, max=1, help="share of records broken on purpose")
]
Topic = Annotated[str | None, typer.Option(help="the topic to send to")]
Broker = Annotated[str | None, typer.Option(help="the broker")]
AsJson = Annotated[bool, typer.Option("--json", help="summary as JSON on stdout")]


def settings_of(
    product: str,
    config: Path | None,
    bootstrap_servers: str | None,
    topic: str | None,
    root: Path | None = None,
    *,
    needs_broker: bool = True,
) -> Settings:
    """Settings with the command line's broker and lake, and its topic for the product."""
    from pydantic import ValidationError  # noqa: PLC0415  # help reads no setting

    from lakehouse.core.logging import configure_logging  # noqa: PLC0415  # likewise
    from lakehouse.products.registry import load_settings  # noqa: PLC0415  # likewise

    settings = load_settings(config)
    configure_logging(settings.logging.format, settings.logging.level)
    if bootstrap_servers:
        settings = settings.with_kafka(bootstrap_servers)
    settings = settings.with_root(root) if root else settings
    if needs_broker and not settings.kafka.bootstrap_servers:
        raise UsageError(
            "[kafka] bootstrap_servers",
            "is empty, and a producer of its own starts no broker",
            "give --bootstrap-servers, or use `lakehouse produce`",
        )
    if topic is None:
        return settings
    section = settings.product(product)
    try:
        section = type(section)(**{**section.model_dump(), "topic": topic})
    except ValidationError as error:
        fault = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"--topic {topic!r}", fault, "give a Kafka topic's name") from None
    return settings.model_copy(update={"products": {**settings.products, product: section}})


def counted(messages: Iterable[Message], stop: threading.Event, out: TextIO | None) -> Summary:
    """What would be sent, until ``stop`` is set: each value is a line of ``out``, if there is one.

    What is no UTF-8 is shown with marks in its place; a tombstone is an empty line.
    """
    from producers.sending import Summary  # noqa: PLC0415  # help sends nothing

    summary = Summary()
    for message in messages:
        if stop.is_set():
            break
        summary.sent += 1
        summary.by_kind[message.kind] += 1
        if out is not None:
            out.write((message.value or b"").decode("utf-8", "replace") + "\n")
    return summary


def show(summary: Summary, *, as_json: bool, more: Mapping[str, Any] | None = None) -> None:
    """The closing summary: JSON on stdout, with ``more`` in it, or a table on stderr."""
    if as_json:
        sys.stdout.write(json.dumps({**summary.as_dict(), **(more or {})}) + "\n")
        return
    from rich.table import Table  # noqa: PLC0415  # only a person's terminal needs it

    table = Table(title=f"sent in {summary.seconds:.1f} s")
    table.add_column("what")
    table.add_column("records", justify="right")
    rows = {
        "sent": summary.sent,
        "acknowledged": summary.acknowledged,
        "failed": summary.failed,
        **dict(sorted(summary.by_kind.items())),
        "belongs in bronze": summary.bronze,
        "belongs in quarantine": summary.quarantine,
    }
    for name, number in rows.items():
        table.add_row(name, f"{number:,}")
    narration().print(table)
    if summary.error:
        say(f"last failure: {summary.error}")


def leave(summary: Summary, stop: Stop) -> NoReturn:
    """End the command with the exit code of what was sent."""
    if summary.failed:
        raise SystemExit(Exit.FAULT)
    raise SystemExit(Exit.INTERRUPTED if stop.interrupted else Exit.OK)
