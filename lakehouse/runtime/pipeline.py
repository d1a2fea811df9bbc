"""One product's bronze and its followers in one process: what happens after a batch lands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from duckdb import DuckDBPyConnection

from lakehouse.ingest.landing import BronzePublisher, Landed
from lakehouse.ingest.ledger import Ledger
from lakehouse.ingest.replay import finish
from lakehouse.model.flow import BronzeFlow, FollowerFlow, SilverFlow
from lakehouse.settings.settings import Settings
from lakehouse.silver.publisher import SilverPublisher
from lakehouse.sinks.parquet import ParquetPublisher
from lakehouse.storage.follower import Follower

log = structlog.get_logger("lakehouse")


def follow(f: FollowerFlow, settings: Settings, connection: DuckDBPyConnection) -> Follower:
    """The follower that keeps this flow's tables up to date."""
    if isinstance(f, SilverFlow):
        return SilverPublisher.open(f, settings, connection)
    return ParquetPublisher.open(f, settings, connection)


@dataclass(frozen=True)
class Landing:
    """Bronze, its ledger and its followers; used by one thread at a time."""

    bronze: BronzePublisher
    ledger: Ledger
    followers: Sequence[Follower]

    @classmethod
    def open(
        cls,
        f: BronzeFlow,
        followers: Sequence[FollowerFlow],
        settings: Settings,
        connection: DuckDBPyConnection,
    ) -> Landing:
        """Open the tables, complete a replay that a crash cut short, catch each follower up.

        Products land in parallel, each with its own connection to the same DuckDB database.
        """
        own = connection.cursor()
        bronze = BronzePublisher.open(f.contract, settings, None, own)
        if replayed := finish(bronze, datetime.now(UTC)):
            log.warning("a replay that was cut is completed", rows=replayed.rows, flow=f.name)
        ledger = Ledger.at_bronze(f.product, settings, own)
        publishers = [follow(follower, settings, own) for follower in followers]
        for publisher in publishers:
            publisher.catch_up()
        return cls(bronze, ledger, publishers)

    def take(self, batch: Landed) -> None:
        """Bring the followers up to the batch that bronze has committed; then do upkeep."""
        for follower in self.followers:
            follower.take(batch.version, batch.rows)
            follower.maintain()
        self.ledger.take_batch(batch)
        self.ledger.maintain()
        self.bronze.maintain(datetime.now(UTC))

    def publish_waiting(self) -> None:
        """Publish the tables whose turn has come although no batch arrived."""
        for follower in self.followers:
            follower.maintain()

    def persist(self) -> None:
        """Write to the tables what is still in memory of the applied batches."""
        self.bronze.persist()
        for publisher in (self.ledger, *self.followers):
            publisher.persist()
