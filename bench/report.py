"""docs/performance.md, from what was measured."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import psutil

from bench.activity import Filled
from bench.drain import BOTH, BRONZE, CAREFUL, Drained
from bench.events import BROKEN, COPIES, Habit
from bench.freshness import SETTLE_SECONDS, Freshness
from bench.growth import BATCHES, Growth
from bench.soak import Minutes
from producers.activity.visits import THINKS

PATH = Path(__file__).parents[1] / "docs" / "performance.md"


DRAIN, FRESHNESS, GROWTH, SOAK = "## Draining", "## Freshness", "## Growth", "## Left running"
ACTIVITY, CHURN = "## Activity and its sinks", "## Churn scored"
EXPLORE = "## Exploring"
SECTIONS = (DRAIN, FRESHNESS, GROWTH, SOAK, ACTIVITY, CHURN, EXPLORE)
Target = tuple[str, str, bool]
"""What is aimed for: words, what was measured, and whether it holds."""
RATIOS = (
    (BRONZE, Habit.COMPACT, 0.65),
    (BRONZE, Habit.SPACED, 0.55),
    (BRONZE, Habit.REORDERED, 0.55),
    (BRONZE, Habit.BROKEN, 0.6),
    (BOTH, Habit.COMPACT, 0.4),
)
"""The share of the careful loop's speed that each is to reach."""
P95 = {1_000: 0.35, 10_000: 0.55}
IN_POSTGRES = {1_000: 1.0, 10_000: 1.5}
"""Seconds from Kafka to Postgres, and records a second into every sink."""
INTO_SINKS = 20_000


def drain_targets(drained: Sequence[Drained]) -> list[Target]:
    """The drain's, of what was run."""
    rate = {(d.name, d.habit): median(d.rates()) for d in drained}
    found: list[Target] = []
    for name, habit, least in RATIOS:
        peer = rate.get((CAREFUL, habit)) or rate.get((CAREFUL, Habit.COMPACT))
        if peer and (ours := rate.get((name, habit))):
            words = f"{name}, {habit}: at least {least} of the careful loop"
            found.append((words, f"{ours / peer:.2f}", ours >= least * peer))
    peak = max(d.peak_mb for d in drained if d.name in {BRONZE, BOTH})
    return [*found, ("at most 2 GB without the broker", f"{peak / 1000:.2f} GB", peak <= 2000)]


def fresh_targets(fresh: Sequence[Freshness]) -> list[Target]:
    """Freshness's, of the rates that were run."""
    found: list[Target] = []
    for f in fresh:
        if limit := P95.get(f.rate):
            words = f"silver p95 at most {limit} s at {f.rate:,} events/s"
            found.append((words, f"{f.p95:.2f} s", f.p95 <= limit))
        if len(f.p95_by_minute) > 1:
            first, last = f.p95_by_minute[0], f.p95_by_minute[-1]
            words = f"last minute's p95 at most 1.1 times the first's at {f.rate:,} events/s"
            found.append((words, f"{last / first:.2f}", last <= 1.1 * first))
        words = f"at most 2 GB without the broker ({f.rate:,} events/s)"
        found.append((words, f"{f.peak_mb / 1000:.2f} GB", f.peak_mb <= 2000))
    return found


def target_lines(found: Sequence[Target]) -> list[str]:
    """Targets as a table."""
    return [
        "", "| target | measured | holds |", "| --- | --- | --- |",
        *(f"| {words} | {measured} | {'yes' if holds else 'no'} |"
          for words, measured, holds in found),
    ]  # fmt: skip


def _head() -> str:
    memory = psutil.virtual_memory().total / 1e9
    return (
        "# Performance\n\n"
        "Made by `make bench` and `python -m bench growth` and `soak`: figures of one machine, to "
        "be compared with each other. "
        f"Here: {psutil.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}; "
        "the broker and the load run on the same cores.\n\n"
        "The targets are those that the project has set itself. One that does not hold is missed "
        "by what its figure says; nothing but speed depends on it.\n"
    )


def _section_of(text: str, title: str) -> str:
    """One section of the document, up to the next; empty where it has none."""
    found = re.search(rf"^{re.escape(title)}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[0].rstrip() if found else ""


def with_section(text: str, title: str, section: str) -> str:
    """The document with this section in the place of the one of its title."""
    kept = {name: _section_of(text, name) for name in SECTIONS}
    sections = [part for part in {**kept, title: section.rstrip()}.values() if part]
    return "\n\n".join([_head().rstrip(), *sections]) + "\n"


def growth_section(found: Sequence[Growth]) -> str:
    """Growth's figures."""
    return "\n".join(_growth(found)) + "\n"


def soak_section(found: Freshness, seen: Minutes, clients: int) -> str:
    """What the flows were like while they were left running."""
    by, memory, silver = found.p95_by_minute, seen.memory, seen.silver
    half = memory[len(memory) // 2 :]
    rows = [
        ("p95 freshness, first and last minute, s", f"{by[0]:.2f}, {by[-1]:.2f}"),
        ("p50, p95 and worst of all, s", f"{found.p50:.2f}, {found.p95:.2f}, {found.worst:.2f}"),
        ("memory in the second half, least and most, MB", f"{min(half):,.0f}, {max(half):,.0f}"),
        ("silver on disk in the middle and at the end, MB",
         f"{silver[len(silver) // 2]:,.0f}, {silver[-1]:,.0f}"),
        ("the lake at the end, MB", f"{seen.whole[-1]:,.0f}"),
        ("written to silver, bytes an event", f"{seen.written / max(found.events, 1):,.0f}"),
    ]  # fmt: skip
    lines = [
        SOAK, "",
        f"Made by `python -m bench soak`: {len(memory)} minutes at {found.rate:,} events/s from "
        f"{clients:,} clients.",
        "", "| | |", "| --- | ---: |", *(f"| {what} | {figures} |" for what, figures in rows),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _growth(found: Sequence[Growth]) -> list[str]:
    lines = [
        GROWTH,
        "",
        "Made by `python -m bench growth`: the follower of sales in a process of its own, with "
        f"three orders a client known, takes {BATCHES} batches of 1,000 rows, a fifth of them of "
        "new clients, two a second. Silver's part of a batch alone, publishing with it: the worst "
        "are those with a large table's turn.",
        "",
        "| clients | orders | batch, ms: median | mean | worst | restart, s | written, bytes an "
        "event | silver, MB on disk | state, MB | memory, MB |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for g in found:
        times = " | ".join(f"{1000 * s:,.0f}" for s in (g.median, g.mean, g.worst))
        lines.append(
            f"| {g.clients:,} | {3 * g.clients:,} | {times} | {g.restart:.1f} | {g.bytes:,.0f} | "
            f"{g.silver / 1e6:,.0f} | {g.state / 1e6:,.0f} | {g.memory:,.0f} |"
        )
    return lines


def drain_section(what: str, size: float, drained: Sequence[Drained]) -> str:
    """The drain's figures."""
    lines = [
        DRAIN,
        "",
        f"Made by `python -m bench drain`: {drained[0].rows:,} records. {what}; {size:.0f} bytes "
        "a record, two partitions. Each peer is a process of its own and starts cold; "
        f"{len(drained[0].runs)} runs each, interleaved. Rows a second are counted from the "
        "moment that Spark's session is ready (the loops: from their first request) to the last "
        "commit, and once more over the whole process. Records are written compactly, with spaces "
        f"after commas and colons, in another order of keys, or compactly with {BROKEN:.1%} broken "
        f"and {COPIES:.0%} copies.",
        "",
        "| peer | records | rows/s, median | worst | whole process | CPU s | peak MB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for d in drained:
        rates, whole = d.rates(), d.whole_rates()
        lines.append(
            f"| {d.name} | {d.habit} | {median(rates):,.0f} | {rates[0]:,.0f} | "
            f"{median(whole):,.0f} | {d.cpu_seconds:.0f} | {d.peak_mb:,.0f} |"
        )
    return "\n".join([
        *lines,
        "",
        "What the peers do not check: stock Spark makes a broken record a row of nulls, and a "
        "broken record ends the loops, so they drain whole records only. None of them knows "
        "limits, late or doubled events, or what it has taken in when it starts again. The fast "
        "loop keeps prices as floats in one file a batch and syncs nothing; the careful one keeps "
        "them exact, by event date, and syncs each file. The lakehouse checks every field, marks "
        "late and doubled events, keeps broken records, fingerprints every row and syncs each "
        "commit.",
        *target_lines(drain_targets(drained)),
    ]) + "\n"  # fmt: skip


def activity_targets(found: Sequence[Freshness], filled: Filled) -> list[Target]:
    """Activity's, of the rates that were run."""
    targets: list[Target] = []
    for f in found:
        if limit := IN_POSTGRES.get(f.rate):
            words = f"p95 in Postgres at most {limit} s at {f.rate:,} events/s"
            targets.append((words, f"{f.p95:.2f} s", f.p95 <= limit))
        if len(f.mb_by_minute) > 1:
            growth = f.mb_by_minute[-1] / f.mb_by_minute[0]
            words = f"last minute's memory at most 1.1 times the first's at {f.rate:,} events/s"
            targets.append((words, f"{growth:.2f}", growth <= 1.1))
    words = f"at least {INTO_SINKS:,} records/s into every sink"
    return [*targets, (words, f"{filled.rate:,.0f}", filled.rate >= INTO_SINKS)]


def activity_section(found: Sequence[Freshness], filled: Filled) -> str:
    """Activity's figures."""
    lines = [
        ACTIVITY,
        "",
        "Made by `python -m bench activity`: bronze, windows, sessions, Parquet files, Postgres "
        "and the enriched topic, all in one process; broker and Postgres on the same cores. From "
        "Kafka's time of an event to the moment when another client sees its version in every "
        f"table of Postgres; the first {SETTLE_SECONDS} s are not counted. A user does something "
        f"every {THINKS:.0f} s, and as many are there as that takes. Seconds. Own memory is what "
        "is not pages of files: these, the state's among them, the kernel takes back where it is "
        "short.",
        "",
        *_fresh_rows(found),
        "",
        f"A topic of {filled.records:,} records, drained into the lake and every sink, the "
        f"process's start with it: {filled.rate:,.0f} records/s, {filled.run.cpu_seconds:.0f} CPU "
        f"s, {filled.run.peak_mb:,.0f} MB.",
    ]
    return "\n".join([*lines, *target_lines(activity_targets(found, filled))]) + "\n"


def fresh_section(fresh: Sequence[Freshness]) -> str:
    """Freshness's figures."""
    lines = [
        FRESHNESS,
        "",
        "Made by `python -m bench freshness`: from Kafka's time of an event to the moment when "
        "another process sees it in every silver table that is small: large ones wait for their "
        f"turn. The first {SETTLE_SECONDS} s of a run are not counted. Seconds.",
        "",
        *_fresh_rows(fresh),
    ]
    return "\n".join([*lines, *target_lines(fresh_targets(fresh))]) + "\n"


def _fresh_rows(fresh: Sequence[Freshness]) -> list[str]:
    lines = [
        "| events/s | events | p50 | p95 | worst | p95 by minute | commits | cores | peak MB | "
        "MB by minute | own MB by minute |",
        "| ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | --- | --- |",
    ]
    for f in fresh:
        minutes = " ".join(f"{p:.2f}" for p in f.p95_by_minute)
        memory, own = (
            " ".join(f"{mb:,.0f}" for mb in part) for part in (f.mb_by_minute, f.own_by_minute)
        )
        lines.append(
            f"| {f.rate:,} | {f.events:,} | {f.p50:.2f} | {f.p95:.2f} | {f.worst:.2f} | "
            f"{minutes} | {f.batches} | {f.cpu_cores:.1f} | {f.peak_mb:,.0f} | {memory} | {own} |"
        )
    return lines
