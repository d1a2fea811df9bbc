"""The terminal explorer over a stranger's names: titles, notices and commands are plain text."""

import shutil

import pytest

from lakehouse.explorer.app.screens import RecordOver
from tests.conftest import encode, sale, settings_at
from tests.support.lake import Lake
from tests.support.terminal_app import LARGE, drive

COUNTRY = "\x1b]0;x\x07[@click=app.quit]y"
FOLDER = "sales_[@click=app.quit]x\x1b[31m"
SHOWN = r"[@click=app.quit]x\x1b[31m"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A lake whose key values and one of whose tables are named by a stranger."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_STATE", str(tmp_path_factory.mktemp("state") / "own"))
        lake = Lake(settings_at(tmp_path_factory.mktemp("hostile") / "lake"))
        lake.land(encode(sale(country=COUNTRY)), 0)
        lake.fold()
        root = lake.settings.lake.root
        shutil.copytree(f"{root}/silver/sales_by_country", f"{root}/silver/{FOLDER}")
        yield root


def test_titles_notices_and_commands_are_plain_text(root):
    async def steps(it):
        await it.shows(SHOWN)
        it.app.pick_table("silver.sales_by_country")
        await it.shows("country", "currency")
        it.app.show_origin("", "silver.sales_by_country", it.grid.row)
        await it.shows("events of", r"\x1b]0;x\x07[@click=app.quit]y")
        assert "\x1b" not in it.screen
        await it.press("escape")
        it.app.notify(f"copied {FOLDER}")
        await it.shows(r"copied sales_[@click=app.quit]x\x1b[31m")
        it.app.push_screen(RecordOver(f"bronze.{FOLDER}", {"topic": "t"}))
        await it.shows(rf"bronze.sales_{SHOWN}")
        await it.press("escape")
        await it.press("ctrl+p")
        await it.shows("Every key")
        await it.write("click")
        await it.shows("[@click=app.quit]x")
        assert "\x1b" not in it.screen

    drive(root, steps, LARGE)


def test_no_command_of_the_palette_is_markup(root):
    from textual.content import Content  # noqa: PLC0415  # with the app alone

    async def steps(it):
        await it.until(lambda: it.app.seen.versions)
        commands = [*it.app.get_system_commands(it.app.screen)]
        drawn = [Content.from_markup(text) for c in commands for text in (c.title, c.help)]
        assert any(SHOWN in text.plain for text in drawn)
        assert not [text for text in drawn if text.spans]

    drive(root, steps, LARGE)
