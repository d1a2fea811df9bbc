"""docs/reliability.md, from what the matrix showed."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median

import psutil

from lakehouse.services.jars import default_cache, kafka_jars
from lakehouse.services.java import find_java
from tests.matrix.row import LIMIT_SECONDS, Outcome, Row

PATH = Path(__file__).parents[2] / "docs" / "reliability.md"
Tried = Sequence[tuple[Row, Sequence[Outcome]]]
PACKAGES = ("pyspark", "delta-spark", "deltalake", "duckdb", "kafka-python")


def markdown(found: Tried, seed: int, on: date) -> str:
    """The whole document."""
    tries = sum(not o.skipped for _, outcomes in found for o in outcomes)
    records = sum(o.records for _, outcomes in found for o in outcomes)
    memory = psutil.virtual_memory().total / 1e9
    return "\n".join(
        [
            "# Reliability",
            "",
            f"Made by `make crash-matrix` on {on:%Y-%m-%d}: {tries} tries with {records:,} "
            f"records, seed {seed}. Here: {psutil.cpu_count()} cores, "
            f"{memory:.0f} GB, Python {platform.python_version()}, {_versions()}.",
            "",
            "Each try has a topic and a lake of its own; a real producer, broker and "
            "`lakehouse run sales.bronze sales.silver` are processes of their own, and events go "
            "on coming while they are killed. Nothing is mended by hand: a driver that has ended "
            "is started again, and that is all. Afterwards Kafka is read by a consumer of its "
            "own, and every record must be in bronze or in quarantine, once, with its own event "
            "id or its own bytes; silver must be what the records' JSON adds up to; and "
            "`lakehouse audit` must end with PROVEN.",
            "",
            "*Lost* and *doubled* are addresses. *Seconds* run from the moment that the driver is "
            "started again (or that the fault is over, where it went on) until silver holds all "
            "that Kafka held at that moment; a start of Spark takes most of them. More than "
            f"{LIMIT_SECONDS:.0f} does not hold. *Driver*: it was killed, it went on, or it "
            "ended by itself with this exit code and a remedy. Unless the row says otherwise, "
            "delta-rs commits bronze.",
            "",
            "| row | fault | tries | lost | doubled | seconds, median | worst | driver | holds |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- |",
            *(_line(row, outcomes) for row, outcomes in found),
            "",
            "One row again: `python -m tests.matrix --only bronze-files "
            f"--seed {seed} --tries 5`; the seed draws the moments, `--list` names the rows. "
            "Steps are those of `lakehouse/core/failpoint.py`.",
            "",
        ]
    )


def _line(row: Row, outcomes: Sequence[Outcome]) -> str:
    tried = [o for o in outcomes if not o.skipped]
    if not tried:
        return f"| {row.name} | {row.fault} | 0 | | | | | | not tried: {outcomes[0].skipped} |"
    seconds = [s for o in tried for s in o.seconds]
    middle, worst = (f"{f(seconds):.1f}" if seconds else "" for f in (median, max))
    driver = ", ".join(sorted({end for o in tried for end in o.ends})) or "went on"
    faults = [fault for o in tried for fault in o.faults]
    holds = "yes" if not faults else f"no: {faults[0]}".replace("|", "\\|")
    return (
        f"| {row.name} | {row.fault} | {len(tried)} | {sum(o.lost for o in tried)} | "
        f"{sum(o.doubled for o in tried)} | {middle} | {worst} | {driver} | {holds} |"
    )


def _versions() -> str:
    cache = default_cache()
    java = find_java(cache)
    jars = kafka_jars(cache, java, lambda _: None)
    broker = next(j.stem.rpartition("-")[2] for j in jars if j.name.startswith("kafka_2."))
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"Java {java.version}, Kafka {broker}, {packages}"
