"""``python -m tests.fuzz``: records drawn by a seed through the decoder, judged by the oracle.

python -m tests.fuzz --records 3000000             # half sales, half changes of orders
python -m tests.fuzz --seed 7 --first 123 --records 1000
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from typing import Annotated

import typer

from lakehouse.core.errors import Exit
from tests.fuzz.compare import BATCH, PRODUCTS, batch_of, differences

SEED = 20261128
_TOLD = 5


def faults_of(seed: int, number: int) -> tuple[int, list[str]]:
    """The first differences of one batch, whose number alternates between products."""
    product = PRODUCTS[number % len(PRODUCTS)]
    found = differences(product, batch_of(product, seed, number))
    return number, [f"{product.name}: {fault}" for fault in islice(found, _TOLD)]


def main(
    records: Annotated[int, typer.Option(min=1, help="how many, in batches of 1,000")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="the same seed draws the same records")] = SEED,
    first: Annotated[int, typer.Option(min=0, help="number of the first batch")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="processes")] = 2,
) -> None:
    """Compare, and exit 1 with the first differing records where any differ."""
    batches = range(first, first + -(-records // BATCH))
    started, faulty = time.monotonic(), 0
    with ProcessPoolExecutor(workers) as pool:
        for number, faults in pool.map(faults_of, [seed] * len(batches), batches, chunksize=4):
            faulty += bool(faults)
            for fault in faults if faulty <= _TOLD else ():
                sys.stdout.write(f"batch {number}: {fault[:4000]}\n")
    took = time.monotonic() - started
    sys.stderr.write(
        f"seed {seed}: {len(batches) * BATCH:,} records in {took:.0f} s, "
        f"{faulty} batches of {len(batches)} differ\n"
    )
    raise SystemExit(Exit.FAULT if faulty else Exit.OK)


if __name__ == "__main__":
    typer.run(main)
