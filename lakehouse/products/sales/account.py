"""Where every kind of event ended, against what the producer says it sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lakehouse.explorer.accounted import Line
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.sql import read
from lakehouse.settings.sections import ExplorerSettings


def account(
    catalogue: Catalogue,
    settings: ExplorerSettings,
    by_kind: Mapping[str, int],
    revenue: Mapping[str, Decimal],
) -> list[Line]:
    """One line a kind of event, and one a currency.

    ``by_kind`` counts records sent: good, late, duplicate, corrupt:<fault>; a
    fault is found again in the record's ``fault`` header, an event that was sent late by
    the end of its event_id. Whether it came late depends on what had been read: a demo of
    one batch marks none, and the audit checks marks.
    """
    landed = _landed(catalogue, settings)
    corrupt = {k: n for k, n in by_kind.items() if k.startswith("corrupt:")}
    kept = sum(by_kind.values()) - sum(corrupt.values())
    lines = [
        _line("keeps the contract", "bronze", kept, landed.bronze["records"]),
        _line("each address once", "bronze", kept, landed.bronze["addresses"]),
        _line(
            "sent twice",
            "bronze, marked",
            by_kind.get("duplicate", 0),
            landed.bronze["duplicate"],
        ),
        _line("breaks the contract", "quarantine", sum(corrupt.values()), landed.quarantined),
    ]
    if "late" in by_kind:
        lines.insert(2, _line("sent late", "bronze", by_kind["late"], landed.bronze["late"]))
    lines += [
        Line(
            kind.partition(":")[2].replace("_", " "),
            "quarantine",
            f"{n:,}",
            f"{landed.faults.get(kind, 0):,}",
            is_of_a_kind=True,
        )
        for kind, n in sorted(corrupt.items())
    ]
    lines += [
        Line(f"net revenue {c}", "silver", f"{money:,.2f}", f"{landed.net.get(c, 0):,.2f}")
        for c, money in sorted(revenue.items())
    ]
    return lines


@dataclass(frozen=True)
class _Landed:
    """What the tables hold, by what the producer calls it."""

    bronze: Mapping[str, int]
    faults: Mapping[str, int]
    quarantined: int
    net: Mapping[str, Decimal]


def _landed(catalogue: Catalogue, settings: ExplorerSettings) -> _Landed:
    def pairs(sql: str) -> dict[str, Any]:
        rows = read(catalogue, sql, settings)
        return dict(zip(*(column.to_pylist() for column in rows.columns), strict=True))

    bronze = read(
        catalogue,
        """SELECT count(*) AS records, count(DISTINCT ("partition", "offset")) AS addresses,
        count(*) FILTER (event_id LIKE '%-late' AND NOT is_duplicate) AS late,
        count(*) FILTER (is_duplicate) AS duplicate
        FROM bronze.sales""",
        settings,
    ).to_pylist()[0]
    faults = pairs(
        """SELECT decode(h.header.value) AS fault, count(*) AS records
        FROM (SELECT unnest(headers) AS header FROM quarantine.sales
              WHERE replayed_version IS NULL) h
        WHERE h.header.key = 'fault' GROUP BY 1 ORDER BY 1"""
    )
    left = "SELECT count(*) AS n FROM quarantine.sales WHERE replayed_version IS NULL"
    quarantined = read(catalogue, left, settings)["n"][0].as_py()
    net = pairs("SELECT currency, sum(net_revenue) AS net FROM silver.sales_by_country GROUP BY 1")
    return _Landed(bronze, faults, quarantined, net)


def _line(kind: str, place: str, sent: int, landed: int) -> Line:
    return Line(kind, place, f"{sent:,}", f"{landed:,}")
