"""Every part that a statement is joined from: quoted by the one module, a constant, or named here.

ruff's S608 says that SQL is composed; here stands of what. A part that is new in a statement fails
this test until somebody has looked where it comes from.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNS = {"execute", "executemany", "sql", "query", "define"}
QUOTING = {"identifier", "listed", "text", "texts", "reads", "scan", "columns_of", "with_columns"}
"""Functions whose result is SQL: those of core/sql.py, and what is made of them."""
REVIEWED = {
    "lakehouse/audit/addresses.py": {
        "rows": "a FROM item of with_columns, or of true_marks over one",
        "sql": "_FORMER, filled with numbers and with texts(ids)",
    },
    "lakehouse/audit/compare.py": {
        "int(timeouts or 0)": "a whole number",
        "literal": "a time that text() quotes, or NULL",
        "recompute.sql": "SQL of the product's recompute module",
    },
    "lakehouse/audit/from_kafka.py": {
        "drawn": "a constant, and names by listed()",
        "keys": "names by listed()",
        "kind.recompute.sql": "SQL of the product's recompute module",
        "name": "one of two constants",
        "told": "names by identifier(), and types that DuckDB names",
    },
    "lakehouse/audit/pins.py": {
        "pin.listed": "names by listed()",
        "rows": "reads() of files",
        "select": "a SELECT that its callers write out of listed() and reads()",
        "self._tables[key]": "a name that we number",
        "source": "a FROM item by reads(), scan() or a view of ours",
    },
    "lakehouse/audit/told.py": {
        "_packed(columns)": "names by identifier()",
        "_packed(told)": "names by identifier()",
        "address": "constant column names",
        "bronze": "names of the contract",
        "held": "names of the contract",
        "room": "a number of ours",
        "said": "names of the contract",
        "table": "a view of ours",
    },
    "lakehouse/audit/typed.py": {"select": "a SELECT by scan() and listed(), or a view's name"},
    "lakehouse/audit/watermarks.py": {"gone": "one of two constants, filled with a product's name"},
    "lakehouse/explorer/diff.py": {
        "found": "a SELECT of ours, with names by identifier() and listed()",
        "into": "one of two constants",
        "name": "one of two constants",
        "rows": "a SELECT of select_of() with names by identifier(), or a constant",
        "where": "listed() and numbers of ours",
    },
    "lakehouse/explorer/locked.py": {
        "''.join(lacking)": "constant columns",
        "layer": "a constant",
        "name": "a declared view's name",
        "source": "scan() of files with names by identifier()",
        "sql": "a declared view's SQL",
        "target": "a layer and identifier()",
    },
    "lakehouse/operations/erased_again.py": {"listed": "reads() of files, or nothing"},
    "lakehouse/products/bound.py": {"sql": "SQL of a declaration, on a connection without files"},
    "lakehouse/silver/exact.py": {"windows": "a FROM item by scan()"},
    "lakehouse/silver/latest.py": {
        "keyed.where": "SQL of the product's declaration",
        "now": "reads() of files, or a view of ours",
    },
    "lakehouse/settings/postgres_client.py": {"name": "a setting of Postgres that we name"},
    "lakehouse/sinks/kafka_rows.py": {
        "enriched": "SQL of the sink's declaration, over the views of rows",
        "rows": "SQL of the sink's declaration, over reads() and scan()",
        "value": "SQL of the sink's declaration, and columns_of()",
    },
    "lakehouse/sinks/postgres_transfer.py": {"columns": "a star, or names by listed()"},
    "lakehouse/storage/duck.py": {
        "files": "texts()",
        "folders": "texts()",
        "str(limits.keeps_footers).lower()": "true or false",
    },
    "lakehouse/storage/prepared.py": {
        "function": "a name that we number",
        "self._sql": "SQL that the callers give to be prepared",
    },
    "producers/cdc/poll.py": {"key": "names by identifier()", "table.quoted": "by identifier()"},
    "producers/cdc/plan.py": {"one": "a call with a placeholder, and one of two constants"},
    "producers/cdc/resend.py": {
        "table.quoted": "by identifier()",
        "wanted": "names by identifier(), with placeholders",
    },
    "producers/cdc/server.py": {"lock_ms": "a whole number"},
    "producers/cdc/slot.py": {"kind": "one of two constants"},
    "producers/cdc/snapshot.py": {"table.quoted": "by identifier()"},
    "producers/orders/load.py": {
        "names": "the contract's columns",
        "places": "%s, so many",
        "table": "a setting that matches schema.table in word characters",
    },
}
"""File → part → where it comes from."""


def parts(path):
    """The parts of f-strings that a statement is run of, where it is run."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr in RUNS and node.args and isinstance(node.args[0], ast.JoinedStr):
            yield from (v.value for v in node.args[0].values if isinstance(v, ast.FormattedValue))


def is_quoted(part):
    if isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
        return part.func.id in QUOTING
    return isinstance(part, ast.Name) and part.id.isupper()


def test_every_part_of_a_statement_is_quoted_or_looked_at():
    found = {}
    for folder in ("lakehouse", "producers", "jobs"):
        for path in ROOT.glob(f"{folder}/**/*.py"):
            if told := {ast.unparse(part) for part in parts(path) if not is_quoted(part)}:
                found[str(path.relative_to(ROOT))] = told
    assert found == {path: set(told) for path, told in REVIEWED.items()}
