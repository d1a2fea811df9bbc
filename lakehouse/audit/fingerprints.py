"""A table's rows, summed again, against the fingerprints that its commits carry.

Kafka is not asked: a changed, lost or invented row is found also where the topic has
long forgotten its record, and so is a page of a file that no longer fits its checksum.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pyarrow.parquet as pq
from deltalake import DeltaTable

from lakehouse.audit.batches import Wrong, told_total, wrong_batches
from lakehouse.audit.check import Check, Scene
from lakehouse.audit.pins import Snapshots
from lakehouse.audit.steps import explain, is_told
from lakehouse.audit.topic import SAMPLE
from lakehouse.storage.checksums import corrupt_files
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.fingerprint import (
    KEY,
    Batches,
    Fingerprint,
    by_batch,
    total_of,
)
from lakehouse.storage.log import commit_time, commits, entry, note_of
from lakehouse.storage.properties import is_fingerprinted
from lakehouse.storage.rows import DataFile, data_files

_ZERO = Fingerprint()


@dataclass(frozen=True)
class Fingerprinted:
    """One table's rows added up again.

    From version ``since`` on each commit says what it added; the ``rows_before`` that
    the table had then are as they were found. ``since`` is None where no commit says
    anything. ``batches``, ``files`` and ``commits`` are the first that are concerned
    where there is a fault.
    """

    table: str
    version: int
    rows: int = 0
    since: int | None = None
    rows_before: int = 0
    fault: str = ""
    doubt: str = ""
    batches: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()


def fingerprints(scene: Scene) -> Check:
    """Each table of the product that keeps fingerprints, its rows added up again."""
    pinned = [pin for pin in (scene.bronze, scene.quarantine) if pin]
    versions = {pin.name: pin.version for pin in pinned}
    for layer in ("ledger", "erased"):
        name = f"{layer}.{scene.product}"
        if scene.snapshots.exists(name):
            versions[name] = int(scene.snapshots.opened(name).version())
    scene.say("adding up what the rows say")
    found = [check_fingerprint(scene.snapshots, *table) for table in versions.items()]
    return told([_known(scene, table) for table in found])


def _known(scene: Scene, table: Fingerprinted) -> Fingerprinted:
    """The table; with a doubt where it is not the one that bronze recorded.

    One that was recreated by hand, or quarantine whose log was cut, may hold anything.
    """
    layer = table.table.partition(".")[0]
    id_ = scene.snapshots.open(table.table, table.version).metadata().id
    if not table.doubt and scene.ends.tables.get(layer, id_) != id_:
        again = f", or run {scene.product}.bronze" if layer == "quarantine" else ""
        doubt = (
            "it is another table than the one that bronze recorded: put the right folder back"
            f"{again}, or lakehouse restore BACKUP"
        )
        return replace(table, doubt=doubt)
    version, time = scene.ends.quarantine or (0, 0)
    if table.table != f"quarantine.{scene.product}" or not version or table.doubt:
        return table
    known = commit_time(scene.snapshots.lake.table(table.table), version)
    if table.version >= version and known in {time, None}:
        return table
    doubt = (
        f"it is not the table that bronze recorded at version {version}: it was recreated, or "
        f"commits of it are gone: put it back, or run {scene.product}.bronze"
    )
    return replace(table, doubt=doubt)


def told(found: list[Fingerprinted]) -> Check:
    """What was found, as the audit says it."""
    counts = {"rows whose fingerprints were added up": sum(table.rows for table in found)}
    for table in found:
        if table.since is None and table.rows_before:
            counts[f"rows of {table.table} that no fingerprint tells of yet"] = table.rows_before
        elif table.rows_before:
            since = f"its fingerprints begin, at version {table.since}"
            counts[f"rows of {table.table} that were there when {since}"] = table.rows_before
    return Check(
        "tables that are not what their commits say",
        faults=tuple(f"{t.table}: {_with_places(t)}" for t in found if t.fault),
        doubts=tuple(f"{table.table}: {table.doubt}" for table in found if table.doubt),
        counts=counts,
        first=tuple(
            {"table": table.table, "what": what, "which": which}
            for table in found
            for what in ("batches", "commits", "files")
            for which in getattr(table, what)
        ),
    )


def _with_places(table: Fingerprinted) -> str:
    """The fault, and the first place that it is known to be at."""
    places = [*table.commits[:1], *table.batches[:1], *table.files[:1]]
    return f"{table.fault}: {', '.join(places)}" if places else table.fault


def check_fingerprint(snapshots: Snapshots, name: str, version: int) -> Fingerprinted:
    """Add up the digests of all rows of a table at a version."""
    uri, table = snapshots.lake.table(name), snapshots.open(name, version)
    total = told_total(uri, version)
    if total is None:
        return _without_fingerprints(snapshots, table, name)
    files = data_files(table, uri)
    with ThreadPoolExecutor(2) as pool:
        read = list(pool.map(_of_file, files))
    if unreadable := [found for found in read if isinstance(found, str)]:
        doubt = _cannot_be_read(name, unreadable)
        return Fingerprinted(name, version, since=total.since, doubt=doubt)
    by_file = [found for found in read if isinstance(found, dict)]
    found = _added(by_file)
    sum_ = total_of(found)
    report = Fingerprinted(name, version, sum_.rows, total.since, total.rows_before)
    if sum_ == total.fingerprint:
        unchecked = 0 if total.checked else total.rows_before
        return replace(report, doubt=_lost(snapshots, table, name, unchecked))
    wrong = wrong_batches(uri, version, total, found)
    told_rows = total.fingerprint.rows
    rows = f"{sum_.rows:,} rows where its commits tell of {told_rows:,}"
    if sum_.rows == told_rows:
        rows = "as many rows, of other content"
    return Fingerprinted(
        name, version, sum_.rows, total.since, total.rows_before,
        fault=f"its rows are not those that its commits added: {rows}",
        batches=tuple(_told(wrong)),
        files=tuple(_concerned(files, by_file, wrong)),
        commits=tuple(_foreign(uri, version, total.since)),
    )  # fmt: skip


def _without_fingerprints(snapshots: Snapshots, table: DeltaTable, name: str) -> Fingerprinted:
    """Rows that no fingerprint covers; their pages are read all the same."""
    corrupt = [f"{path}: the file {fault}" for path, fault in corrupt_files(files_of(table))]
    version = int(table.version())
    if corrupt:
        return Fingerprinted(name, version, doubt=_cannot_be_read(name, corrupt))
    rows = sum(pq.read_metadata(file).num_rows for file in files_of(table))
    doubt = _lost(snapshots, table, name, rows)
    return Fingerprinted(name, version, rows_before=rows, doubt=doubt)


def _lost(snapshots: Snapshots, table: DeltaTable, name: str, rows: int) -> str:
    """The doubt where rows had a fingerprint once, by the table's property or its lake's."""
    product = name.partition(".")[2]
    if not rows or not (
        is_fingerprinted(table)
        or any(
            is_fingerprinted(snapshots.open(beside))
            for layer in ("bronze", "quarantine")
            if snapshots.exists(beside := f"{layer}.{product}")
        )
    ):
        return ""
    again = f"or move its folder away and run {product}.bronze, which rebuilds it"
    remedy = "lakehouse restore BACKUP" + (f", {again}" if not name.startswith("erased.") else "")
    return (
        f"it holds {rows:,} rows that no fingerprint tells of any more: another program rebuilt "
        f"it, or its log lost the commits that landed them: {remedy}"
    )


def _cannot_be_read(name: str, files: list[str]) -> str:
    """What is said of them; a value that does not fit its type has another remedy than repair."""
    told = "; ".join(files[:SAMPLE])
    return told if "RESTORE" in told else f"{told}: lakehouse repair {name}"


def _of_file(file: DataFile) -> Batches | str:
    """A file's fingerprints by batch; why it cannot be read."""
    try:
        return by_batch(file.rows())
    except BaseException as error:
        if not is_told(error):
            raise
        told = explain(error)
        return told if str(file.path) in told else f"{file.path}: {told}"


def _added(parts: list[Batches]) -> Batches:
    found: Batches = {}
    for part in parts:
        for batch, fingerprint in part.items():
            found[batch] = found.get(batch, _ZERO) + fingerprint
    return found


def _told(wrong: Wrong) -> Iterator[str]:
    for batch in wrong.batches[:SAMPLE]:
        yield "rows without a batch" if batch is None else f"batch {batch}"
    if wrong.others:
        yield "batches whose commits the log no longer has"


def _concerned(files: list[DataFile], by_file: list[Batches], wrong: Wrong) -> Iterator[str]:
    """The first files that hold rows of batches that differ."""
    listed = 0
    for file, batches in zip(files, by_file, strict=True):
        here = set(batches)
        if listed < SAMPLE and (here & {*wrong.batches} or (wrong.others and here - wrong.known)):
            listed += 1
            yield str(file.path)


def _foreign(uri: str, version: int, since: int) -> Iterator[str]:
    """Commits that changed rows and carry no fingerprint: another program made them."""
    listed = 0
    for commit in commits(uri, version):
        if commit["version"] < since or listed == SAMPLE:
            return
        if KEY not in note_of(commit) and _changes_rows(uri, commit):
            listed += 1
            yield f"version {commit['version']} ({commit.get('operation', 'unknown')}), another's"


def _changes_rows(uri: str, commit: dict[str, Any]) -> bool:
    text = entry(uri, int(commit["version"])).read_text("utf-8")
    is_rewrite = commit.get("operation") in {"OPTIMIZE", "VACUUM START", "VACUUM END", "RESTORE"}
    return not is_rewrite and ('{"add"' in text or '{"remove"' in text)
