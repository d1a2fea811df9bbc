"""``SHOW TABLES`` as a lake answers it: every table by its name, and the views that work here.

The engine's own lists the views alone, as each layer is a schema of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import duckdb

from lakehouse.core.sql import texts
from lakehouse.explorer.complete import spelled

_VIEWS = "SELECT view_name FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal"
_WORDS = re.compile(rb"\W")


def listing(statement: str, tables: Iterable[str], connection: duckdb.DuckDBPyConnection) -> str:
    """The statement with each ``SHOW TABLES`` as a SELECT of these tables and the open views.

    ``SHOW TABLES FROM`` a layer stays: the engine knows it.
    """
    if not (places := _places(statement)):
        return statement
    views = [str(view) for (view,) in connection.execute(_VIEWS).fetchall()]
    names = texts(sorted([*map(spelled, tables), *views]))
    data = statement.encode()
    for first, end in reversed(places):
        data = data[:first] + f"SELECT unnest([{names}]) AS name".encode() + data[end:]
    return data.decode()


def _places(statement: str) -> list[tuple[int, int]]:
    """From which byte to which the statement has SHOW TABLES, and no FROM after it."""
    data = statement.encode()
    begins = [o for o, kind in duckdb.tokenize(statement) if kind != duckdb.token_type.comment]
    words = [_WORDS.split(data[begin : begin + 8].lower(), 1)[0] for begin in begins]
    return [
        (begins[i], begins[i + 1] + len("tables"))
        for i in range(len(words) - 1)
        if words[i : i + 2] == [b"show", b"tables"] and words[i + 2 : i + 3] != [b"from"]
    ]
