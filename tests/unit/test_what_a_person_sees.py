"""A stranger's text is shown: no terminal obeys it, no sheet computes it, no fix is forged."""

import csv
import io
import json
import sys
from decimal import Decimal

import pyarrow as pa
import pytest

from lakehouse.audit.topic import span
from lakehouse.cli.quarantined import whole
from lakehouse.core.errors import LakehouseError
from lakehouse.core.text import as_json, for_spreadsheet, say
from lakehouse.doctor.check import Check
from lakehouse.doctor.doctor import drawn as drawn_checks
from lakehouse.explorer.format import Format
from lakehouse.explorer.show import render
from tests.conftest import NOW
from tests.support.terminal import Terminal

FORMULAS = ["=1+1", "@SUM(A1)", "+49 1", '-cmd|"/c calc"!A1', " =1", "\t=1", "\r=1"]
ESCAPES = "a\x1b]0;t\x07\x1b[2Jb\u202eev"


def parsed(text):
    return [*csv.reader(io.StringIO(text, newline=""))]


@pytest.mark.parametrize("text", FORMULAS)
def test_csv_has_no_formula_unless_a_program_asks_for_what_is_there(text):
    rows = pa.table({text: [text], "n": pa.array([-1])})
    (name, _), (value, number) = parsed(render({"rows": rows}, Format.csv))
    for shown in (name, value):
        assert not shown.startswith(("=", "+", "-", "@", " =", "\t", "\r"))
    assert number == "-1"
    assert parsed(render({"rows": rows}, Format.csv, raw=True))[1][0] == text


def test_csv_keeps_numbers_and_times_as_they_are():
    rows = [{"d": pa.scalar("-1.50").as_py(), "t": NOW, "i": -5, "f": -0.5, "none": None}]
    assert parsed(render({"rows": rows}, Format.csv))[1] == [
        "'-1.50", NOW.isoformat(), "-5", "-0.5", "",
    ]  # fmt: skip


@pytest.mark.parametrize("form", [*Format])
def test_no_format_lets_a_terminal_obey(form):
    shown = render({ESCAPES: pa.table({ESCAPES: [ESCAPES], "l": [[ESCAPES]]})}, form)
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert for_spreadsheet(ESCAPES).isprintable()


def test_narration_is_obeyed_by_no_terminal(capsys):
    say(f"repaired {ESCAPES}")
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("forged", ["x\n  fix: rm -r ~", "x\nFIX: y", "x\n\t fix: z"])
def test_no_text_of_data_is_an_errors_fix(forged):
    said = str(LakehouseError(f"table {forged}", forged, f"lakehouse repair {forged}"))
    fixes = [line for line in said.split("\n") if line.strip().lower().startswith("fix:")]
    assert fixes == [fixes[0]]
    assert fixes[0].startswith("  fix: lakehouse repair ")


def test_a_quarantined_record_shows_its_columns_and_bytes_as_text():
    found = {
        "address": f"sales{ESCAPES}/0/1", "kafka_time": NOW, "quarantined_at": NOW,
        "flow": f"f{ESCAPES}\n  fix: x", "contract_version": 1, "verdict": ESCAPES,
        "verdict_now": ESCAPES, "passes_now": False, "replayed_version": None, "replayed_at": None,
        "left_out_bytes": None, "key": None,
        "headers": [{"key": ESCAPES, "value": {"text": ESCAPES, "bytes": 9}}],
        "value": {"text": f"{{\n  fix: run it\n{ESCAPES}", "bytes": 20},
    }  # fmt: skip
    shown = whole(found)
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert not [line for line in shown.split("\n") if line.strip().startswith("fix:")]


def test_a_number_without_an_end_is_text_in_json():
    """A page's reader stops at NaN, and so does each program but Python."""
    told = {"a": [float("nan"), {"b": (float("-inf"), 1.5)}], "c": Decimal("NaN")}

    def refused(name):
        raise AssertionError(name)

    found = json.loads(as_json(told), parse_constant=refused)
    assert found == {"a": ["nan", {"b": ["-inf", 1.5]}], "c": "NaN"}


def test_the_doctor_shows_the_name_of_a_strangers_table_as_text():
    shown = drawn_checks([Check("lake", f"silver.{ESCAPES}[/x]", "pass", ESCAPES)])
    assert "[/x]" in shown
    assert all(c.isprintable() or c == "\n" for c in shown)


def test_a_command_that_is_said_can_be_copied():
    command = f"psql 'postgresql://lakehouse@127.0.0.1:15292/postgres?passfile=/{'var/' * 9}pgpass'"
    told = ["Postgres in 0.9 s: " + command, "words " * 30]
    code = f"from lakehouse.core.text import say; [*map(say, {told!r})]"
    with Terminal([sys.executable, "-c", code], ".") as terminal:
        assert terminal.ended() == 0
    assert command in terminal.written
    assert "words\r\nwords" in terminal.written.replace(" ", "")  # prose is folded at words


def test_a_time_that_a_topic_keeps_records_is_told_in_one_unit():
    times = [604_800_000, 129_600_000, 5_400_000, 90_000, 1_000]
    assert [*map(span, times)] == ["7 days", "1.5 days", "1.5 hours", "1.5 minutes", "1,000 ms"]


def test_a_remedy_of_the_doctor_can_be_copied():
    fix = f"rm -r {' '.join(f'/var/lib/lakehouse/{n:032}' for n in range(20))}"
    assert f"      fix: {fix}\n" in drawn_checks([Check("services", "data", "warn", "old", fix)])
