"""Churn's section of docs/performance.md."""

from __future__ import annotations

from collections.abc import Sequence

from bench.churn import Batches, Inference, Waited
from bench.report import CHURN, Target, target_lines

READABLE = {100: 0.15, 2_000: 0.5}
"""Seconds until a prediction can be read, and records scored a second."""
TOGETHER = 100_000


def targets(alone: Inference, found: Sequence[Waited], batches: Batches) -> list[Target]:
    """Churn's."""
    told = f"{alone.median_ms:.3f} and {alone.p95_ms:.3f} ms"
    targets = [
        (
            "one customer, features and model: median at most 0.3 ms, p95 0.6", told,
            alone.median_ms <= 0.3 and alone.p95_ms <= 0.6,
        ),
        (
            f"at least {TOGETHER:,} records/s, features and model",
            f"{alone.records_a_second:,.0f}", alone.records_a_second >= TOGETHER,
        ),
        *(
            (f"at least {TOGETHER:,} records/s in a batch, {what}", f"{one.rate:,.0f}",
             one.rate >= TOGETHER)
            for what, one in (("Kafka to Kafka", batches.topic), ("the lake", batches.lake))
        ),
    ]  # fmt: skip
    for one in found:
        if limit := READABLE.get(one.rate):
            words = f"p95 until a prediction can be read at most {limit} s at {one.rate:,}/s"
            targets.append((words, f"{one.p95:.3f} s", one.p95 <= limit))
    return targets


def section(alone: Inference, found: Sequence[Waited], batches: Batches, beside: bool) -> str:
    """Churn's figures; ``beside`` other load they say so."""
    lines = [
        CHURN,
        "",
        "Made by `python -m bench churn`: from the sending of a customer to the moment when "
        "another client reads the committed prediction; broker, load and reader on the same "
        "cores. Seconds." + (" **Taken beside other load: not to be compared.**" if beside else ""),
        "",
        "| customers/s | predictions | p50 | p95 | worst |",
        "| ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {f.rate:,} | {f.predictions:,} | {f.p50:.3f} | {f.p95:.3f} | {f.worst:.3f} |"
            for f in found
        ),
        "",
        f"One customer, features and model: median {alone.median_ms:.3f} ms, p95 "
        f"{alone.p95_ms:.3f}; 100,000 at once: {alone.records_a_second:,.0f} a second on one core.",
        "",
        *_batch_lines(batches),
    ]
    return "\n".join([*lines, *target_lines(targets(alone, found, batches))]) + "\n"


def _batch_lines(batches: Batches) -> list[str]:
    return [
        f"{batches.topic.records:,} records in a batch, the process's start with it; broker and "
        "scorer on the same two cores:",
        "",
        "| batch | records/s | CPU s | MB |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {what} | {one.rate:,.0f} | {one.run.cpu_seconds:.0f} | {one.run.peak_mb:,.0f} |"
            for what, one in (
                ("Kafka to Kafka: decoded, scored, explained, sent in transactions", batches.topic),
                ("`--lake`: bronze.churn scored into a table", batches.lake),
            )
        ),
        "",
        f"A loop that reads those predictions and writes them again as they are, in transactions "
        f"of as many: {batches.passed_on:,.0f} records/s.",
    ]
