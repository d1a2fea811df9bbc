"""Activity by hand, and a lake that it lands in, without Spark."""

import json

from lakehouse.audit.compare import compare_all
from lakehouse.audit.declared import declared, recomputes_of
from lakehouse.audit.pins import Snapshots
from lakehouse.model.flow import ParquetFlow, SilverFlow
from lakehouse.products.activity.tables import FLOWS
from lakehouse.products.registry import contract
from tests import conftest
from tests.support.engine import auditing
from tests.support.product_lake import ProductLake

ACTIVITY = contract("activity")
SILVER = next(f for f in FLOWS if isinstance(f, SilverFlow))
PARQUET = next(f for f in FLOWS if isinstance(f, ParquetFlow))
DAY = "2026-11-20"


def did(clock, user="ada", what="page_view", page="/a", **more):
    """A record: what a user did at a time of the day."""
    time = f"{DAY}T{clock}{'' if clock.count(':') == 2 else ':00'}Z"
    event = {"event_time": time, "user_id": user, "page_url": page, "event_type": what, **more}
    return json.dumps(event).encode()


def decoded(values, first=0, partition=0):
    size = len(values)
    return conftest.decoded(
        values, ACTIVITY, keys=[None] * size, headers=[[]] * size, topic="user_activity",
        first=first, partition=partition,
    )  # fmt: skip


class Lake(ProductLake):
    """A lake of activity."""

    def __init__(self, settings, silver=SILVER):
        super().__init__(settings, ACTIVITY, silver, PARQUET)

    def land(self, *values, fold=True):
        """A batch lands; silver follows, unless told not to."""
        landed = self.land_rows(decoded(values, self.next))
        if fold:
            self.silver.catch_up()
        return landed

    def windows(self, table="page_view_counts", more="page_url, views"):
        """Rows of a table of windows, as tuples: start and end by the clock, and so on."""
        self.silver.persist()
        clock = "strftime({} AT TIME ZONE 'UTC', '%H:%M')"
        columns = f"{clock.format('window_start')} AS s, {clock.format('window_end')} AS e, {more}"
        found = self.rows(f"silver.activity_{table}", f"{columns}, is_final")
        return [tuple(row.values()) for row in found]

    def sessions(self):
        """Rows of the sessions, as tuples: user, start and end by the clock, and so on."""
        self.silver.persist()
        clock = "strftime({} AT TIME ZONE 'UTC', '%H:%M:%S')"
        columns = f"{clock.format('session_start')} AS s, {clock.format('session_end')} AS e"
        found = self.rows(
            "silver.activity_user_sessions",
            f"user_id, {columns}, CAST(duration_seconds AS DOUBLE) AS d, pages, clicks, ended, "
            "is_final",
        )
        return [tuple(row.values()) for row in found]

    def audited(self):
        """What the audit finds wrong, by the product's own recompute and by its declarations."""
        self.silver.persist()
        wrong, ways = [], {}
        with auditing(self.settings) as connection:
            snapshots = Snapshots(self.settings.lake.root, connection)
            bronze = snapshots.pin("bronze", "bronze.activity")
            for found in (recomputes_of("activity"), declared(ACTIVITY, [self.flow])):
                compared = compare_all(snapshots, "activity", found, bronze, lambda _: None)
                mine = [c for c in compared if c.table in self.flow.tables]
                wrong += [c for c in mine if c.differing or c.fault or c.doubt]
                ways[found.is_declared] = {c.table for c in mine}
        assert ways[True] == {*self.flow.tables}
        assert ways[False] == ways[True] or self.flow is not SILVER
        return wrong
