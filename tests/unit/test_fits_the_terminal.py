"""What is printed for a terminal fits it; elsewhere, and for programs, it is whole."""

import json
import sys

import pytest

from lakehouse.explorer.drawn import Wide
from lakehouse.explorer.format import Format
from lakehouse.explorer.show import render
from tests.conftest import encode, sale
from tests.live.conftest import verb
from tests.support.lake import Lake
from tests.support.terminal import Terminal

TIME = "2026-11-30T13:55:16.358000+00:00"
ROWS = [
    {"into": f"silver.sales_by_{n}", "waiting": None, "time": TIME, "lasts_long": 12_345_678_901,
     "last_audit": "PROVEN", "x_": n}
    for n in ("country", "client", "segment")
]  # fmt: skip


def drawn(wide, width=60):
    return render({"flows": ROWS}, Format.table, width, wide=wide)


def widest(text):
    return max(map(len, text.splitlines()))


def test_headers_are_the_names_of_columns_and_a_table_s_title_its_name():
    text = render({"silver.sales_by_country": ROWS}, Format.table, 200)
    title, _, head, *_ = text.splitlines()
    assert title == "silver.sales_by_country"
    assert head.split() == [*ROWS[0]]


def test_columns_that_there_is_no_room_for_are_left_out_the_empty_ones_first_and_named():
    text = drawn(Wide.FEWER)
    assert widest(text) <= 60
    _, _, head, *_ = text.splitlines()
    assert head.split() == ["into", "time", "last_audit"]
    assert "  no room for: waiting, lasts_long, x_" in text
    assert "2026-11-30 13:55 " in text
    assert "no room" not in drawn(Wide.FEWER, 120)


def test_text_goes_on_in_the_next_line_before_a_column_is_left_out_but_no_name_is_broken():
    concern = {"level": "look", "what": "no process writes this lake now: its numbers are old",
               "fix": "lakehouse up --root var/demo"}  # fmt: skip
    text = render({"concerns": [concern]}, Format.table, 60, wide=Wide.FEWER)
    assert widest(text) <= 60
    assert "no room" not in text
    names = ", ".join(f"silver.sales_client_products_{n}" for n in range(9))
    for width in (20, 60, 100):
        text = render({"products": [{"is": "here", "tables": names}]}, Format.table, width)
        assert all(name in text for name in names.split())


def test_what_is_drawn_again_keeps_its_columns_when_one_gets_values():
    _, _, head, *_ = drawn(Wide.FITS).splitlines()
    assert head.split()[:2] == ["into", "waiting"]
    assert "no room" not in drawn(Wide.FITS)


def test_a_row_is_drawn_as_lines_and_nothing_is_left_out():
    text = drawn(Wide.BELOW)
    assert widest(text) <= 60
    assert "  ── 2 of 3\n  into        silver.sales_by_client\n" in text
    assert (text.count(TIME), text.count("12,345,678,901")) == (3, 3)
    assert drawn(Wide.BELOW, 200) == drawn(Wide.AS_IS, 200)


@pytest.mark.parametrize("words", [["status"], ["tables"], ["history", "bronze.sales"]], ids=str)
def test_on_a_terminal_of_80_columns_no_line_is_longer(settings, words):
    Lake(settings).land(encode(sale()), 0)
    there = ["--root", settings.lake.root]
    with Terminal([sys.executable, "-m", "lakehouse", *words, *there], ".") as terminal:
        assert terminal.ended() == 0
    lines = terminal.written.replace("\r", "").split("\n")
    assert max(len(line.rstrip()) for line in lines) <= 80, terminal.written
    if words[0] == "history":
        assert "ends 0: 1" in terminal.written
        [commit, *_] = json.loads(verb(*words, "--json", *there).stdout)["bronze.sales"]
        assert json.loads(commit["note"])["ends"]["next"] == {"0": 1}
