"""``lakehouse activity verify``: the audit of all content, one named check a part."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from lakehouse.audit.check import Say
from lakehouse.audit.compare import Compared
from lakehouse.audit.extent import Content
from lakehouse.audit.proof import Proof, Verdict
from lakehouse.audit.run import audit, broker_of
from lakehouse.core.paths import root_option
from lakehouse.explorer.named_checks import Check, show
from lakehouse.products.activity.tables import FLOWS
from lakehouse.settings.settings import Settings

__all__ = ["seen", "show", "verify"]
NAME = "activity"


def verify(settings: Settings, say: Say) -> list[Check]:
    """Every part in the order of an event's way; TableMissing where nothing has landed yet."""
    proof = audit(
        NAME, settings, broker_of(settings, NAME), datetime.now(UTC), say, Content.ALL
    )  # fmt: skip
    root = root_option(settings.lake.root)
    names = " ".join(flow.name for flow in FLOWS)
    run = f"lakehouse run {names} --available-now {root}"
    return [*seen(proof, run, f"lakehouse audit {NAME} --content all {root}")]


def seen(proof: Proof, run: str, again: str) -> Iterator[Check]:
    """A proof as checks; ``run`` is the command that lands what is there, ``again`` the audit."""
    reach, account, flags = proof.reach, proof.account, proof.flags
    is_asked = account.is_compared
    answer = "answers" if is_asked else "; ".join(proof.open_questions) or "does not answer"
    yield Check("kafka", is_asked, answer, "" if is_asked else "lakehouse doctor")
    yield Check("topic", is_asked, f"{proof.topic}, id {proof.topic_id or 'unknown'}")
    waiting = "an unknown number" if reach.waiting is None else f"{reach.waiting:,}"
    yield Check(
        "landed", reach.waiting == 0, f"{reach.taken:,} records, {waiting} not yet",
        "" if reach.waiting == 0 else run,
    )  # fmt: skip
    lost = account.total("missing") + account.total("doubled") if is_asked else None
    yield Check(
        "bronze", lost == 0,
        f"{account.total('bronze'):,} rows at version {proof.bronze_version}, "
        f"{'unknown' if lost is None else f'{lost:,}'} missing or doubled",
        "" if lost == 0 else again,
    )  # fmt: skip
    yield Check("quarantine", True, f"{account.total('quarantine'):,} records broke the contract")
    wrong = flags.wrong_late.count + flags.wrong_duplicates.count
    yield Check(
        "late events", not wrong,
        f"{flags.late.count:,} late, {flags.duplicates.count:,} sent twice, "
        f"{wrong:,} marked wrongly",
        again if wrong else "", (*flags.wrong_late.first, *flags.wrong_duplicates.first),
    )  # fmt: skip
    yield from (_table(table, run, again) for table in proof.tables)
    for check in proof.checks:
        odd = "; ".join((*check.faults, *check.doubts))
        yield Check(check.name, not odd, odd or "none", again if odd else "")
    behind = ", ".join(reach.lacking)
    yield Check(
        "versions", not behind, f"behind: {behind}" if behind else "all have taken bronze in",
        run if behind else "",
    )  # fmt: skip
    is_proven = proof.verdict is Verdict.PROVEN
    reasons = [{"fault": text} for text in proof.faults] + [{"doubt": t} for t in proof.doubts]
    yield Check("audit", is_proven, proof.headline, "" if is_proven else again, tuple(reasons))


def _table(table: Compared, run: str, again: str) -> Check:
    """A table against its recompute, or a sink against the lake."""
    if wrong := table.doubt or table.fault:
        return Check(table.table, False, wrong, run)
    return Check(
        table.table, not table.differing,
        f"{table.rows:,} rows at bronze version {table.source}, {table.recomputed:,} due, "
        f"{table.differing:,} differ",
        again if table.differing else "", table.first if table.differing else (),
    )  # fmt: skip
