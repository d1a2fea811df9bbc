"""The quarantine's replay: records that keep today's contract enter bronze, once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.core.errors import TableDamaged
from lakehouse.core.lock import write_locks
from lakehouse.core.paths import Lake
from lakehouse.core.progress import Counted
from lakehouse.ingest.landing import BronzePublisher
from lakehouse.ingest.replay import enter, finish
from lakehouse.model.flow import BronzeFlow
from lakehouse.operations.in_memory import in_memory
from lakehouse.operations.quarantine import Choice, opened
from lakehouse.products.registry import contract
from lakehouse.settings.settings import Settings
from lakehouse.storage.duck import connect


@dataclass
class Replayed:
    """What a replay did, or with ``dry_run`` what it would do."""

    product: str
    dry_run: bool
    asked: int = 0
    """Quarantined records that were meant."""
    entered: int = 0
    """Records that pass today's contract and are now, or would be, in bronze."""
    refused: int = 0
    """Records that break today's contract too."""
    held: int = 0
    """Records that bronze had already: only marked."""
    waiting: int = 0
    """Records above bronze's ends: the flow takes their batch first."""
    completed: int = 0
    """Records of an earlier replay that was cut, entered now."""
    late: int = 0
    duplicates: int = 0
    bronze_version: int = -1
    changes: list[dict[str, Any]] = field(default_factory=list)
    """Kind of verdict then, kind now, records."""


def dry_run(product: str, settings: Settings, choice: Choice) -> Replayed:
    """What a replay would do; nothing is written and no lock is taken."""
    with opened(product, settings) as quarantine:
        judged = quarantine.judge(choice)
        passes = judged.filter(judged["passes"]).num_rows
        return Replayed(
            product, dry_run=True, asked=judged.num_rows, entered=passes,
            refused=judged.num_rows - passes, bronze_version=quarantine.bronze_version,
            changes=quarantine.changes(judged),
        )  # fmt: skip


@in_memory
def replay(product: str, settings: Settings, choice: Choice, now: datetime) -> Replayed:
    """Enter what passes into bronze and mark it, part by part, under the writer's locks.

    Each part is its own pair of commits (see :mod:`lakehouse.ingest.replay`): after a
    crash the next replay completes the part that was cut, and goes on. Raises
    TableLocked while a flow writes the tables.
    """
    tables = BronzeFlow(contract(product)).tables
    locks = Lake(settings.lake.root).locks
    holder = f"{product} replay"
    with (
        write_locks(locks, tables, holder, settings.publish.lock_timeout),
        connect(settings) as connection,
    ):
        publisher = writer(product, settings, connection)
        done = Replayed(product, dry_run=False)
        if cut := finish(publisher, now):
            done.completed = cut.rows
        with opened(product, settings) as quarantine:
            judged = quarantine.judge(choice)
            done.asked = judged.num_rows
            done.refused = judged.num_rows - judged.filter(judged["passes"]).num_rows
            done.changes = quarantine.changes(judged)
            passing = judged.num_rows - done.refused
            entering = Counted(f"replaying {product}", passing, "records")
            for part in quarantine.passing(judged):
                _enter(publisher, part, now, done)
                entering.add(part.num_rows)
        done.bronze_version = publisher.bronze.version
    return done


def writer(product: str, settings: Settings, connection: Any) -> BronzePublisher:
    """Bronze and quarantine for writing, at the topic that bronze says it holds."""
    with opened(product, settings) as quarantine:
        topic_id = quarantine.topic_id
    if topic_id is None:
        raise TableDamaged(
            f"bronze.{product}",
            "no commit in its log says how far it holds its topic",
            f"run {product}.bronze until it lands a batch, then replay",
        )
    return BronzePublisher.open(contract(product), settings, topic_id, connection)


def _enter(publisher: BronzePublisher, part: pa.Table, now: datetime, done: Replayed) -> None:
    above = publisher.position.above(part)
    ready = part.filter(pc.invert(above))
    done.waiting += part.num_rows - ready.num_rows
    if not ready.num_rows:
        return
    entered = enter(publisher, ready, now)
    done.entered += entered.rows
    done.held += entered.held
    done.late += entered.late
    done.duplicates += entered.duplicates
