"""The rows of the matrix, and how one try of a row is made."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lakehouse.core.failpoint import Step
from tests.matrix.broker import Broker
from tests.matrix.check import check
from tests.matrix.faults import Act, killed_at, killed_at_random
from tests.matrix.stage import Failed, Skipped, Stage

SPARK = {"LAKEHOUSE_PUBLISH_WRITER": "spark"}


@dataclass(frozen=True)
class Row:
    """A fault: its name for ``--only``, what it is, and what does it."""

    name: str
    fault: str
    act: Act
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What one try showed. ``wrong`` is empty where all of it held."""

    seconds: Sequence[float] = ()
    records: int = 0
    lost: int = 0
    doubled: int = 0
    ends: Sequence[str] = ()
    wrong: Sequence[str] = ()
    skipped: str = ""


def attempt(row: Row, number: int, seed: int, broker: Broker, folder: Path) -> Outcome:
    """One try of a row; its folder stays where something was wrong."""
    name = f"{row.name.replace('/', '-')}-{number}"
    with Stage(broker, folder / name, name, f"{seed} {row.name} {number}", row.settings) as stage:
        try:
            row.act(stage)
            stage.finish()
        except Skipped as reason:
            return Outcome(skipped=str(reason))
        except Failed as failure:
            return Outcome(stage.seconds, ends=stage.ends, wrong=[str(failure)])
        found = check(stage)
    if not (found.lost or found.doubled or found.wrong):
        shutil.rmtree(stage.folder)
    return Outcome(stage.seconds, found.records, found.lost, found.doubled, stage.ends, found.wrong)


def _steps() -> Iterator[Row]:
    """kill -9 at each step of a batch, by either writer where both have it."""
    both = {
        Step.OFFSETS_PLANNED: ("a batch is planned", range(1, 6)),
        Step.QUARANTINE_COMMITTED: ("after quarantine's commit, before bronze's", range(1, 4)),
        Step.BRONZE_FILES: ("bronze's Parquet half written", range(1, 5)),
        Step.BRONZE_COMMITTED: ("after bronze's commit, before silver", range(1, 5)),
    }
    for step, (what, comings) in both.items():
        for writer, settings in (("", {}), ("/spark", SPARK)):
            by = ", Spark's writer" if writer else ""
            yield Row(f"{step}{writer}", f"kill -9: {what}{by}", killed_at(step, comings), settings)


ROWS = [
    *_steps(),
    Row("random", "kill -9 three times, at random times", killed_at_random),
]
