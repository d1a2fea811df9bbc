"""``python -m tests.matrix``: break it in every way that is listed, and see what is left.

python -m tests.matrix                              # every row once
python -m tests.matrix --only bronze-committed --seed 7 --tries 5
python -m tests.matrix --list
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lakehouse.core.errors import Exit
from tests.matrix.broker import running
from tests.matrix.rows import ROWS, Outcome, attempt

NARRATION = Console(stderr=True)
SEED = 20261121
LIMIT_SECONDS = 60.0
"""A recovery that takes longer is a fault."""


def say(text: str) -> None:
    """Narration, on stderr."""
    NARRATION.print(text, markup=False, highlight=False, soft_wrap=True)


def main(
    only: Annotated[list[str] | None, typer.Option(help="a row's name; may be repeated")] = None,
    seed: Annotated[int, typer.Option(min=0, help="the same seed draws the same moments")] = SEED,
    tries: Annotated[int, typer.Option(min=1, help="of each row")] = 1,
    list_: Annotated[bool, typer.Option("--list", help="name the rows and end")] = False,
) -> None:
    """Every row against a real broker, producer and driver. Exit 1 where one does not hold."""
    if list_:
        for row in ROWS:
            sys.stdout.write(f"{row.name:<32} {row.fault}\n")
        raise SystemExit(Exit.OK)
    known = [row.name for row in ROWS]
    if unknown := [name for name in only or [] if name not in known]:
        raise typer.BadParameter(
            f"no row {', '.join(unknown)}; --list names them", param_hint="--only"
        )
    chosen = [row for row in ROWS if not only or row.name in only]
    say(f"seed {seed}, {len(chosen)} rows, {tries} tries each")
    found: dict[str, list[Outcome]] = {}
    folder = Path(tempfile.mkdtemp(prefix="matrix-"))
    with running(folder / "broker") as broker:
        for number, row in enumerate(chosen, 1):
            found[row.name] = []
            for again in range(1, tries + 1):
                started = time.monotonic()
                outcome = attempt(row, again, seed, broker, folder)
                found[row.name].append(outcome)
                took = time.monotonic() - started
                say(f"[{number}/{len(chosen)}] {row.name} {words(outcome)} ({took:.0f} s)")
    bad = [row.name for row in chosen if any(faults(o) for o in found[row.name])]
    say(f"{', '.join(bad)}: not held; files in {folder}" if bad else "all held")
    raise SystemExit(Exit.FAULT if bad else Exit.OK)


def faults(outcome: Outcome) -> list[str]:
    """What did not hold."""
    slow = [s for s in outcome.seconds if s > LIMIT_SECONDS]
    return [
        *outcome.wrong,
        *([f"lost {outcome.lost}"] if outcome.lost else []),
        *([f"doubled {outcome.doubled}"] if outcome.doubled else []),
        *[f"{s:.0f} s to recover" for s in slow],
    ]


def words(outcome: Outcome) -> str:
    """An outcome in a line."""
    if outcome.skipped:
        return f"SKIPPED: {outcome.skipped}"
    seconds = ", ".join(f"{s:.1f}" for s in outcome.seconds)
    ends = f", driver {', '.join(outcome.ends)}" if outcome.ends else ""
    held = "; ".join(faults(outcome)) or "held"
    return f"{outcome.records:,} records, recovered in {seconds} s{ends}: {held}"


if __name__ == "__main__":
    typer.run(main)
