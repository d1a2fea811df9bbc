"""A proof for a person: the verdict, then what it rests on."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lakehouse.audit.flags import Listed
from lakehouse.audit.proof import Proof, Verdict
from lakehouse.audit.topic import SAMPLE
from lakehouse.core.text import printable

_STYLES = {Verdict.PROVEN: "bold green", Verdict.NOT_PROVEN: "bold red"}


def render(proof: Proof, width: int, *, color: bool) -> str:
    """The verdict in the first line, its reasons, and the tables."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=color, highlight=False)
    console.print(Text(proof.headline, style=_STYLES.get(proof.verdict, "bold yellow")))
    console.print(Text(_tables(proof)))
    for reason in reasons(proof):
        console.print(Text(reason), soft_wrap=True)
    for title, rows in _sections(proof):
        if rows:
            console.print(table(title, rows))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def reasons(proof: Proof) -> list[str]:
    """What is wrong and what cannot be told, a line each."""
    told = [*proof.faults, *(f"cannot tell: {doubt}" for doubt in proof.doubts)]
    return [f"  - {printable(reason)}" for reason in told]


def _tables(proof: Proof) -> str:
    """What was looked at: which tables, at which version."""
    account = proof.account
    landed = f"{account.total('bronze'):,} in bronze, {account.total('quarantine'):,} in quarantine"
    compared = sum(1 for table in proof.tables if not table.doubt)
    lost = f"; {len(account.lost)} gaps were accepted as lost" if account.lost else ""
    how = (
        " from their own declarations, evaluated whole: less independent than a recompute of "
        "the product's own" * proof.is_by_declaration
    )
    return (
        f"{proof.product} at bronze version {proof.bronze_version}: "
        f"{landed}, {compared} tables recomputed{how}{lost}"
    )


def _sections(proof: Proof) -> list[tuple[str, Sequence[Mapping[str, Any]]]]:
    account, flags = proof.account, proof.flags
    tables = [
        {
            k: v
            for k, v in asdict(t).items()
            if k not in {"first", "fault", "doubt"} and (v or k not in {"lacking", "ahead"})
        }
        for t in proof.tables
    ]
    differences = [
        {"table": table.table, "key": ", ".join(map(_text, row["key"].values())),
         **{k: row[k] for k in ("column", "held", "recomputed")}}
        for table in proof.tables
        for row in table.first[:SAMPLE]
    ]  # fmt: skip
    rest = [("rows of quarantine above bronze's ends", account.leftover),
            ("addresses of a topic that is gone", account.former),
            ("events that count twice: copies beyond the horizon", flags.beyond_horizon.count),
            ("late events, kept and marked", flags.late.count),
            ("copies, kept and marked", flags.duplicates.count)]  # fmt: skip
    rest += [(what, count) for check in proof.checks for what, count in check.counts.items()]
    return [
        (f"topic {proof.topic}, by partition", [_short(asdict(p)) for p in account.partitions]),
        ("missing", account.missing),
        ("doubled", account.doubled),
        ("offsets that hold no record for a table", account.set_apart),
        ("given up: accepted as lost", account.lost),
        ("also counted", [{"what": what, "events": count} for what, count in rest]),
        (_first("late", flags.late), flags.late.first),
        (_first("copies", flags.duplicates), flags.duplicates.first),
        (_first("copies beyond the horizon", flags.beyond_horizon), flags.beyond_horizon.first),
        (_first("late marks that are wrong", flags.wrong_late), flags.wrong_late.first),
        (_first("copy marks that are wrong", flags.wrong_duplicates), flags.wrong_duplicates.first),
        ("tables against a recompute from bronze", tables),
        ("rows that differ", differences),
        *[(check.name, check.first) for check in proof.checks],
    ]


def _short(partition: dict[str, Any]) -> dict[str, Any]:
    """A partition's line without the columns that are seldom anything but 0."""
    seldom = ("aborted", "markers", "accepted", "expired", "unknown", "kept", "erased",
              "first", "lowest_missing", "unread", "waiting")  # fmt: skip
    return {k: v for k, v in partition.items() if k not in seldom or v}


def _first(title: str, listed: Listed) -> str:
    shown = len(listed.first)
    return title if shown == listed.count else f"{title}: the first {shown} of {listed.count:,}"


def table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows drawn under their columns' names.

    Apart from the explorer's table: that one rounds money and minutes for a reader, this
    one shows evidence to the last digit, folds it, and takes rows of differing columns.
    """
    drawn = Table(
        title=Text(printable(title).upper(), style="bold"), title_justify="left",
        box=box.SIMPLE_HEAD, padding=(0, 1), header_style="cyan",
    )  # fmt: skip
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for name in columns:
        number = all(isinstance(row.get(name), int | None) for row in rows)
        justify = "right" if number else "left"
        drawn.add_column(Text(printable(name)), justify=justify, overflow="fold")  # type: ignore[arg-type]  # one of its words
    for row in rows:
        drawn.add_row(*[Text(_text(row.get(name, 0))) for name in columns])
    return drawn


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "Z")
    return printable(str(value))
