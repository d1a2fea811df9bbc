"""What must have stayed as it was for a capture to have seen every change.

Rows of the catalogue are known by their oid and ``xmin``: one that was changed, and one
that was changed and put back, is another version of itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from producers.cdc.table import CannotCapture

COLUMNS = """
SELECT string_agg(concat_ws(' ', a.attnum, a.xmin), ', ' ORDER BY a.attnum)
FROM pg_attribute a WHERE a.attrelid = %s AND a.attname = ANY(%s)
"""
FILE = "SELECT pg_relation_filenode(%s::oid)::text"
TOLD = {
    "publication": "was changed, or dropped and recreated, while its changes were not looked at, "
    "even if it is now as it was: updates and deletes may be missing",
    "trigger": "was changed, disabled or recreated since the last look, even if it is now as it "
    "was: rows that were written meanwhile have no stamp",
    "columns": "was rewritten while its columns were altered (ALTER TYPE … USING): every row may "
    "have other values, and no change tells them",
}


def table_rows(connection: Any, oid: int, names: Iterable[str]) -> dict[str, str]:
    """The versions of the columns' rows, and the file that the table's rows are in."""
    with connection.cursor() as cursor:
        cursor.execute(COLUMNS, (oid, list(names)))
        columns = cursor.fetchone()[0]
        cursor.execute(FILE, (oid,))
        return {"columns": columns or "", "file": cursor.fetchone()[0] or ""}


def check_unchanged(
    then: Mapping[str, str], now: Mapping[str, str], places: Mapping[str, str], anew: str
) -> None:
    """CannotCapture where something is not as it was; what ``then`` does not hold is new to us.

    A table's file alone changes by VACUUM FULL and TRUNCATE, its columns' rows alone by
    SET NOT NULL and the like: neither alters a value.
    """
    if not now["file"]:
        raise CannotCapture(
            places["columns"], "was dropped", f"rebuild it, and begin again: {anew}"
        )
    differs = {name for name in now if name in then and then[name] != now[name]}
    if not {"columns", "file"} <= differs:
        differs -= {"columns", "file"}
    for name, fault in TOLD.items():
        if name in differs:
            raise CannotCapture(places[name], fault, f"begin again: {anew}")
