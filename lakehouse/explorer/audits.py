"""The history of audits that were kept, as ``lakehouse audit --keep`` leaves it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lakehouse.core.sql import listed
from lakehouse.settings.sections import ExplorerSettings
from lakehouse.storage.duck import Limits, query, scan
from lakehouse.storage.duck import opened as connected
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.health import opened

_COLUMNS = (
    "audited_at", "verdict", "reasons", "bronze_version", "bronze", "quarantine", "missing",
    "doubled", "unknown", "expired", "late", "duplicates", "silver_tables", "silver_differing",
)  # fmt: skip
_MOST = 50


@dataclass(frozen=True)
class Audit:
    """One audit that was kept."""

    audited_at: datetime
    verdict: str
    reasons: tuple[str, ...]
    bronze_version: int
    bronze: int
    quarantine: int
    missing: int
    doubled: int
    unknown: int
    expired: int
    late: int
    duplicates: int
    silver_tables: int
    silver_differing: int


def audits(uri: str, settings: ExplorerSettings) -> tuple[Audit, ...]:
    """The newest audits of a table ``audit.<contract>``, the newest first."""
    table = opened(uri)
    files = files_of(table)
    if not files:
        return ()
    sql = (
        f"SELECT {listed(_COLUMNS)} FROM {scan(table, files)} "
        f"ORDER BY audited_at DESC LIMIT {_MOST}"
    )
    with connected(Limits(settings.memory_limit, files=files)) as connection:
        rows = query(connection, sql).to_pylist()
    return tuple(Audit(**{**row, "reasons": tuple(row["reasons"] or ())}) for row in rows)
