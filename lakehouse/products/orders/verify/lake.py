"""The lake: the audit of orders, part by part, and how old the newest change is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from lakehouse.audit.compare import Compared
from lakehouse.audit.extent import Content
from lakehouse.audit.proof import Proof, Verdict
from lakehouse.audit.run import audit, broker_of
from lakehouse.core.paths import root_option
from lakehouse.model.flow import ParquetFlow
from lakehouse.products.orders.against.source import DIFFER, EXCUSED, ROWS
from lakehouse.products.orders.contract import NAME
from lakehouse.products.orders.tables import FLOWS
from lakehouse.products.orders.verify.check import Check, Parts
from lakehouse.storage.duck import query

PARQUET = next(flow.table for flow in FLOWS if isinstance(flow, ParquetFlow))


def audit_checks(parts: Parts) -> Iterator[Check]:
    """`lakehouse audit orders --source --content all --caught-up`, seen by its parts."""
    settings = parts.settings
    broker = broker_of(settings, NAME)
    proof = audit(
        NAME, settings, broker, datetime.now(UTC), parts.say, Content.ALL, with_source=True
    )
    if parts.keep:
        parts.keep(proof, settings)
    root = root_option(settings.lake.root)
    yield from seen(proof, parts.fix, f"lakehouse audit {NAME} --source {root}")
    yield from against_source(proof, f"{parts.capture} --available-now, then {parts.fix}")


def against_source(proof: Proof, run: str) -> Iterator[Check]:
    """The table in Postgres against the lake; keys that quarantine explains apart."""
    found = next((check for check in proof.checks if check.name == "source"), None)
    if found is None:
        yield Check("silver", False, "not compared: see the audit's doubts", "mend that first")
        return
    odd = tuple(row for row in found.first if "verdict" not in row)
    yield Check(
        "silver", not (found.faults or found.doubts),
        f"{found.counts[ROWS]:,} rows in Postgres; {found.counts[DIFFER]:,} differ from the lake",
        run if found.faults or found.doubts else "", odd,
    )  # fmt: skip
    bad = tuple(row for row in found.first if "verdict" in row)
    count = found.counts.get(EXCUSED, 0)
    yield Check("quarantined", True, f"{count:,} {EXCUSED}", first=bad)


def seen(proof: Proof, run: str, again: str) -> Iterator[Check]:
    """A proof as checks; ``run`` is the command that lands what is there, ``again`` the audit."""
    reach = proof.reach
    waiting = "nobody knows how many" if reach.waiting is None else f"{reach.waiting:,}"
    is_landed = reach.waiting == 0
    yield Check(
        "bronze", is_landed,
        f"{reach.taken:,} records at version {proof.bronze_version}, {waiting} of the topic "
        "not landed", "" if is_landed else run,
    )  # fmt: skip
    yield from (_parquet(table, run) for table in proof.tables if table.table == PARQUET)
    behind = ", ".join(reach.lacking)
    yield Check(
        "checkpoint", not behind, f"behind: {behind}" if behind else "all have taken bronze in",
        run if behind else "",
    )  # fmt: skip
    is_proven = proof.verdict is Verdict.PROVEN
    reasons = [{"fault": text} for text in proof.faults] + [{"doubt": t} for t in proof.doubts]
    yield Check("audit", is_proven, proof.headline, "" if is_proven else again, tuple(reasons))


def _parquet(table: Compared, run: str) -> Check:
    wrong = table.doubt or table.fault
    if wrong:
        return Check("parquet", False, f"{table.table} {wrong}", run)
    return Check(
        "parquet", not table.differing,
        f"{table.rows:,} rows at bronze version {table.source}, {table.recomputed:,} due, "
        f"{table.differing:,} differ",
        f"remove the folder {table.table.replace('.', '/')} of the lake, then {run}"
        if table.differing else "",
    )  # fmt: skip


def freshness_checks(parts: Parts) -> Iterator[Check]:
    """How old the newest change is, and how long the last ones took."""
    if not parts.snapshots.exists(f"bronze.{NAME}"):
        yield Check("freshness", False, "nothing has landed yet", parts.fix)
        return
    parts.snapshots.pin("bronze", f"bronze.{NAME}")
    newest = query(
        parts.connection,
        "SELECT count(*) AS n, max(event_time) AS newest, "
        "coalesce(quantile_cont(epoch_ms(ingest_time) - epoch_ms(event_time), 0.5), 0) "
        "/ 1000.0 AS seconds FROM "
        "(FROM bronze WHERE op <> 'r' OR xid IS NOT NULL ORDER BY ingest_time DESC LIMIT 1000)",
    ).to_pylist()[0]
    detail = "no change since the snapshot"
    if newest["newest"] is not None:
        detail = (
            f"the newest change is of {newest['newest']:%Y-%m-%d %H:%M:%S} UTC; half of the last "
            f"{newest['n']:,} were in bronze within {newest['seconds']:.1f} s of their commit"
        )
    yield Check("freshness", True, detail)
