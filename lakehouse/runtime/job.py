"""Main function of the spark-submit entry points: settings, signals, exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from lakehouse.core.errors import LakehouseError, UsageError
from lakehouse.core.exposition import metric_routes
from lakehouse.core.files import make_for
from lakehouse.core.logging import configure_logging
from lakehouse.core.paths import check_root
from lakehouse.core.serving import health_routes, served
from lakehouse.core.signals import stop_on_signals
from lakehouse.model.flow import BronzeFlow
from lakehouse.model.sink import KafkaSink, PostgresSink
from lakehouse.products.registry import load_settings
from lakehouse.runtime.driver import flow, run, say_stopping
from lakehouse.runtime.jvm_end import before_the_jvm
from lakehouse.runtime.session import session

LAST_SECONDS = 30
"""What an end takes besides the batch in hand."""


def main(flows: Sequence[str], arguments: Sequence[str]) -> None:
    """Run flows under spark-submit until SIGTERM, or with ``--available-now`` until up to date.

    SIGTERM to spark-submit, or to this process, finishes the batch in hand: exit 0.

    Settings come from config.ini (LAKEHOUSE_CONFIG, or the working folder) and the
    environment; master, memory and jars from spark-submit.
    """
    try:
        unknown = set(arguments) - {"--available-now"}
        if unknown:
            raise UsageError(
                "arguments",
                f"{', '.join(sorted(unknown))} not known",
                "give --available-now or none",
            )
        settings = load_settings(
            Path(os.environ["LAKEHOUSE_CONFIG"]) if "LAKEHOUSE_CONFIG" in os.environ else None
        )
        check_root(settings.lake.root)
        make_for(settings.lake.access)
        configure_logging(settings.logging.format, settings.logging.level)
        chosen = [flow(name) for name in flows]
        needs = any(isinstance(f, BronzeFlow | KafkaSink) for f in chosen)
        if not settings.kafka.bootstrap_servers and needs:
            raise UsageError(
                "[kafka] bootstrap_servers",
                "is empty, and a deployed job starts no broker",
                "set it in config.ini or by LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS",
            )
        if not settings.postgres.url and any(isinstance(f, PostgresSink) for f in chosen):
            raise UsageError(
                "[postgres] url",
                "is empty, and a deployed job starts no Postgres",
                "set it in config.ini or by LAKEHOUSE_POSTGRES_URL",
            )
    except LakehouseError as error:
        raise _ended(error) from None
    longest = settings.stream.stop_timeout.total_seconds() + LAST_SECONDS
    with (
        stop_on_signals(say_stopping) as stop,
        before_the_jvm(stop, longest, say_stopping),
    ):
        try:
            with _numbers(settings.metrics.port):
                run(
                    chosen,
                    settings,
                    lambda: session(settings, "+".join(flows)),
                    available_now="--available-now" in arguments,
                    stop=stop,
                )
        except LakehouseError as error:
            raise _ended(error) from None


def _numbers(port: int) -> AbstractContextManager[object]:
    """Serve what this process counts, and its health, where a port is given."""
    return served(port, {**health_routes(), **metric_routes()}) if port else nullcontext()


def _ended(error: LakehouseError) -> SystemExit:
    """The end of a job with this error, which is said now: its JVM passes it on."""
    sys.stderr.write(f"{error}\n")
    sys.stderr.flush()
    return SystemExit(error.exit_code)
