"""Columns whose names are SQL, in every table of a foreign lake: no verb runs it."""

import shutil

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from tests.hostile.edits import tables
from tests.hostile.verbs import VERBS, outcome, state_of

STATEMENT = "COPY (SELECT 'stolen') TO 'diary.txt'"
"""Of the folder that a verb is run in: the user's own."""
NAMES = [
    'x" FROM (SELECT 1 AS "x"); {statement}; SELECT 1 AS "y',
    'x" AS INTEGER) AS "x"), 1); {statement}; --',
    "x'); {statement}; --",
    'x"',
    "'",
    "x -- \x1b]0;title\x07\x1b[2J\nfix: run it as root",
]


def with_columns(table, names, *, is_filled):
    """A commit of a stranger that adds columns, which have a value or have none."""
    rows = DeltaTable(table).to_pyarrow_table().slice(0, 1)
    for name in names:
        rows = rows.append_column(name, pa.array(["a stranger's"], pa.string()))
    write_deltalake(
        table, rows if is_filled else rows.slice(0, 0), mode="append", schema_mode="merge"
    )


@pytest.fixture(scope="module")
def spoiled(landed, tmp_path_factory):
    """The root of a lake in whose every table each of the names is a column, in two ways.

    No file has the one of them; a file has the other, a letter before its name.
    """
    root = tmp_path_factory.mktemp("names") / "lake"
    shutil.copytree(landed, root)
    for table in tables(root):
        names = [name.format(statement=STATEMENT) for name in NAMES]
        with_columns(table, names, is_filled=False)
        with_columns(table, [f"a{name}" for name in names], is_filled=True)
    return root


@pytest.fixture
def hostile(spoiled, lake):
    """A copy of it, the user's files beside it."""
    shutil.rmtree(lake)
    return shutil.copytree(spoiled, lake)


@pytest.mark.parametrize("verb", VERBS)
def test_no_name_of_a_column_becomes_sql(hostile, asked, tmp_path, verb):
    home = tmp_path / "home"
    before = state_of(home)
    said = outcome(verb, hostile)
    assert state_of(home) == before
    assert "\x1b" not in said
