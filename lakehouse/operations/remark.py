"""``lakehouse remark``: rows of bronze that are marked late or copies wrongly are marked again.

Only those rows are written again, a part at a time, each part in a commit of its own
whose metadata says ``remark`` and carries bronze's state on. A commit sets marks to
what the rule gives and nothing else, so after a crash between two parts the next run
finds the rows that are left, and a run that finds none changes nothing. Followers see
that rows were replaced and fold bronze again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from duckdb import DuckDBPyConnection

from lakehouse.audit.flags import right_marks
from lakehouse.audit.pins import Snapshots, engine
from lakehouse.core import failpoint
from lakehouse.core.failpoint import Step
from lakehouse.core.lock import write_locks
from lakehouse.core.paths import Lake
from lakehouse.core.progress import advance
from lakehouse.core.sql import text
from lakehouse.core.text import Say
from lakehouse.ingest.ends import Rule
from lakehouse.ingest.landing import BronzePublisher
from lakehouse.ingest.ledger import Ledger
from lakehouse.ingest.replay import finish
from lakehouse.model.flow import BronzeFlow, FollowerFlow
from lakehouse.operations.in_memory import in_memory
from lakehouse.operations.rebuild import must_be_whole
from lakehouse.operations.replay_quarantine import writer
from lakehouse.products.registry import contract, flows
from lakehouse.runtime.driver import has_run
from lakehouse.runtime.pipeline import follow
from lakehouse.settings.settings import Settings
from lakehouse.storage.duck import connect

KEYS = ("topic", "partition", "offset", "batch_id")
"""An address may come again in a topic recreated: the batch tells the records apart."""
MOST = 100_000
"""Rows that one commit marks again."""


@dataclass(frozen=True)
class Remarked:
    """How many rows had a wrong mark of each kind; bronze's version after it."""

    product: str
    late: int
    duplicates: int
    bronze_version: int


@in_memory
def remark(product: str, settings: Settings, now: datetime, say: Say) -> Remarked:
    """Mark bronze's late and doubled rows by the rule, then bring what follows it up to date.

    Each batch is marked by the horizon that it recorded. Raises TableLocked while a flow
    writes bronze or what follows it, TableDamaged where bronze's fingerprints fail.
    """
    lake = Lake(settings.lake.root)
    every = [f for f in flows() if isinstance(f, FollowerFlow) and f.product == product]
    names = [t for f in (BronzeFlow(contract(product)), *every) for t in f.tables]
    with (
        write_locks(lake.locks, names, f"{product} remark", settings.publish.lock_timeout),
        connect(settings) as connection,
    ):
        publisher = writer(product, settings, connection)
        finish(publisher, now)
        wrong = _wrong(publisher, settings)
        say(f"bronze.{product}: {wrong.num_rows:,} rows are marked wrongly")
        _mark(publisher, wrong)
        if wrong.num_rows:
            followers = [f for f in every if has_run(f, lake)]
            _catch_up(product, followers, settings, connection, say)
    late, duplicates = (
        pc.sum(wrong[f"{mark}_was_wrong"]).as_py() or 0 for mark in ("late", "duplicate")
    )
    return Remarked(product, late, duplicates, publisher.bronze.version)


def _wrong(publisher: BronzePublisher, settings: Settings) -> pa.Table:
    with engine(settings) as connection:
        snapshots = Snapshots(settings.lake.root, connection)
        name = f"bronze.{publisher.contract.name}"
        must_be_whole(snapshots, name, "remark")
        snapshots.pin("bronze", name)
        return right_marks(connection, _rules(publisher))


def _rules(publisher: BronzePublisher) -> tuple[Rule, ...]:
    return publisher.position.ends.rules_of_all(publisher.copies.slots.within)


def _mark(publisher: BronzePublisher, wrong: pa.Table) -> None:
    """Commit the marks; the last commit records by which rule all batches are marked now."""
    done = 0
    for part, where in _parts(wrong):
        done += part.num_rows
        if done == wrong.num_rows:
            publisher.position.ends = replace(publisher.position.ends, rules=_rules(publisher))
        note = {
            "flow": f"{publisher.contract.name}.bronze",
            "ends": publisher.position.ends.note(),
            "remark": {"rows": part.num_rows, "done": done, "of": wrong.num_rows},
        }
        marks = part.select([*KEYS, "is_late", "is_duplicate"])
        publisher.bronze.mark(marks, KEYS, where, note)
        failpoint.reach(Step.REMARKED)
        advance("marking again", done, wrong.num_rows)


def _parts(wrong: pa.Table) -> Iterator[tuple[pa.Table, str]]:
    """Rows of few dates each, and SQL that holds for no file of another date."""
    for start in range(0, wrong.num_rows, MOST):
        part = wrong.slice(start, MOST)
        dates = ", ".join(text(str(date)) for date in pc.unique(part["event_date"]).to_pylist())
        yield part, f"t.event_date IN ({dates})"


def _catch_up(
    product: str,
    followers: list[FollowerFlow],
    settings: Settings,
    connection: DuckDBPyConnection,
    say: Say,
) -> None:
    Ledger.at_bronze(product, settings, connection).persist()
    for f in followers:
        say(f"folding bronze again: {f.name}")
        follower = follow(f, settings, connection.cursor())
        follower.catch_up()
        follower.persist()
