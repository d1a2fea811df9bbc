"""What an observer sees, as the pipeline's page draws it: times as they are, so that it can age."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lakehouse.explorer.concerns import concerns
from lakehouse.explorer.observed import Landing, Seen
from lakehouse.explorer.report import of_product, quality
from lakehouse.model.flow import BronzeFlow
from lakehouse.model.product import Product
from lakehouse.products.registry import products

MAKE_ONE = (
    "This lake holds no table yet. Start one that lives with `lakehouse up`, or make a small one "
    "with `lakehouse demo`; then name its folder by --root."
)


def told(seen: Seen, root: str, beside: dict[str, Any] | None) -> dict[str, Any]:
    """The lake as plain values."""
    return {
        "root": root,
        "empty": "" if seen.landings else MAKE_ONE,
        "concerns": [asdict(concern) for concern in concerns(seen)],
        "products": [
            {"name": p.name, "contracts": [
                {**_contract(c.name, seen), "analyses": _named(p, c.name)}
                for c in p.contracts if c.name in seen.landings]}
            for p in products().values() if any(c.name in seen.landings for c in p.contracts)
        ],
        "tables": [asdict(info) for info in seen.tables.values()],
        "disks": [{"free": room.free, "total": room.total, "short": room.is_short}
                  for room in seen.disks],
        "locks": dict(sorted(seen.locks.items())),
        "states": [asdict(state) for state in seen.states],
        "beside": beside,
    }  # fmt: skip


def _named(product: Product, contract: str) -> dict[str, str]:
    """Which analyses tell more of a contract's late events and of its quarantine."""
    names = {sql: name for name, sql in of_product(product).items()}
    return {what: names[sql] for what, sql in quality(contract).items() if sql in names}


def _contract(name: str, seen: Seen) -> dict[str, Any]:
    late, duplicates = seen.late.get(name, (None, None))
    faults = seen.quarantine.get(name)
    mine = [f.name for p in products().values() for f in p.flows if f.product == name]
    return {
        "name": name,
        **_landed(seen.landings[name]),
        "quarantine": None if faults is None else sum(faults.values()),
        "faults": [{"field": field, "fault": fault, "records": n}
                   for (field, fault), n in (faults or {}).items()],
        "late": late,
        "duplicates": duplicates,
        "audits": [asdict(audit) for audit in seen.audits.get(name, ())],
        "flows": [asdict(row) for row in seen.flows if row.flow in mine],
        "bronze_flow": next(f.name for p in products().values() for f in p.flows
                            if isinstance(f, BronzeFlow) and f.product == name),
    }  # fmt: skip


def _landed(landing: Landing) -> dict[str, Any]:
    return {
        "batches": [
            {"version": c.version, "time": c.time, "rows": c.rows, "quarantined": c.quarantined,
             "late": c.late, "duplicates": c.duplicates}
            for c in landing.recent
        ],
        "watermark": landing.watermark,
        "newest_event": landing.newest_event,
        "next": landing.next,
        "landed": _ages(landing.landed),
        "applied": {flow: _ages(ages) for flow, ages in landing.applied.items()},
    }  # fmt: skip


def _ages(ages: Any) -> dict[str, float] | None:
    return None if ages is None else {"p50": round(ages.p50, 3), "p95": round(ages.p95, 3)}
