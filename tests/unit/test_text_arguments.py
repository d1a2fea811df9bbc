"""Every argument that takes text, given text that is not meant: one clear message, no traceback."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from lakehouse.cli.app import app
from lakehouse.core.errors import Exit, LakehouseError
from lakehouse.doctor import doctor
from lakehouse.products.registry import load_settings
from tests.conftest import encode, sale
from tests.support.lake import Lake

NAMES = [
    "../x", "../../etc/passwd", "/etc/passwd", "bronze/sales", "bronze.sales/../../x", "./bronze",
    "bronze..", ".", "..", " ", "", "bronze.", ".sales", "bronze.sales ", "bronze.sales\n",
    "bronze.sales;DROP TABLE x", "bronze.'x'", 'bronze."x"', "bronze.sales\x00", "x\x00y",
    "bronze.ſales", "BRONZE.SALES", "brоnze.sales", "ｂronze.sales", "\u202ebronze.sales",
    "\x1b[31mred\x07", "\x9b31m", "\udcff", "a" * 300, "a" * 100_000, "$(id)", "`id`", "{0}{root}",
    "%s%n", "-", "@x", "bronze.sales@1", "*", "bronze.*", "file:///etc/passwd", "s3://x/y", "~",
    "🦆", "[red]x[/red]", "_delta_log", "bronze._delta_log", "nan", "null", "None",
]  # fmt: skip
"""A name of a Cyrillic letter, of full-width letters, of a letter that casefolds to another…"""
NUMBERS = ["", "x", "-1", "1.5", "1e9", "nan", "inf", "٣", "0x10", "9" * 30, "9" * 5000, "\x00"]
TIMES = [*NUMBERS, "noon", "2026-13-01", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
         "2026-11-20T12:00:00'", "'; DROP", "1900-01-01"]  # fmt: skip
NO_SUCH = {Exit.USAGE, Exit.NO_TABLE}

CASES = [
    (("history",), NAMES, NO_SUCH),
    (("schema",), NAMES, NO_SUCH),
    (("audit",), NAMES, NO_SUCH),
    (("run",), NAMES, NO_SUCH),
    (("run", "sales.bronze"), NAMES, NO_SUCH),
    (("maintain",), NAMES, NO_SUCH),
    (("maintain", "bronze.sales"), NAMES, NO_SUCH),
    (("quarantine", "show"), NAMES, NO_SUCH),
    (("quarantine", "list", "--product"), NAMES, NO_SUCH),
    (("quarantine", "replay"), NAMES, NO_SUCH),
    (("repair",), NAMES, NO_SUCH),
    (("rebuild",), NAMES, NO_SUCH),
    (("accept-gap",), NAMES, NO_SUCH),
    (("restore",), NAMES, {*NO_SUCH, Exit.FAULT}),
    ((), NAMES, NO_SUCH),
    *[
        ((*words, "--root"), NAMES, {*NO_SUCH, Exit.FAULT})  # beside here pytest keeps links
        for words in (
            ("tables",), ("history", "bronze.sales"), ("explore", "--batch"),
            ("explore", "--sql", "SELECT 1"), ("audit",),
        )
    ],
    *[
        ((verb, "--config"), NAMES, NO_SUCH)
        for verb in ("tables", "explore", "audit", "demo", "up")
    ],
    (("run", "sales.bronze", "--config"), NAMES, NO_SUCH),
    (("explore", "--batch", "--format"), NAMES, NO_SUCH),
    (("explore", "--batch", "--version"), NUMBERS, NO_SUCH),
    (("explore", "--sql", "FROM bronze.sales", "--version"), NUMBERS, NO_SUCH),
    (("explore", "--batch", "--at"), TIMES, NO_SUCH),
    (("explore", "--batch", "--as-of"), TIMES, {*NO_SUCH, Exit.OK}),
    (("explore", "--sql", "SELECT 1", "--limit"), NUMBERS, {*NO_SUCH, Exit.OK}),
    (("history", "bronze.sales", "--limit"), NUMBERS, {*NO_SUCH, Exit.OK}),
    (("demo", "--replay"), NAMES, NO_SUCH),
    (("up", "--rate"), ["", "x", "-1", "0", "nan", "\x00"], NO_SUCH),
    (("demo", "--count"), ["", "x", "-1", "99", "1.5", "nan", "\x00"], NO_SUCH),
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A small lake that the environment names, and a folder to work in."""
    config = Path(__file__).parents[2] / "config.ini"
    settings = load_settings(config).with_root(tmp_path_factory.mktemp("lake") / "lake")
    Lake(settings).land(encode(sale()), 0)
    folder = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_LAKE_ROOT", settings.lake.root)
        patch.setenv("LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
        patch.setenv("LAKEHOUSE_CONFIG", str(config))
        patch.chdir(folder)
        yield folder


def ask(words):
    """Exit code and message of a command, as its program would end."""
    done = CliRunner().invoke(app, words)
    if isinstance(done.exception, LakehouseError):
        return done.exception.exit_code, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.mark.parametrize(("words", "payloads", "codes"), CASES, ids=[*map(str, range(len(CASES)))])
def test_text_that_is_not_meant_is_told_plainly(place, words, payloads, codes):
    before = sorted(place.iterdir())
    for payload in payloads:
        code, said = ask([*words, payload])
        case = f"{words} {payload[:40]!r}: {said[:300]}"
        assert code in codes, case
        if code:
            assert said.strip(), case
            assert "Traceback" not in said, case
            assert "root:x:" not in said, case
    assert sorted(place.iterdir()) == before


def test_the_doctor_names_a_config_that_is_not_there_and_goes_on(monkeypatch):
    """To the checks that start nothing; tests/live runs the round trip."""
    monkeypatch.setattr(doctor, "CHECKS", (doctor.python_checks, doctor.machine_checks))
    code, said = ask(["doctor", "--config", "../x"])
    assert code == Exit.FAULT
    assert "../x: no such file" in said
    assert "disk" in said


def test_a_lake_is_never_looked_for_in_a_file(place):
    for words in (["demo"], ["run", "sales.silver", "--available-now"], ["tables"], ["audit"]):
        code, said = ask([*words, "--root", "/etc/passwd"])
        assert code in {*NO_SUCH, Exit.UNAVAILABLE}, (words, said)
        assert "/etc/passwd" in said


@pytest.mark.parametrize(
    "verb",
    ["products", "audit", "dashboard", "status", "quarantine list", "activity verify",
     "orders verify", "churn verify", "churn sample", "churn explain x"],
)  # fmt: skip
def test_a_root_that_is_not_there_is_said_first_and_not_made(place, tmp_path, verb):
    root = tmp_path / "nowhere"
    code, said = ask([*verb.split(), "--root", str(root)])
    assert (code, said.split("\n")[0]) == (Exit.NO_TABLE, f"lake {root}: does not exist")
    assert not root.exists()


def test_what_a_terminal_might_obey_is_written_out(place):
    code, said = ask(["history", "\x1b[31m\u202e\x9b\r\x07\udcff"])
    assert code == Exit.NO_TABLE
    assert "\\x1b[31m\\u202e\\x9b\\r\\x07\\udcff" in said
