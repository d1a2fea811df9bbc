"""Quarantined records that keep today's contract enter bronze, by address, once.

Quarantine's rows are marked first, then bronze commits them. A marked row counts as
quarantined until bronze has its address (:mod:`lakehouse.ingest.replayed`), so a reader
of bronze and then quarantine finds each record once, at any moment.

Worked example. Record 0/105 is in quarantine and keeps the contract today; bronze is at 7.

- Before: no mark. The record counts as quarantined.
- Quarantine commits the mark ``replayed_version = 8``. Crash here. Bronze lacks 0/105, so
  the record still counts as quarantined, whatever becomes version 8 of bronze.
- After: the next start, replay or ``accept-gap`` finds a mark whose address bronze lacks,
  and :func:`finish` lets bronze commit 0/105. From then on it counts in bronze. A crash
  after that finds the address in bronze, and nothing is left to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.core import failpoint
from lakehouse.core.failpoint import Step
from lakehouse.ingest.decode import decode_batch, decoded_schema
from lakehouse.ingest.erased import ERASED_SCHEMA, KEY
from lakehouse.ingest.erased import KEY_SQL as _KEY
from lakehouse.ingest.kafka_time import TIME
from lakehouse.ingest.landing import BronzePublisher, marked
from lakehouse.ingest.verdict import TimeRules
from lakehouse.storage.duck import patterns, query

_MARKED = f"""
SELECT {_KEY}, replayed_version
FROM (FROM read_parquet($files, union_by_name = true) UNION ALL BY NAME FROM no_rows)
WHERE {{now}} AND {{which}}
"""
_RAW = f"""
SELECT key, value, headers, topic, "partition", "offset", kafka_time AS timestamp, left_out_bytes,
    left_out_sha256
FROM (FROM read_parquet($files, union_by_name = true) UNION ALL BY NAME FROM no_rows)
SEMI JOIN wanted USING ({_KEY}) WHERE {{now_by_id}}
QUALIFY row_number() OVER (PARTITION BY {_KEY}) = 1
"""
_HELD = f"""
SELECT {_KEY} FROM (FROM read_parquet($files) WHERE {{now}})
SEMI JOIN good USING ({_KEY})
"""
_NOT_HELD = f"SELECT good.* FROM good ANTI JOIN held USING ({_KEY})"
_NOT_ERASED = f"""
SELECT wanted.* FROM wanted ANTI JOIN (
    FROM (FROM read_parquet($files, union_by_name = true) UNION ALL BY NAME
    FROM no_rows) WHERE {{now_by_id}}
) USING ({_KEY})
"""


@dataclass(frozen=True)
class Entered:
    """What one replay commit did; ``version`` is bronze's after it."""

    version: int
    rows: int = 0
    late: int = 0
    duplicates: int = 0
    refused: int = 0
    """Records that break today's contract too: they stay."""
    held: int = 0
    """Records that bronze had already: marked, not entered."""


def finish(publisher: BronzePublisher, now: datetime) -> Entered | None:
    """Complete the replay that a crash cut between its two commits; None where there is none.

    Records that no longer pass lose their mark.
    """
    if publisher.position.went_back:
        _align_marks(publisher, now)
    marked_rows = _addresses(publisher, "replayed_version IS NOT NULL").select(KEY)
    cut, _ = _apart(publisher, _not_erased(publisher, marked_rows))
    return enter(publisher, cut, now, unmark=True) if cut.num_rows else None


def _addresses(publisher: BronzePublisher, which: str) -> pa.Table:
    """Addresses of the topic's present log in quarantine, and their marks."""
    files, no_rows = publisher.quarantine.files(), publisher.quarantine.schema.empty_table()
    if not files:
        return no_rows.select([*KEY, "replayed_version"])
    sql = _MARKED.format(now=publisher.position.ends.are_of_now(by_id=True), which=which)
    return query(publisher.connection, sql, {"files": patterns(files)}, no_rows=no_rows)


def _align_marks(publisher: BronzePublisher, now: datetime) -> None:
    """Make marks fit bronze again, once one of the tables went back to an older version.

    A replay that bronze no longer has is undone: the record counts as quarantined. A
    record that bronze does have is marked.
    """
    version, rows = publisher.bronze.version, _addresses(publisher, "true")
    _, held = _apart(publisher, rows.select(KEY))
    known = pa.array([True] * held.num_rows, pa.bool_())
    rows = rows.join(held.append_column("held", known), list(KEY), join_type="left outer")
    is_held, done = pc.fill_null(rows["held"], False), pc.is_valid(rows["replayed_version"])
    undone = pc.and_(pc.less_equal(rows["replayed_version"], version), pc.invert(is_held))
    lacking = rows.filter(pc.and_(is_held, pc.invert(done)))
    undone = rows.filter(pc.fill_null(undone, False))
    marks = pa.concat_tables([_marks(lacking, version, now), _marks(undone, None, None)])
    if marks.num_rows:
        _mark(publisher, marks, {"levelled": marks.num_rows, "version": version})


def _mark(publisher: BronzePublisher, marks: pa.Table, note: dict[str, Any]) -> None:
    flow = f"{publisher.contract.name}.bronze"
    where = publisher.position.ends.are_of_now("t.", by_id=True)
    publisher.quarantine.mark(marks, KEY, where, {"flow": flow, **note})


def enter(
    publisher: BronzePublisher, wanted: pa.Table, now: datetime, *, unmark: bool = False
) -> Entered:
    """Decode quarantined records again and commit those that pass to bronze, as one batch.

    ``wanted`` has the columns of :data:`KEY`, addresses below bronze's ends. The
    batch has a number of its own and leaves the ends where they are. Run again after
    a crash at any point, it enters what bronze does not hold: before the marks nothing
    has changed, after them :func:`finish` comes first, after bronze's commit the
    addresses are found there. What was erased is left alone.
    """
    decoded = _decoded(publisher, _not_erased(publisher, wanted))
    good = decoded.filter(pc.is_null(decoded["verdict"]))
    refused = decoded.filter(pc.is_valid(decoded["verdict"]))
    good, held = _apart(publisher, good)
    before = publisher.bronze.version
    marks = [_marks(held, before, now)]
    marks += [_marks(good, before + 1, now)]
    marks += [_marks(refused, None, None)] if unmark else []
    wanted_marks = pa.concat_tables(marks)
    if wanted_marks.num_rows:
        _mark(publisher, wanted_marks, {"replayed": good.num_rows, "version": before + 1})
        failpoint.reach(Step.REPLAY_MARKED)
    late = duplicates = 0
    if good.num_rows:
        rows = publisher.bronze_rows(good, publisher.copies.marks(good), now)
        late, duplicates = marked(rows)
        publisher.position.advance(
            pc.max(rows["event_time"]).as_py(), {}, publisher.position.ends.batch + 1
        )
        note = publisher.position.note(rows.num_rows, 0, late, duplicates)
        note["replay"] = {"quarantine": publisher.quarantine.version}
        publisher.copies.landed(publisher.bronze.append(rows, note))
    return Entered(
        publisher.bronze.version, good.num_rows, late, duplicates, refused.num_rows, held.num_rows
    )


def _decoded(publisher: BronzePublisher, wanted: pa.Table) -> pa.Table:
    """The wanted records by today's contract and settings, each address once."""
    no_rows = publisher.quarantine.schema.empty_table()
    raw = _select(publisher, _RAW, publisher.quarantine.files(), wanted=wanted, no_rows=no_rows)
    product = publisher.product
    rules = TimeRules(product.earliest_time, product.future_tolerance)
    decoded = [
        part
        for batch in raw.to_batches()
        for part in decode_batch(batch, publisher.contract, rules)
    ]
    return pa.Table.from_batches(decoded, decoded_schema(publisher.contract))


def _not_erased(publisher: BronzePublisher, wanted: pa.Table) -> pa.Table:
    """The addresses that the ledger of erased ones does not name."""
    if not wanted.num_rows or not (files := publisher.tables.erased_files()):
        return wanted
    no_rows = ERASED_SCHEMA.empty_table()
    found = _select(publisher, _NOT_ERASED, files, wanted=wanted, no_rows=no_rows)
    return found.cast(wanted.schema)


def _apart(publisher: BronzePublisher, good: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows that bronze lacks, and the addresses of those that it has."""
    files = publisher.bronze.files()
    if not files or not good.num_rows:
        return good, good.schema.empty_table().select(KEY)
    held = _select(publisher, _HELD, files, good=good)
    if held.num_rows:
        found = query(publisher.connection, _NOT_HELD, good=good, held=held)
        good = found.cast(good.schema)
    return good, held


def _marks(rows: pa.Table, version: int | None, when: datetime | None) -> pa.Table:
    size = rows.num_rows
    columns: dict[str, Any] = {name: rows[name] for name in KEY}
    columns["replayed_version"] = pa.array([version] * size, pa.int64())
    columns["replayed_at"] = pa.array([when] * size, TIME)
    return pa.table(columns)


def _select(publisher: BronzePublisher, sql: str, files: list[str], **tables: pa.Table) -> pa.Table:
    ends = publisher.position.ends
    sql = sql.replace("{now_by_id}", ends.are_of_now(by_id=True))
    sql = sql.replace("{now}", ends.are_of_now())
    return query(publisher.connection, sql, {"files": patterns(files)}, **tables)
