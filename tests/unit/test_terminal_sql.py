"""The terminal explorer's SQL editor: completed, run, ended and kept; and in a real terminal."""

import json
import re
import sys
import threading
from pathlib import Path

import pytest

from lakehouse.cli.asking import opened
from lakehouse.explorer.app.history import History
from tests.support.terminal import Terminal
from tests.support.terminal_app import drive

pytestmark = pytest.mark.usefixtures("state_of_its_own")
ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"


def test_sql_is_completed_run_kept_and_its_errors_have_a_place(screen_root):
    async def steps(it):
        await it.shows("totals by currency", "█")
        await it.press("f4")
        await it.write("SELECT count(*) AS n FROM silver.sales_by_cl")
        await it.shows("silver.sales_by_client")
        await it.press("tab", "f5")
        await it.until(lambda: it.grid.rows.num_rows == 1)
        assert it.grid.rows.schema.names == ["n"]
        editor = it.app.query_one("Editor")
        editor.load_text("SELECT country,\n  nope FROM silver.sales_by_country")
        await it.press("f5")
        await it.shows("line 2, column 3", "nope")
        assert (it.grid.rows.num_rows, it.grid.columns) == (0, [])  # not those of before
        assert (editor.wrong_at, editor.cursor_location) == ((2, 3), (1, 2))
        await it.press("f7", "f7")
        before = "SELECT count(*) AS n FROM silver.sales_by_client"
        assert editor.text == before
        await it.press("ctrl+l")
        assert editor.text == ""
        await it.press("ctrl+z")
        assert editor.text == before
        editor.load_text("DROP TABLE x")
        await it.press("f5")
        await it.shows("read-only")
        kept = it.app._history.path
        assert kept.stat().st_mode & 0o777 == 0o600
        assert json.loads(kept.read_text().splitlines()[-1]) == "DROP TABLE x"
        assert History(kept).statements[0].startswith("SELECT count")
        editor.load_text("SHOW TABLES")
        await it.press("f5")
        await it.until(lambda: it.grid.columns and "bronze.sales" in it.grid.rows[0].to_pylist())

    drive(screen_root, steps)


def test_what_is_typed_at_once_after_f4_is_in_the_editor(screen_root):
    async def steps(it):
        await it.shows("totals by currency", "█")
        editor = it.app.query_one("Editor")
        for before in ("f2", "f3", "f4"):
            await it.press(before)
            editor.load_text("")
            await it.burst("f4", *"SELECT 1 AS two", "f5")
            await it.until(lambda: editor.text == "SELECT 1 AS two" and it.grid.rows.num_rows == 1)
            assert it.grid.rows.schema.names == ["two"]
        await it.shows("F2 Analyses", "F3 Table", "F4 SQL", "^l Clear")
        await it.press("ctrl+l", "f9", "f9", "t")
        assert editor.text == "t"
        await it.press("shift+tab", "shift+tab")
        assert it.app.query_one("LakeTree").has_focus
        await it.press("f9", "t", "f9", "t")
        assert editor.text == "ttt"
        editor.load_text("SELECT 1 AS two")
        await it.press("f1")
        await it.burst("f2", "x")
        await it.shows("this help")
        assert (editor.text, it.app.query_one("#tabs").active) == ("SELECT 1 AS two", "sql")

    drive(screen_root, steps)


def test_a_question_that_runs_can_be_ended_and_the_screen_goes_on(screen_root):
    async def steps(it):
        await it.shows("totals by currency", "█")
        await it.press("f4")
        it.app.query_one("Editor").load_text(ENDLESS)
        await it.press("f5")
        await it.until(lambda: it.app.session._running is not None)
        await it.press("f1")
        await it.shows("this help")
        await it.press("escape")
        await it.press("escape")
        await it.shows("cancelled")
        it.app.query_one("Editor").load_text("SELECT 42 AS answer")
        await it.press("f5")
        await it.until(lambda: it.grid.rows.schema.names == ["answer"])
        it.app.query_one("Editor").load_text(ENDLESS)
        await it.press("f5")  # another question ends it too
        await it.until(lambda: it.app.session._running is not None)
        it.app.query_one("Editor").load_text("SELECT 43 AS answer")
        await it.press("f5")
        await it.until(lambda: it.grid.rows.to_pylist() == [{"answer": 43}])

    drive(screen_root, steps)


def test_it_is_left_while_a_question_runs(screen_root):
    async def steps(it):
        await it.shows("totals by currency", "█")
        await it.press("f4")
        it.app.query_one("Editor").load_text(ENDLESS)
        await it.press("f5")
        await it.until(lambda: it.app.session._running is not None)
        await it.press("ctrl+q")

    drive(screen_root, steps)


def test_in_a_terminal_of_its_own_without_colour(screen_root, tmp_path):
    words = [sys.executable, "-m", "lakehouse", "explore", "--root", screen_root]
    with Terminal(words, ".", NO_COLOR="1", LAKEHOUSE_STATE=str(tmp_path / "s")) as terminal:
        terminal.wait_for("by_country", "totals by currency", "currency")
        terminal.type("\x1bOS")  # F4
        terminal.wait_for("Run")
        terminal.type("SELECT 6 * 7 AS answer\x12")  # Ctrl+R
        terminal.wait_for("1 row ")
        orders = re.findall(r"\x1b\[([0-9;]+)m", terminal.raw)
        colours = {code for order in orders for code in order.split(";")}
        assert colours <= {"0", "1", "2", "4", "7", "39", "49"}, "none, no grey either"
        terminal.type("\x11")  # Ctrl+Q
        assert terminal.ended() == 0
    assert "Traceback" not in terminal.written


def test_questions_of_two_threads_take_turns(screen_root):
    _, session = opened(None, Path(screen_root), None, None, None)
    found = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(session.ask(f"SELECT {n} AS n").rows))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(rows["n"][0].as_py() for rows in found) == [*range(8)]
