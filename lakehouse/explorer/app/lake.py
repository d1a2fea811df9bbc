"""What is known of the lake: names and versions, and more of a table only when it has moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from deltalake.exceptions import DeltaError

from lakehouse.core.errors import LakehouseError, UsageError
from lakehouse.core.text import one_line, printable
from lakehouse.explorer.app.asked import said
from lakehouse.explorer.catalogue import is_plain
from lakehouse.explorer.session import Session
from lakehouse.explorer.table_info import TableInfo
from lakehouse.products.registry import bronze_of

_FEW = 8
"""Versions whose log entries are looked into."""


class Absent(str):
    """Why a table has no such version, or is not as old."""

    __slots__ = ()


@dataclass(frozen=True)
class Seen:
    """The lake as it was looked at last."""

    versions: Mapping[str, int] = field(default_factory=dict)
    tables: Mapping[str, TableInfo | str] = field(default_factory=dict)
    """Table → what is known of it; or, as a text, why nothing is."""
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Table → its columns, each with its type."""
    level: frozenset[str] = frozenset()
    """Tables that lack versions of bronze in which no row came: it was compacted."""

    def behind(self, table: str) -> int | None:
        """How many versions of bronze a follower lacks; 0 where no row came in them."""
        info, bronze = self.tables.get(table), self.tables.get(bronze_of(table) or "")
        if not isinstance(info, TableInfo) or not isinstance(bronze, TableInfo):
            return None
        if info.source is None or table in self.level:
            return None if info.source is None else 0
        return max(0, bronze.version - info.source)


def look(session: Session, before: Seen) -> Seen:
    """The lake as it is: ``before`` itself where no table has moved."""
    names = session.catalogue.names()
    versions = {name: session.versions([name]).get(name, -1) for name in names}
    if versions == before.versions:
        return before
    tables: dict[str, TableInfo | str] = {}
    columns: dict[str, Mapping[str, str]] = {}
    for name, version in versions.items():
        if version == before.versions.get(name) and name in before.tables:
            tables[name], columns[name] = before.tables[name], before.columns.get(name, {})
            continue
        try:
            tables[name] = session.catalogue.info(name)
            columns[name] = _columns(session, name)
        except UsageError as error:
            tables[name] = Absent(said(error))
        except LakehouseError as error:
            tables[name] = said(error)
        except (DeltaError, OSError) as error:
            tables[name] = printable(one_line(error))
    seen = Seen(versions, tables, columns)
    return replace(seen, level=frozenset(n for n in tables if _is_level(session, seen, n)))


def _is_level(session: Session, seen: Seen, name: str) -> bool:
    """Whether bronze only compacted in the few versions that a follower lacks."""
    info, lacks = seen.tables[name], seen.behind(name)
    if not lacks or lacks > _FEW or not isinstance(info, TableInfo) or info.source is None:
        return False
    from lakehouse.storage.increments import rows_between  # noqa: PLC0415  # it loads Arrow

    uri = session.catalogue.lake.table(bronze_of(name) or "")
    return rows_between(uri, info.source, info.source + lacks) == 0


def _columns(session: Session, name: str) -> Mapping[str, str]:
    if is_plain(name):
        return {}
    return {f.name: f.type.type for f in session.catalogue.open(name).schema().fields}
