"""One person's records leave the lake: bronze, silver, quarantine, audits, and their history.

The ledger ``erased.<product>`` is written first: it holds addresses and nothing of
the person, so the audit tells an erased record from a lost one, and no flow lands
it again. Then rows go, silver and Parquet files are rebuilt, and each table keeps its newest
version alone. Every step does nothing where it is done already; the ledger's
newest note says ``begun`` until the last one is, so an erasure that was cut is
completed by asking for it again.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from lakehouse.audit.pins import Snapshots, engine
from lakehouse.core.errors import UsageError
from lakehouse.core.lock import write_locks
from lakehouse.core.paths import UNFINISHED_RESTORE, Lake
from lakehouse.core.sql import identifier, text
from lakehouse.ingest.erased import ERASED_SCHEMA, ErasedLedger
from lakehouse.ingest.landing import BronzePublisher
from lakehouse.ingest.ledger import Ledger
from lakehouse.ingest.replay import finish
from lakehouse.model.flow import BronzeFlow, FollowerFlow
from lakehouse.operations.in_memory import in_memory
from lakehouse.operations.keep import SCHEMA as AUDIT_SCHEMA
from lakehouse.operations.person import Found, find, naming
from lakehouse.operations.replay_quarantine import writer
from lakehouse.products.registry import contract, contracts, flows
from lakehouse.runtime.driver import has_run
from lakehouse.runtime.pipeline import follow
from lakehouse.settings.settings import Settings
from lakehouse.silver.publisher import SilverPublisher
from lakehouse.silver.rebuilt import HALF_MADE
from lakehouse.storage.duck import connect
from lakehouse.storage.table import Table
from lakehouse.storage.upkeep import forget_history

_OUTSIDE = ("_aside", HALF_MADE, "_restore.partial", UNFINISHED_RESTORE)
"""Folders of a lake that hold rows and are no table's."""


@dataclass
class Erased:
    """What one erasure did."""

    product: str
    bronze: int = 0
    quarantine: int = 0
    audits: int = 0
    """Kept audits whose details were removed."""
    addresses: pa.Table = field(default_factory=ERASED_SCHEMA.empty_table)
    """What the ledger holds of this erasure: topic, partition, offset."""


def refuse_set_aside(settings: Settings) -> None:
    """Raise UsageError where `repair` or `restore` left files that may hold records.

    They are no table's any more, and may be all that is left of other records: only a
    person can say that they may go. A ledger of erased addresses names nobody; what is half
    made of silver is made of bronze, and :func:`erase` takes it away.
    """
    lake = Lake(settings.lake.root)
    found = []
    for name in _OUTSIDE:
        for folder in sorted(Path(lake.join(name)).glob("*")):
            files = [path for path in (folder, *folder.rglob("*")) if path.is_file()]
            is_half_made = name == HALF_MADE and folder.name in contracts()
            if files and not is_half_made and not folder.name.startswith("erased."):
                size = sum(path.stat().st_size for path in files)
                found.append(f"{folder}: {len(files):,} files, {size:,} bytes")
    if found:
        raise UsageError(
            f"lake {lake.root}",
            "holds files outside of its tables, which may hold the person's records:"
            + "".join(f"\n  {line}" for line in found),
            "keep what you need of them outside of the lake, remove them here, then erase again",
        )


def is_begun(product: str, settings: Settings) -> bool:
    """Whether an erasure was cut."""
    with engine(settings) as connection:
        snapshots = Snapshots(settings.lake.root, connection)
        name = f"erased.{product}"
        if not snapshots.exists(name):
            return False
        version = int(snapshots.open(name).version())
        return bool((snapshots.note(name, "erase", version) or {}).get("begun"))


@in_memory
def erase(person: str, product: str, settings: Settings, now: datetime) -> Erased:
    """Remove the person's records and all that is made of them, and forget the history.

    Raises TableLocked while anything writes the product's tables, UsageError where
    rows lie outside of the tables: see :func:`refuse_set_aside`.
    """
    lake, every = Lake(settings.lake.root), _followers(product)
    names = [t for f in (BronzeFlow(contract(product)), *every) for t in f.tables]
    names.append(f"audit.{product}")
    holder = f"{product} erase"
    with (
        write_locks(lake.locks, names, holder, settings.publish.lock_timeout),
        connect(settings) as connection,
    ):
        refuse_set_aside(settings)
        shutil.rmtree(lake.join(HALF_MADE, product), ignore_errors=True)
        bronze = writer(product, settings, connection)
        finish(bronze, now)
        found = find(person, product, settings)
        ledger = ErasedLedger(product, settings, connection)
        since = _begin(ledger, found, now)
        in_bronze = found.bronze.num_rows + found.copies.num_rows
        done = Erased(product, in_bronze, found.quarantine.num_rows)
        _remove(bronze, person, found)
        shutil.rmtree(lake.state(f"{product}.bronze"), ignore_errors=True)  # it has their event ids
        note = {"erase": {"records": len(found)}}
        forget_history(bronze.bronze, {**bronze.position.ends_note(), **note})
        forget_history(bronze.quarantine, note)
        tables: list[Table] = []
        followers = [f for f in every if has_run(f, lake)]
        for f in followers:  # at bronze's last version: no older one can be compared with
            follower = follow(f, settings, connection)
            follower.catch_up()
            follower.persist()
            if isinstance(follower, SilverPublisher):
                tables += follower.every_table()
        if DeltaTable.is_deltatable(lake.table(f"ledger.{product}")):
            late = Ledger.at_bronze(product, settings, connection)
            late.persist()
            tables.append(late.table)
        tables += _redact(person, product, settings, done)
        for table in tables:
            forget_history(table, note)
        ended = {"erase": {"since": since.isoformat(), "begun": False}}
        ledger.table.append(ERASED_SCHEMA.empty_table(), ended)
        done.addresses = ledger.since(since)
    return done


def _begin(ledger: ErasedLedger, found: Found, now: datetime) -> datetime:
    """Write down what is about to go; since when this erasure has been at work."""
    before = ledger.table.last_note("erase") or {}
    since = datetime.fromisoformat(before["since"]) if before.get("begun") else now.astimezone(UTC)
    note = {"erase": {"since": since.isoformat(), "begun": True}}
    in_bronze = pa.concat_tables([found.bronze, found.copies])
    ledger.add({"bronze": in_bronze, "quarantine": found.quarantine}, now, note)
    return since


def _remove(publisher: BronzePublisher, person: str, found: Found) -> None:
    """The rows leave bronze and quarantine; each is one commit, or none where none is left."""
    note = {"erase": {"records": len(found)}}
    theirs = f"{identifier(publisher.contract.person)} = {text(person)}"
    if found.copies.num_rows:
        theirs += f" OR {_among(found.copies)}"
    if found.bronze.num_rows:
        publisher.bronze.delete(theirs, note)
    if found.quarantine.num_rows:
        publisher.quarantine.delete(_among(found.quarantine), note)


def _among(addresses: pa.Table) -> str:
    """A predicate that names these addresses."""
    places: dict[tuple[str, int, str], list[str]] = {}
    for row in addresses.to_pylist():
        which = "batch_id " + ("IS NULL" if row["batch_id"] is None else f"= {row['batch_id']}")
        if row["topic_id"] is not None:
            which += f" AND topic_id = {text(row['topic_id'])}"
        place = (row["topic"], row["partition"], which)
        places.setdefault(place, []).append(str(row["offset"]))
    return " OR ".join(
        f'(topic = {text(topic)} AND "partition" = {partition} '
        f'AND {which} AND "offset" IN ({", ".join(offsets)}))'
        for (topic, partition, which), offsets in sorted(places.items())
    )


def _redact(person: str, product: str, settings: Settings, done: Erased) -> list[Table]:
    """Kept audits lose the details that name the person; the table, where there is one."""
    uri = Lake(settings.lake.root).table(f"audit.{product}")
    if not DeltaTable.is_deltatable(uri):
        return []
    table = Table.open(uri, AUDIT_SCHEMA, settings)
    named = naming(person)
    rows = [row for file in table.files() for row in pq.read_table(file).to_pylist()]
    for row in rows:
        if named.search(row["details"].encode()):
            row["details"] = '{"erased": true}'
            done.audits += 1
    if done.audits:
        table.replace([pa.Table.from_pylist(rows, AUDIT_SCHEMA)], {})
    return [table]


def _followers(product: str) -> list[FollowerFlow]:
    """The product's flows that follow bronze: none that has not run yet may begin meanwhile."""
    return [f for f in flows() if isinstance(f, FollowerFlow) and f.product == product]
