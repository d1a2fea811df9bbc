"""A verification as a person reads it: named checks, each with what was found and what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn

from lakehouse.audit.compare import Compared
from lakehouse.audit.extent import Content
from lakehouse.audit.proof import Proof, Verdict
from lakehouse.audit.run import audit, broker_of
from lakehouse.core.errors import Exit
from lakehouse.core.paths import root_option
from lakehouse.core.text import Say
from lakehouse.explorer.format import Format
from lakehouse.explorer.show import Wide, printed
from lakehouse.model.flow import Flow
from lakehouse.settings.settings import Settings


@dataclass(frozen=True)
class Check:
    """One part: whether it is right, what was found, what to do, and the first of what is odd."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    first: tuple[dict[str, Any], ...] = field(default=())


def show(checks: Iterable[Check]) -> None:
    """The checks as a table on stdout, and the first of what is odd below."""
    checks = [*checks]
    rows = [
        {"check": c.name, "": "ok" if c.ok else "FAILED", "found": c.detail, "fix": c.fix}
        for c in checks
    ]
    sys.stdout.write(printed({"checks": rows}, Format.table, Wide.FEWER))
    for check in checks:
        for row in check.first:
            told = ", ".join(f"{key} {value}" for key, value in row.items())
            sys.stdout.write(f"  {check.name}: {told}\n")


def finish(checks: Sequence[Check], *, as_json: bool) -> NoReturn:
    """End a verb that verifies: print the checks; exit 0 where all of them are right."""
    if as_json:
        listed = [asdict(check) for check in checks]
        sys.stdout.write(json.dumps({"checks": listed}, default=str) + "\n")
    else:
        show(checks)
    raise SystemExit(Exit.OK if all(check.ok for check in checks) else Exit.FAULT)


def verified(contract: str, flows: Sequence[Flow], settings: Settings, say: Say) -> Iterator[Check]:
    """The audit of all content as checks; TableMissing where nothing has landed yet.

    ``flows`` are those that land and apply what is there.
    """
    broker, now = broker_of(settings, contract), datetime.now(UTC)
    proof = audit(contract, settings, broker, now, say, Content.ALL)
    root, names = root_option(settings.lake.root), " ".join(flow.name for flow in flows)
    run = f"lakehouse run {names} --available-now {root}"
    return seen(proof, run, f"lakehouse audit {contract} --content all {root}")


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
