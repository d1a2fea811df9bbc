"""This lakehouse: the flows that are named, until the topic is taken in."""

from __future__ import annotations

import json
import os
import sys
import time

from pyspark.sql import SparkSession

from lakehouse.cli.start import engine
from lakehouse.core.logging import configure_logging
from lakehouse.ingest.landing import Landed
from lakehouse.products.registry import load_settings
from lakehouse.runtime.driver import flow, run
from lakehouse.runtime.session import session


def main(names: list[str]) -> None:
    """Print {rows, seconds}: from Spark's being ready to the last commit."""
    settings = load_settings(None)
    configure_logging(settings.logging.format, settings.logging.level)
    ready = rows = 0.0

    def started() -> SparkSession:
        nonlocal ready
        spark = session(settings, "bench", engine(lambda _: None))
        ready = time.perf_counter()
        return spark

    def landed(batch: Landed) -> None:
        nonlocal rows
        rows += batch.good + batch.bad

    run([flow(n) for n in names], settings, started, available_now=True, on_landed=landed)
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - ready}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
