"""One place makes DuckDB connections and one makes a name or a value SQL: of the whole package."""

import ast
import re
from pathlib import Path

import duckdb
import pytest

from lakehouse.core.sql import identifier, listed, text, texts
from lakehouse.storage.duck import Limits, connect, opened

ROOT = Path(__file__).parents[2]
CODE = [
    path for folder in ("lakehouse", "producers", "jobs") for path in ROOT.glob(f"{folder}/**/*.py")
]
QUOTING = "lakehouse/core/sql.py"
HOSTILE = ['a"b', "a'b", "\"; COPY (SELECT 1) TO 'x'; --", "a\nb", "", "ü.\x1b[2J"]


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def called(node):
    return ast.unparse(node.func)


def test_only_the_factory_starts_duckdb():
    makers = {"connect", "default_connection", "sql", "query", "execute", "read_parquet"}
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in CODE
        for node in calls(ast.parse(path.read_text("utf-8")))
        if called(node) in {f"duckdb.{name}" for name in makers}
    ]
    assert len(found) == 1
    assert found[0].startswith("lakehouse/storage/duck.py:")


def piece(part):
    """A part of an f-string; ``{}`` for a value that is no constant of the module."""
    if not isinstance(part, ast.FormattedValue):
        return str(part.value)
    name = ast.unparse(part.value)
    return name if name.isupper() else "{}"


def quoted_by_hand(tree):
    """F-strings and templates that put a value between quotes, where only ours may."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.JoinedStr):
            continue
        whole = "".join(map(piece, node.values))
        if '"{}"' in whole or re.search(r"(=|\(|,|IN|LIKE|<|>) ?'\{\}'", whole):
            yield node.lineno, whole


def test_no_other_code_puts_quotes_around_a_name_or_a_value():
    found = {
        f"{path.relative_to(ROOT)}: {whole}"
        for path in CODE
        if not ("products" in path.parts and path.name in DECLARED)
        for _, whole in quoted_by_hand(ast.parse(path.read_text("utf-8")))
    }
    assert found == NO_SQL_OF_DATA


def test_quotes_are_doubled_in_one_module():
    doubled = [
        str(path.relative_to(ROOT))
        for path in CODE
        if re.search(r"""replace\((?:"'", "\'\'"|'"', '""')\)""", path.read_text("utf-8"))
    ]
    assert doubled == ["lakehouse/core/sql.py"]


DECLARED = {"tables.py", "recompute.py"}
"""Of products: made of constants when they are imported; they may import nothing that quotes."""
NO_SQL_OF_DATA = {
    """lakehouse/model/change.py: ["{}","{}","{}"]""",  # JSON of three numbers
    """lakehouse/runtime/session.py: "{}\"""",  # an option of Java
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_and_a_value_stay_what_they_are(name):
    with opened(Limits("100MB", threads=1)) as connection:
        made = connection.execute(f"SELECT {text(name)} AS {identifier(name or 'e')}")
        assert (made.description[0][0], made.fetchall()) == (name or "e", [(name,)])
        assert connection.execute(f"SELECT [{texts([name, 'b'])}]").fetchall() == [([name, "b"],)]
    assert listed(["a", 'b"']) == '"a", "b"""'


FORBIDDEN = [
    "SET threads = 4",
    "SET enable_external_access = true",
    "INSTALL httpfs",
    "LOAD httpfs",
    "FROM read_text('{outside}')",
    "FROM read_text('{lake}/../canary')",
    "FROM read_text('{lake}/link')",
    "COPY (SELECT 1) TO '{outside}'",
    "COPY (SELECT 1) TO '{lake}/link'",
    "ATTACH '{outside}.db'",
    "FROM read_text('https://127.0.0.1:1/x')",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_a_connection_of_the_lake_reaches_nothing_else(settings, tmp_path, statement):
    lake, canary = Path(settings.lake.root), tmp_path / "canary"
    lake.mkdir()
    canary.write_text("as it was")
    (lake / "link").symlink_to(canary)
    with connect(settings) as connection:
        for one in (connection, connection.cursor()):
            with pytest.raises(duckdb.Error):
                one.execute(statement.format(outside=canary, lake=lake)).fetchall()
    assert canary.read_text() == "as it was"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["canary", "lake"]


def test_what_does_not_fit_goes_to_a_folder_of_its_own(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = settings.changed(silver={"engine_memory": "60MB", "engine_threads": 1})
    with connect(small) as connection:
        connection.execute("CREATE TABLE t AS SELECT i, md5(i::VARCHAR) m FROM range(1500000) t(i)")
        assert connection.execute("SELECT count(*) FROM t").fetchall() == [(1_500_000,)]
    assert [*tmp_path.iterdir()] == []
