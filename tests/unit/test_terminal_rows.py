"""Rows on the terminal explorer's screen: nothing that looks whole is cut, and rows of their own
are sorted, filtered and exported like a table's."""

import json
import re

import pyarrow as pa
import pytest

from lakehouse.explorer.app.cells import cut
from lakehouse.explorer.app.over import RowsOver
from lakehouse.explorer.app.tree import compact
from lakehouse.explorer.sql import Answer
from tests.support.terminal_app import drive

NUMBER = 8_209_930_484
WORDS = "somewhat_long"
TABLE = pa.table(
    {
        "place": range(40),
        "text": [f"{WORDS} {n}" for n in range(40)],
        **{f"n{n}": [NUMBER + n] * 40 for n in range(8)},
    }
)


def test_neither_an_edge_nor_a_scroll_bar_cuts_what_looks_whole(tmp_path):
    wholes = {f"{NUMBER + n:,}" for n in range(8)}

    async def steps(it):
        it.app.show_rows("rows", lambda: Answer(TABLE, 0))
        await it.shows("40 rows")
        for key in ["right"] * 9 + ["G"] + ["left"] * 9:
            await it.press(key)
            rows = "\n".join(it.screen.splitlines()[3:-2])
            assert {*re.findall(r"[\d,]{3,}", rows)} <= wholes, it.told("a number is cut")
            texts = re.findall(r"[a-z_…]+", rows)
            assert all(text == WORDS or "…" in text for text in texts), it.told("a text is cut")
        await it.shows(f"{WORDS} 39")

    drive(tmp_path, steps)


def test_rows_of_their_own_are_sorted_filtered_and_exported(tmp_path):
    async def steps(it):
        it.app.show_rows("rows", lambda: Answer(TABLE, 7))
        await it.shows("40 rows, and 7 more")
        await it.press("s")
        await it.until(lambda: it.grid.rows["place"][0].as_py() == 39)
        await it.press("slash")
        await it.write("long 1\n")
        await it.shows("11 rows of the first 40 with 'long 1' (Esc: all rows)")
        await it.press("I")
        await it.shows("one row", f"{WORDS} 19")
        await it.press("escape", "e")
        await it.pilot.pause()
        it.app.screen.query_one("Input").value = str(tmp_path / "rows.json")
        await it.press("enter")
        await it.until((tmp_path / "rows.json").exists)
        await it.press("escape")
        await it.shows("40 rows")
        assert isinstance(it.app.screen, RowsOver)
        await it.press("escape")
        assert not isinstance(it.app.screen, RowsOver)

    drive(tmp_path, steps)
    found = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["place"] for row in found] == [*range(19, 9, -1), 1]


@pytest.mark.parametrize(
    ("start", "end", "shown"),
    [
        (0, 10, "abcdef    "),
        (0, 6, "abcdef    "),
        (0, 4, "abc…      "),
        (2, 10, "  …def    "),
        (-3, 0, "abcdef    "),
        (7, 20, "abcdef    "),
    ],
)
def test_a_text_that_an_edge_cuts_has_a_mark(start, end, shown):
    assert cut("abcdef    ", start, end) == shown


def test_a_wide_character_that_an_edge_cuts_leaves_as_many_cells():
    assert cut("日本日本", 2, 20) == "  … 日本"
    assert cut("日本日本", 0, 4) == "日 …    "


@pytest.mark.parametrize(
    ("count", "shown"),
    [(999, "999"), (4_373, "4.4k"), (9_999, "10k"), (20_727, "21k"), (999_499, "999k"),
     (999_999, "1.0M"), (541_907, "542k"), (2 * 10**9, "2.0G")],
)  # fmt: skip
def test_a_count_in_a_few_characters_is_the_nearest(count, shown):
    assert compact(count) == shown
