"""One product's bronze and its followers in one process: what happens after a batch lands."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
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
_MOST_BYTES = 256 * 1024 * 1024
"""Bytes of rows that wait at most."""
_LONGEST = 15.0
"""Seconds that a batch waits at most."""
_EXPECTED = 1.0
"""Seconds in which a batch comes while a flow is behind."""


def follow(
    f: FollowerFlow,
    settings: Settings,
    connection: DuckDBPyConnection,
    stop: threading.Event | None = None,
) -> Follower:
    """The follower that keeps this flow's tables up to date; it raises Stopping after ``stop``."""
    kind = SilverPublisher if isinstance(f, SilverFlow) else ParquetPublisher
    follower: Follower = kind.open(f, settings, connection)  # type: ignore[arg-type]  # of its kind
    follower.stop = stop or follower.stop
    return follower


class Waiting:
    """Landed batches that are not folded yet: while a flow is behind, one fold takes several.

    A fold of a million rows costs half as much per row as one of 200,000. The rows are in
    bronze, so after a crash its log has them.
    """

    def __init__(self, most_rows: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_rows, self._clock = most_rows, clock
        self.batches: list[Landed] = []
        self._since = self._last = 0.0

    def add(self, batch: Landed) -> bool:
        """Whether this batch, and those before it, may wait for the next one."""
        self._last = self._clock()
        self._since = self._since if self.batches else self._last
        self.batches.append(batch)
        held = [one.rows for one in self.batches if one.rows is not None]
        has_room = (
            len(held) == len(self.batches)
            and sum(rows.num_rows for rows in held) < self._most_rows
            and sum(rows.nbytes for rows in held) < _MOST_BYTES
        )
        return batch.more and has_room and self._last - self._since < _LONGEST

    def is_due(self) -> bool:
        """Whether the batch that was expected does not come."""
        return bool(self.batches) and self._clock() - self._last >= _EXPECTED

    def taken(self) -> tuple[int, int, pa.Table | None]:
        """The version before the first batch, that of the last, and the rows between them.

        Without rows where they are not all at hand, or where another commit lies between.
        """
        batches, self.batches = self.batches, []
        after, version = batches[0].version - 1, batches[-1].version
        rows = [one.rows for one in batches if one.rows is not None]
        if len(rows) < len(batches) or version - after != len(batches):
            return after, version, None
        return after, version, pa.concat_tables(rows)


@dataclass(frozen=True)
class Landing:
    """Bronze, its ledger and its followers; used by one thread at a time."""

    bronze: BronzePublisher
    ledger: Ledger
    followers: Sequence[Follower]
    waiting: Waiting

    @classmethod
    def open(
        cls,
        f: BronzeFlow,
        followers: Sequence[FollowerFlow],
        settings: Settings,
        connection: DuckDBPyConnection,
        stop: threading.Event | None = None,
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
        publishers = [follow(follower, settings, own, stop) for follower in followers]
        for publisher in publishers:
            publisher.catch_up()
        return cls(bronze, ledger, publishers, Waiting(settings.silver.max_rows_per_fold))

    def take(self, batch: Landed) -> None:
        """Bring the followers up to the batch that bronze has committed; then do upkeep.

        While the flow is behind they take several batches at once.
        """
        if not self.waiting.add(batch):
            self._follow()
        self.ledger.take_batch(batch)
        self.ledger.maintain()
        self.bronze.maintain(datetime.now(UTC))

    def publish_waiting(self) -> None:
        """Publish the tables whose turn has come although no batch arrived."""
        if self.waiting.is_due():
            self._follow()
        for follower in self.followers:
            follower.maintain()

    def persist(self) -> None:
        """Write to the tables what is still in memory of the landed batches."""
        self._follow()
        self.bronze.persist()
        for publisher in (self.ledger, *self.followers):
            publisher.persist()

    def _follow(self) -> None:
        """Bring the followers up to the batches that wait."""
        if not self.waiting.batches:
            return
        after, version, rows = self.waiting.taken()
        for follower in self.followers:
            follower.take(after, version, rows)
            follower.maintain()
