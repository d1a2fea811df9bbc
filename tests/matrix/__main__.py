"""``python -m tests.matrix``: break it in every way that is listed, and see what is left.

python -m tests.matrix                                     # all; writes docs/reliability.md
python -m tests.matrix --only bronze-files --tries 5
python -m tests.matrix --product orders --list
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lakehouse.core.errors import Exit
from lakehouse.model.product import Product
from lakehouse.products.registry import product as known_product
from tests.matrix.broker import running
from tests.matrix.report import PATH, markdown
from tests.matrix.row import Outcome, Row
from tests.matrix.rows import attempt, rows_of
from tests.matrix.stage import MAIN

NARRATION = Console(stderr=True)
SEED = 20261121


def say(text: str) -> None:
    """Narration, on stderr."""
    NARRATION.print(text, markup=False, highlight=False, soft_wrap=True)


def main(
    product: Annotated[str, typer.Option(help="whose rows")] = MAIN.name,
    only: Annotated[list[str] | None, typer.Option(help="a row's name; may be repeated")] = None,
    seed: Annotated[int, typer.Option(min=0, help="the same seed draws the same moments")] = SEED,
    tries: Annotated[int, typer.Option(min=1, help="of each row")] = 1,
    names: Annotated[bool, typer.Option("--list", help="name the rows and end")] = False,
) -> None:
    """Every row against a real broker, producer and driver; then docs/reliability.md.

    With --only, or another product, the document stays as it is. Exit 1 where a row does not hold.
    """
    whose = known_product(product)
    rows = rows_of(whose)
    if names:
        for row in rows:
            sys.stdout.write(f"{row.name:<30} {row.fault}\n")
        raise SystemExit(Exit.OK)
    unknown = {*(only or [])} - {row.name for row in rows}
    if unknown:
        raise typer.BadParameter(f"no row {', '.join(sorted(unknown))}: --list names them")
    chosen = [row for row in rows if not only or row.name in only]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(Exit.INTERRUPTED))  # ends what it started
    folder = Path(tempfile.mkdtemp(prefix="matrix-"))
    folder.chmod(0o711)  # root's database runs as another user
    found = matrix(whose, chosen, seed, tries, folder)
    bad = [row.name for row, outcomes in found if any(o.faults for o in outcomes)]
    if not only and whose is MAIN:
        PATH.write_text(markdown(found, seed, datetime.now(UTC).date()), "utf-8")
        say(f"written: docs/{PATH.name}")
    if bad:
        say(f"NOT HELD: {', '.join(bad)}; their files are in {folder}")
        raise SystemExit(Exit.FAULT)
    shutil.rmtree(folder)
    say("all held")


def matrix(
    product: Product, rows: list[Row], seed: int, tries: int, folder: Path
) -> list[tuple[Row, list[Outcome]]]:
    """Every try of these rows on one broker; told as they end."""
    say(f"seed {seed}: {len(rows)} rows, tries of each: {tries}")
    found: list[tuple[Row, list[Outcome]]] = []
    with running(folder / "broker") as broker:
        for number, row in enumerate(rows, 1):
            outcomes = []
            for again in range(1, tries + 1):
                started = time.monotonic()
                outcomes.append(attempt(product, row, again, seed, broker, folder))
                took = time.monotonic() - started
                say(f"[{number}/{len(rows)}] {row.name}: {words(outcomes[-1])} ({took:.0f} s)")
            found.append((row, outcomes))
    return found


def words(outcome: Outcome) -> str:
    """An outcome in a line."""
    if outcome.skipped:
        return f"SKIPPED: {outcome.skipped}"
    seconds = ", ".join(f"{s:.1f}" for s in outcome.seconds)
    ends = f", driver: {', '.join(outcome.ends) or 'went on'}"
    held = f"NOT HELD: {'; '.join(outcome.faults)}" if outcome.faults else "held"
    return f"{held}; {outcome.records:,} records, recovered in {seconds} s{ends}"


if __name__ == "__main__":
    typer.run(main)
