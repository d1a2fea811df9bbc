"""What is known of the lake: names and versions, and more of a table only when it has moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deltalake.exceptions import DeltaError

from lakehouse.core.errors import LakehouseError
from lakehouse.core.text import printable
from lakehouse.explorer.app.asked import said
from lakehouse.explorer.catalogue import TableInfo, is_plain
from lakehouse.explorer.session import Session
from lakehouse.products.registry import bronze_of


@dataclass(frozen=True)
class Seen:
    """The lake as it was looked at last."""

    versions: Mapping[str, int] = field(default_factory=dict)
    tables: Mapping[str, TableInfo | str] = field(default_factory=dict)
    """Table → what is known of it; or, as a text, why nothing is."""
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def behind(self, table: str) -> int | None:
        """How many versions of bronze a follower lacks."""
        info, bronze = self.tables.get(table), self.tables.get(bronze_of(table) or "")
        if not isinstance(info, TableInfo) or not isinstance(bronze, TableInfo):
            return None
        return None if info.source is None else max(0, bronze.version - info.source)


def look(session: Session, before: Seen) -> Seen:
    """The lake as it is: ``before`` itself where no table has moved."""
    names = session.catalogue.names()
    versions = {name: session.versions([name]).get(name, -1) for name in names}
    if versions == before.versions:
        return before
    tables: dict[str, TableInfo | str] = {}
    columns: dict[str, tuple[str, ...]] = {}
    for name, version in versions.items():
        if version == before.versions.get(name) and name in before.tables:
            tables[name], columns[name] = before.tables[name], before.columns.get(name, ())
            continue
        try:
            tables[name] = session.catalogue.info(name)
            columns[name] = _columns(session, name)
        except LakehouseError as error:
            tables[name] = said(error)
        except (DeltaError, OSError) as error:
            tables[name] = printable(" ".join(str(error).split())[:200])
    return Seen(versions, tables, columns)


def _columns(session: Session, name: str) -> tuple[str, ...]:
    if is_plain(name):
        return ()
    return tuple(field.name for field in session.catalogue.open(name).schema().fields)
