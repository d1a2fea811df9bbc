"""What is wrong with a table, and the error with the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lakehouse.core.errors import TableDamaged
from lakehouse.core.paths import root_option
from lakehouse.storage.file_paths import local_path


@dataclass(frozen=True)
class Damage:
    """One fault: where, what, and to which version the table can be restored.

    ``whole`` is the newest version that can still be opened, None where there is
    none; ``spare`` are files that the table is whole without.
    """

    place: str
    fault: str
    whole: int | None = None
    spare: tuple[Path, ...] = ()


def table_name(uri: str) -> str:
    """``bronze.shop`` of the folder ``<root>/bronze/shop``."""
    return ".".join(uri.rstrip("/").rsplit("/", 2)[-2:])


def damaged(uri: str, found: Damage) -> TableDamaged:
    """The error that a damage is reported as: silver is rebuilt, other tables are repaired."""
    name, root = table_name(uri), Path(uri).parents[1]
    verb = "rebuild" if name.startswith("silver.") else "repair"
    return TableDamaged(
        f"table {name}",
        f"{found.place}: {found.fault}",
        f"lakehouse {verb} {name} {root_option(root)}",
    )


def files_damage(uri: str, lacking: dict[str, str]) -> Damage:
    """The damage of data files that are not whole."""
    name, fault = next(iter(lacking.items()))
    more = f", and {len(lacking) - 1} more files are not whole" if len(lacking) > 1 else ""
    return Damage(str(local_path(uri, name)), f"the data file {fault}{more}")
