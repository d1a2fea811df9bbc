"""The terminal explorer by keys alone, on real lakes: what it shows, and what it never obeys."""

import json
import shutil
import subprocess
import sys

import pytest

from lakehouse.explorer.app.cells import short
from lakehouse.explorer.app.drill import EventsOver
from lakehouse.explorer.app.screens import RecordOver
from tests.conftest import encode, sale, settings_at
from tests.support.lake import Lake
from tests.support.screen import HOSTILE, SHOWN
from tests.support.terminal_app import LARGE, SMALL, drive

pytestmark = pytest.mark.usefixtures("state_of_its_own")


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=str)
def test_the_first_screen_has_tables_analyses_a_picture_and_rows(screen_root, size):
    async def steps(it):
        await it.shows("by_country", "bronze 5 v", "totals by currency", "█", "currency")
        assert f"{screen_root[: size[0] - 10]}"[:20] in it.screen
        await it.press("f2", "down")
        await it.shows("country", SHOWN[:8])
        it.results.action_row()
        await it.shows("one row", "average_basket")
        await it.press("escape")
        await it.shows("silver.sales_by_client", "version ")

    drive(screen_root, steps, size)


def test_the_cursor_stays_where_it_was_and_a_key_is_never_undone(screen_root):
    async def steps(it):
        await it.until(lambda: it.app.seen.versions)
        tree, names = it.app.query_one("LakeTree"), it.app.session.catalogue.names()
        tree.point_at("silver.sales_by_segment")
        tree.list([*names, "silver.sales_new"], {}, {})
        await it.until(lambda: tree.pointed == "silver.sales_by_segment")
        await it.press("down")  # before what follows a listing has come
        tree._begin("silver.sales_by_client")
        assert tree.pointed == "silver.sales_client_products"

    drive(screen_root, steps, LARGE)


def test_a_number_goes_back_to_events_a_record_its_commit_and_its_bytes(screen_root):
    async def steps(it):
        await it.shows("totals by currency", "█")
        it.app.pick_table("silver.sales_by_country")
        await it.shows("Spain")
        row = next(n for n, v in enumerate(it.grid.rows["country"].to_pylist()) if v == "Spain")
        await it.press(*["down"] * row, "enter")
        await it.until(lambda: isinstance(it.app.screen, EventsOver))
        await it.shows("country = Spain", "3 rows")
        it.grid.cursor = (0, it.grid.rows.schema.names.index("order_id"))
        await it.press("s", "s")
        await it.until(lambda: it.grid.rows["order_id"].to_pylist() == ["o0", "o1", "o2"])
        await it.press("slash")
        await it.write("o1\n")
        await it.shows("1 row with 'o1'")
        await it.press("escape", "s")
        await it.until(lambda: it.grid.rows.num_rows == 3)
        await it.press("e")
        await it.shows("export to")
        await it.press("escape", "enter")
        await it.until(lambda: isinstance(it.app.screen, RecordOver))
        await it.shows("bronze.sales", "sales[0]@5", "commit: version 2 of bronze.sales")
        await it.press("escape", "escape")
        it.app.pick_table("quarantine.sales")
        await it.shows("kafka_time", "[bold]")
        await it.press("enter")
        await it.shows("commit: version")
        await it.press("pagedown", "pagedown", "end")
        await it.shows("bytes as Kafka had them")

    drive(screen_root, steps, LARGE)


def test_the_table_s_tab_shows_the_table_that_the_tree_points_at(screen_root):
    async def steps(it):
        await it.shows("totals by currency", "█")
        await it.press("f3")
        await it.until(lambda: it.app.table == "silver.sales_by_client")
        await it.shows("client_id")

    drive(screen_root, steps)


def test_the_tree_has_the_columns_of_each_table_and_their_types(screen_root):
    async def steps(it):
        await it.shows("totals by currency", "bronze 5 v")
        it.app.query_one("LakeTree").point_at("bronze.sales")
        await it.press("space")
        await it.shows("unit_price decimal(18,4)", "event_time timestamp")
        await it.press("down", "enter")
        await it.until(lambda: it.app.table == "bronze.sales")
        await it.until(lambda: "offset" in it.grid.rows.schema.names)
        tree = it.app.query_one("LakeTree")
        tree.point_at("bronze.sales")
        tree.focus()
        await it.press("space")
        await it.until(lambda: not tree.cursor_node.is_expanded)
        assert tree.pointed == "bronze.sales"

    drive(screen_root, steps, LARGE)


def test_rows_of_a_statement_are_of_the_moment_that_the_screen_names(screen_root):
    async def steps(it):
        await it.shows("totals by currency", "bronze 5 v")
        await it.press("f4")
        await it.write("FROM bronze.sales")
        await it.press("escape", "f5")
        await it.until(lambda: it.grid.rows.num_rows == 5)
        rows = it.grid
        await it.press("tab", "t")
        await it.write("1\n")
        await it.until(lambda: rows.rows.num_rows == 2)
        await it.press("t")
        await it.write("2001-01-01\n")
        await it.shows("has no version as old")
        await it.until(lambda: rows.rows.num_rows == 0)

    drive(screen_root, steps, LARGE)


def test_a_mouse_is_enough(screen_root):
    async def steps(it):
        await it.shows("totals by currency", "█")
        tree = it.app.query_one("LakeTree")
        line = tree._leaves["bronze.sales"].line
        await it.pilot.click(tree, offset=(6, line))
        await it.until(lambda: "offset" in it.grid.rows.schema.names)
        await it.pilot.click(it.grid, offset=(2, 0))
        await it.until(lambda: it.grid.mark == ("event_id", True))
        await it.pilot.click(it.grid, offset=(2, 2), times=2)
        await it.until(lambda: isinstance(it.app.screen, RecordOver))
        await it.press("f1")
        await it.shows("this help")

    drive(screen_root, steps, LARGE)


def test_rows_are_sorted_filtered_described_copied_and_exported(screen_root, tmp_path):
    async def steps(it):
        await it.shows("totals by currency", "█")
        it.app.pick_table("bronze.sales")
        await it.until(lambda: "event_id" in it.grid.rows.schema.names)
        it.grid.cursor = (0, it.grid.rows.schema.names.index("offset"))
        await it.press("s")
        await it.until(lambda: it.grid.rows["offset"].to_pylist() == [5, 4, 3, 1, 0])
        await it.press("s")
        await it.until(lambda: it.grid.rows["offset"].to_pylist() == [0, 1, 3, 4, 5])
        await it.press("slash")
        await it.write("Spain\n")
        await it.until(lambda: it.grid.rows.num_rows == 3)
        await it.press("c")
        assert it.app.clipboard == "3"
        await it.press("e")
        await it.pilot.pause()
        field = it.app.screen.query_one("Input")
        field.value = str(tmp_path / "rows.json")
        await it.press("enter")
        await it.until((tmp_path / "rows.json").exists)
        await it.press("p")
        await it.shows("distinct", "shape")
        await it.press("escape", "escape")
        await it.until(lambda: it.grid.rows.num_rows == 5)

    drive(screen_root, steps, LARGE)
    found = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["offset"] for row in found] == [3, 4, 5]


def test_nothing_in_a_cell_is_obeyed(screen_root):
    async def steps(it):
        await it.shows("totals by currency", "█")
        it.app.pick_table("silver.sales_by_country")
        await it.shows(SHOWN[:30])
        for key in ("i", "enter"):
            row = it.grid.rows["country"].to_pylist().index(HOSTILE)
            it.grid.cursor = (row, 0)
            await it.press(key)
            await it.shows("[red]x[/] [@click=app.quit]y[/]", r"\x1b[31m")
            await it.press("escape")
        await it.press("C")
        assert "\x1b" not in it.app.clipboard
        assert "\u202e" not in it.screen + it.app.clipboard
        it.app.pick_table("quarantine.sales")
        await it.shows("kafka_time", "[bold]")
        assert "\x1b" not in it.screen

    drive(screen_root, steps, LARGE)


def test_a_table_s_name_is_not_obeyed_either(screen_root, tmp_path):
    name = "sales_[bold red]x[@click=app.quit]y"
    shutil.copytree(screen_root, tmp_path / "lake")
    silver = tmp_path / "lake" / "silver"
    (silver / "sales_by_country").rename(silver / name)

    async def steps(it):
        await it.shows("[bold red]x[@click=app.quit]y")
        await it.press("ctrl+p")
        await it.write("@click")
        await it.shows(f"silver.{name}")
        styles = [s.style for line in it.app.screen._compositor.render_strips() for s in line]
        assert not any(style and "@click" in str(style.meta) for style in styles)

    drive(tmp_path / "lake", steps, LARGE)


def test_time_travel_and_what_changed(screen_root):
    async def steps(it):
        await it.shows("totals by currency", "bronze 5 v")
        it.app.pick_table("silver.sales_by_country")
        await it.shows("Spain")
        versions = it.app.seen.versions["silver.sales_by_country"]
        await it.press("w")
        await it.pilot.pause()
        assert it.app.screen.query_one("Input").value == f"{versions - 1} {versions}"
        await it.press("enter")
        await it.shows("added", "Spain", "(row)")
        await it.press("escape", "t")
        await it.write("1\n")
        await it.shows("as of version 1", "bronze 2 v1")
        await it.until(lambda: "Spain" not in it.grid.rows["country"].to_pylist())
        await it.press("t")
        await it.write("noon\n")
        await it.shows("'noon'")
        await it.press("t")
        await it.write("0\n")
        await it.shows("as of version 0", "0 rows")
        await it.press("t")
        await it.write("2001-01-01\n")
        await it.shows("bronze not then", "has no version as old")
        assert it.grid.count == 0  # those of another moment are no answer
        await it.press("t", "enter")
        await it.until(lambda: it.grid.count and "Spain" in it.grid.rows["country"].to_pylist())
        await it.press("v")
        await it.shows("WRITE")

    drive(screen_root, steps, LARGE)


def test_it_follows_a_lake_that_moves_goes_and_comes(screen_root, tmp_path):
    moving = tmp_path / "lake"

    async def steps(it):
        await it.shows("no table here yet", "lakehouse demo")
        shutil.copytree(screen_root, moving)
        await it.shows("by_country", "bronze 5 v", "█")
        it.app.pick_table("bronze.sales")
        await it.shows("event_id")
        lake = Lake(settings_at(moving))
        lake.land(encode(sale(event_id="new", product_name="a new thing")), 7)
        await it.shows("bronze 6 v")
        await it.until(lambda: it.grid.rows.num_rows == 6)
        log = moving / "silver" / "sales_by_country" / "_delta_log"
        for entry in log.glob("*.json"):
            entry.write_text("{")
        await it.press("r")
        await it.shows("unreadable")
        it.app.pick_table("silver.sales_by_country")
        await it.shows("lakehouse rebuild")  # however long the file's path is
        shutil.rmtree(moving)
        await it.shows("no table here yet")
        await it.press("f2", "down")

    drive(moving, steps)


def test_a_number_that_has_no_room_is_not_cut(screen_root):
    async def steps(it):
        await it.shows("totals by currency", "█")
        it.app.pick_table("silver.sales_by_country")
        await it.shows("country")
        pairs = zip(it.grid.columns, it.grid.rows.columns, strict=True)
        whole = {short(v, c) for c, held in pairs if c.is_number for v in held.to_pylist()}
        for _ in range(len(it.grid.columns)):
            for line in it.screen.splitlines()[5:]:
                for word in line[28:].split("  "):
                    bare_word = word.strip().strip("…▁▂▃▄▅▆▇█ ")
                    if bare_word.replace(",", "").replace(".", "").isdigit():
                        assert bare_word in whole, line
            await it.press("right")

    drive(screen_root, steps)


def test_without_textual_it_says_how_to_install_it(screen_root):
    code = (
        "import sys, runpy; sys.modules['textual'] = None; "
        "sys.stdin.isatty = sys.stdout.isatty = lambda: True; sys.argv[0] = 'lakehouse'; "
        "runpy.run_module('lakehouse', run_name='__main__')"
    )
    words = [sys.executable, "-c", code, "explore", "--root", screen_root]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "lakehouse[tui]" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_colour_nothing_is_coloured_and_what_is_chosen_stands_out(screen_root, monkeypatch):
    async def steps(it):
        await it.shows("totals by currency", "█")
        await it.press("f2", "down")
        lines = [[*line] for line in it.app.screen._compositor.render_strips()]
        styles = [segment.style for line in lines for segment in line if segment.style]
        colours = {c.name for style in styles for c in (style.color, style.bgcolor) if c}
        assert colours <= {"default"}
        chosen = [
            "".join(s.text for s in line) for line in lines
            if any(s.style and s.style.underline and "  countries" in s.text for s in line)
        ]  # fmt: skip
        assert len(chosen) == 1

    monkeypatch.setenv("NO_COLOR", "1")
    drive(screen_root, steps)
