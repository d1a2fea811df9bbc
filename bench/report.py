"""docs/performance.md, from what was measured."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import psutil

from bench.drain import Drained
from bench.freshness import SETTLE_SECONDS, Freshness
from bench.growth import BATCHES, Growth
from bench.soak import Minutes

PATH = Path(__file__).parents[1] / "docs" / "performance.md"


def targets(drained: Sequence[Drained], fresh: Sequence[Freshness]) -> list[tuple[str, str, bool]]:
    """What is aimed for: words, what was measured, and whether it holds."""
    found = []
    if drained:
        rate = {d.name: median(d.rates()) for d in drained}
        ours = rate["lakehouse, bronze"]
        stock, loop = rate["stock Spark, bronze"], rate["hand-written loop, bronze"]
        peak = max(d.peak_mb for d in drained if d.name.startswith("lakehouse"))
        found += [
            ("bronze at least 2 times stock Spark", f"{ours / stock:.2f} times", ours >= 2 * stock),
            ("bronze at least 0.4 of the loop", f"{ours / loop:.2f}", ours >= 0.4 * loop),
            ("under 3 GB without the broker (drain)", f"{peak / 1000:.2f} GB", peak < 3000),
        ]
    limits = {1_000: 0.8, 10_000: 1.0}
    for f in fresh:
        if limit := limits.get(f.rate):
            words = f"silver p95 at most {limit} s at {f.rate:,} events/s"
            found.append((words, f"{f.p95:.2f} s", f.p95 <= limit))
        if len(f.p95_by_minute) > 1:
            first, last = f.p95_by_minute[0], f.p95_by_minute[-1]
            found.append(
                (f"not growing at {f.rate:,} events/s (last minute against first, within a fifth)",
                 f"{last / first:.2f}", last <= 1.2 * first)
            )  # fmt: skip
        found.append(
            (f"under 3 GB without the broker ({f.rate:,} events/s)",
             f"{f.peak_mb / 1000:.2f} GB", f.peak_mb < 3000)
        )  # fmt: skip
    return found


def markdown(what: str, size: float, drained: Sequence[Drained], fresh: Sequence[Freshness]) -> str:
    """The whole document."""
    memory = psutil.virtual_memory().total / 1e9
    lines = [
        "# Performance",
        "",
        "Made by `make bench`: figures of one machine, to be compared with each other. "
        f"Here: {psutil.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}; "
        "the broker and the load run on the same cores.",
        "",
    ]
    if drained:
        lines += _drained(what, size, drained)
    if fresh:
        lines += _fresh(fresh)
    lines += ["## Targets", "", "| target | measured | holds |", "| --- | --- | --- |"]
    lines += [
        f"| {words} | {measured} | {'yes' if holds else 'no'} |"
        for words, measured, holds in targets(drained, fresh)
    ]
    return "\n".join(lines) + "\n"


GROWTH = "## Growth"


SOAK = "## Left running"
APART = (GROWTH, SOAK)
"""Sections that commands of their own write: the document's other figures leave them."""


def section_of(text: str, title: str) -> str:
    """One section of the document, up to the next; empty where it has none."""
    found = re.search(rf"^{re.escape(title)}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[0].rstrip() + "\n" if found else ""


def with_section(text: str, title: str, section: str) -> str:
    """The document with this section in the place of the one of its title, or at the end."""
    if old := section_of(text, title):
        return text.replace(old.rstrip(), section.rstrip())
    return f"{text.rstrip()}\n\n{section.rstrip()}\n"


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


def _drained(what: str, size: float, drained: Sequence[Drained]) -> list[str]:
    lines = [
        f"## Draining {drained[0].rows:,} records",
        "",
        f"{what}; {size:.0f} bytes a record, two partitions. Each peer is a process of its own "
        f"and starts cold; {len(drained[0].runs)} runs each, interleaved. Rows a second are "
        "counted from the moment that Spark's session is ready (the loop: from its first "
        "request) to the last commit, and once more over the whole process.",
        "",
        "| | rows/s, median | worst | whole process | CPU s | peak MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for d in drained:
        rates, whole = d.rates(), d.whole_rates()
        lines.append(
            f"| {d.name} | {median(rates):,.0f} | {rates[0]:,.0f} | {median(whole):,.0f} | "
            f"{d.cpu_seconds:.0f} | {d.peak_mb:,.0f} |"
        )
    return [
        *lines,
        "",
        "Stock Spark and the loop check nothing: a broken record becomes a row of nulls in the "
        "one and ends the other. The lakehouse checks every field, marks late and doubled "
        "events, keeps broken records and syncs each commit to disk.",
        "",
    ]


def _fresh(fresh: Sequence[Freshness]) -> list[str]:
    lines = [
        "## Freshness",
        "",
        "From Kafka's time of an event to the moment when another process sees it in every "
        "silver table that is small: large ones wait for their turn. The first "
        f"{SETTLE_SECONDS} s of a run are not counted. Seconds.",
        "",
        "| events/s | events | p50 | p95 | worst | p95 by minute | commits | cores | peak MB |",
        "| ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for f in fresh:
        minutes = " ".join(f"{p:.2f}" for p in f.p95_by_minute)
        lines.append(
            f"| {f.rate:,} | {f.events:,} | {f.p50:.2f} | {f.p95:.2f} | {f.worst:.2f} | "
            f"{minutes} | {f.batches} | {f.cpu_cores:.1f} | {f.peak_mb:,.0f} |"
        )
    return [*lines, ""]
