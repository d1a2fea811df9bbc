"""One product's bronze and its followers in one process: what happens after a batch lands."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from duckdb import DuckDBPyConnection

from lakehouse.core.ending import end_each
from lakehouse.ingest.landing import BronzePublisher, Landed
from lakehouse.ingest.ledger import Ledger
from lakehouse.ingest.replay import finish
from lakehouse.model.flow import BronzeFlow, FollowerFlow, SilverFlow
from lakehouse.runtime.following import Following
from lakehouse.settings.settings import Settings
from lakehouse.silver.handed import Handed
from lakehouse.silver.publisher import SilverPublisher
from lakehouse.sinks.parquet import ParquetPublisher
from lakehouse.storage.follower import Follower

log = structlog.get_logger("lakehouse")


def follow(
    f: FollowerFlow,
    settings: Settings,
    connection: DuckDBPyConnection,
    stop: threading.Event | None = None,
    handed: Handed | None = None,
) -> Follower:
    """The follower that keeps this flow's tables up to date; it raises Stopping after ``stop``.

    Silver hands to sinks what it has folded by ``handed``.
    """
    follower: Follower
    if isinstance(f, SilverFlow):
        follower = silver = SilverPublisher.open(f, settings, connection)
        silver.handed = handed or silver.handed
    else:
        follower = ParquetPublisher.open(f, settings, connection)
    follower.stop = stop or follower.stop
    return follower


@dataclass(frozen=True)
class Landing:
    """Bronze, its ledger and its followers; used by one thread at a time."""

    bronze: BronzePublisher
    ledger: Ledger
    following: Following

    @classmethod
    def open(
        cls,
        f: BronzeFlow,
        followers: Sequence[FollowerFlow],
        settings: Settings,
        connection: DuckDBPyConnection,
        stop: threading.Event | None = None,
        handed: Handed | None = None,
    ) -> Landing:
        """Open the tables, complete a replay that a crash cut short, catch each follower up.

        A ``stop`` while they catch up raises Stopping.
        Products land in parallel, each with its own connection to the same DuckDB database.
        """
        own = connection.cursor()
        bronze = BronzePublisher.open(f.contract, settings, None, own)
        if replayed := finish(bronze, datetime.now(UTC)):
            log.warning("a replay that was cut is completed", rows=replayed.rows, flow=f.name)
        ledger = Ledger.at_bronze(f.product, settings, own)
        publishers = [follow(f, settings, connection.cursor(), stop, handed) for f in followers]
        for publisher in publishers:
            publisher.catch_up()
        most = settings.silver.max_rows_per_fold
        most = min((one.most_rows or most for one in publishers), default=most)
        return cls(bronze, ledger, Following(publishers, most))

    def take(self, batch: Landed) -> None:
        """Hand a batch that bronze has committed to the followers; do upkeep meanwhile."""
        self.following.take(batch)
        self.ledger.take_batch(batch)
        self.ledger.maintain()
        self.bronze.maintain(datetime.now(UTC))
        self.following.give_way(batch)

    def publish_waiting(self) -> None:
        """Write the tables whose turn has come although no batch arrived."""
        self.following.rest()
        self.ledger.maintain()

    def persist(self) -> None:
        """Write to the tables what is still in memory of the landed batches."""
        end_each([self.bronze.persist, self.ledger.persist, self.following.persist])
