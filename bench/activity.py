"""Activity with all of its sinks: from Kafka's time to the row in Postgres, and a drain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.freshness import Watch
from bench.process import Run, python, run
from lakehouse.products.activity.tables import FLOWS
from lakehouse.services.postgres import EmbeddedPostgres
from producers.activity.visits import THINKS

NAMES = tuple(flow.name for flow in FLOWS)
IN_POSTGRES = Watch(NAMES, ("bench.peers.watch_postgres",), "bench.peers.visits", "bronze.activity")
_LONGEST = 1_800


@contextmanager
def database(home: Path, say: Callable[[str], None]) -> Iterator[dict[str, str]]:
    """A Postgres of its own; the environment that names it."""
    with EmbeddedPostgres.start(home, say=say) as postgres:
        yield {"LAKEHOUSE_POSTGRES_URL": postgres.url}


def crowd(rate: int) -> dict[str, str]:
    """The environment with enough users for a rate: twice those who are there at once."""
    return {"LAKEHOUSE_ACTIVITY_USERS": str(round(2 * rate * THINKS))}


def topics_of(part: str) -> dict[str, str]:
    """The environment that gives a part of the benchmark topics of its own."""
    return {
        "LAKEHOUSE_ACTIVITY_TOPIC": f"activity-{part}",
        "LAKEHOUSE_ACTIVITY_ENRICHED_TOPIC": f"enriched-{part}",
    }


@dataclass(frozen=True)
class Filled:
    """A drain into the lake and every sink: how many records, and the process that did it."""

    records: int
    run: Run

    @property
    def rate(self) -> float:
        """Records a second, the process's start with it."""
        return self.records / self.run.seconds


def drained_into_sinks(root: Path, environment: Mapping[str, str], events: int) -> Filled:
    """Send events of a day, then run every flow and sink until they are up to date."""
    environment = {**environment, "LAKEHOUSE_LAKE_ROOT": str(root)}
    load = python("bench.peers.visits", "0", str(events))
    sent = run(load, environment, _LONGEST).answer["sent"]
    return Filled(int(sent), run(python("bench.peers.flows", *NAMES), environment, _LONGEST))
