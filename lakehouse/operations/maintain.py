"""Upkeep on an operator's word: what a flow does between batches, done now, under its locks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import structlog

from lakehouse.core.errors import DiskFull, TableMissing
from lakehouse.core.lock import write_locks
from lakehouse.core.paths import Lake
from lakehouse.core.progress import Counted
from lakehouse.core.text import of_tables
from lakehouse.ingest.erased import drop_old_quarantine
from lakehouse.ingest.schemas import QUARANTINE_SCHEMA
from lakehouse.operations.in_memory import in_memory
from lakehouse.products.registry import flows
from lakehouse.settings.settings import Settings
from lakehouse.storage.duck import connect
from lakehouse.storage.health import current
from lakehouse.storage.table import Table
from lakehouse.storage.upkeep import compact, vacuum

log = structlog.get_logger("lakehouse")


@dataclass(frozen=True)
class Upkeep:
    """One table before and after: its version, the files and bytes that this version has.

    ``disk`` is all that its folder takes, old versions and the log too, in bytes.
    """

    table: str
    version_before: int
    version: int
    files_before: int
    files: int
    bytes_before: int
    bytes: int
    disk_before: int
    disk: int


@in_memory
def maintain(names: Sequence[str], settings: Settings, now: datetime) -> list[Upkeep]:
    """Compact, drop old quarantine and vacuum the tables named, or all that there are.

    Raises TableMissing for a name that no flow declares or has made yet, TableLocked
    where a table is being written; nothing was changed then. Run again, it finds less to do.
    On a full disk what is old goes first, of all of them; DiskFull where that is not enough.
    """
    lake = Lake(settings.lake.root)
    made = [t for f in flows() for t in f.tables if Path(lake.table(t), "_delta_log").is_dir()]
    for name in names:
        if name not in made:
            remedy = of_tables(name, sorted(made), "name the lake by --root")
            raise TableMissing(f"table {name}", "does not exist (yet)", remedy)
    if not made:
        raise TableMissing(settings.lake.root, "holds no table", "name the lake by --root")
    chosen = sorted({*names} or made)
    ledgers = {name.replace("quarantine.", "erased.", 1) for name in chosen}
    locked = sorted({*chosen, *ledgers})
    with write_locks(lake.locks, locked, "maintain", settings.publish.lock_timeout):
        try:
            return _maintained(chosen, settings, now)
        except DiskFull:  # old files may hold the room that new ones need
            for name in chosen:
                vacuum(_opened(name, settings))
            return _maintained(chosen, settings, now)


def _maintained(names: Sequence[str], settings: Settings, now: datetime) -> list[Upkeep]:
    lake = Lake(settings.lake.root)
    sizes = {name: _on_disk(lake.table(name)) for name in names}
    looked_at, done = Counted("maintaining", sum(sizes.values()), "bytes"), list[Upkeep]()
    for name in names:
        before = looked_at.done
        done.append(_maintain(name, settings, now, looked_at))
        looked_at.add(sizes[name] - (looked_at.done - before))
    return done


def _opened(name: str, settings: Settings) -> Table:
    schema = QUARANTINE_SCHEMA if name.startswith("quarantine.") else pa.schema([])
    return Table.open(Lake(settings.lake.root).table(name), schema, settings)


def _maintain(name: str, settings: Settings, now: datetime, looked_at: Counted) -> Upkeep:
    uri = Lake(settings.lake.root).table(name)
    layer, _, product = name.partition(".")
    table = _opened(name, settings)
    version, files, size, disk = _measured(uri)
    if settings.maintenance.quarantine_retention and layer == "quarantine":
        with connect(settings) as connection:
            drop_old_quarantine(product, table, settings, connection, now)
    compact(table, read=looked_at.add)
    vacuum(table)
    after = _measured(uri)
    done = Upkeep(name, version, after[0], files, after[1], size, after[2], disk, after[3])
    log.info("maintained", **asdict(done))
    return done


def _measured(uri: str) -> tuple[int, int, int, int]:
    """Version, files, their bytes, and the bytes of the whole folder."""
    table = current(uri)
    sizes = [int(n) for n in table.get_add_actions(flatten=True)["size_bytes"].to_pylist()]
    return int(table.version()), len(sizes), sum(sizes), _on_disk(uri)


def _on_disk(uri: str) -> int:
    """The bytes of all that is in the table's folder."""
    return sum(path.stat().st_size for path in Path(uri).rglob("*") if path.is_file())
