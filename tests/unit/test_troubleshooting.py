"""docs/troubleshooting.md explains messages that the software gives, and messages lead to it."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lakehouse.cli import entries
from lakehouse.cli.entries import DOCUMENT, entry_of
from lakehouse.core.errors import disk_full

ROOT = Path(__file__).parents[2]
NAMES = re.compile(r"…|'|\b(?:bronze|quarantine|erased|lake|silver)\.\w*|\b\d+\b|: |, ")
"""What of a message comes from elsewhere than the line that says it."""


def told():
    """Every text of the sources: what stands between the values of a formatted one."""
    for folder in ("lakehouse", "producers"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_there_are_entries_and_each_is_of_something_that_is_said():
    said = [said for _, said, _ in entries._entries()]
    texts = "\n".join(told())
    assert len(said) >= 50
    strangers = [
        one for one in said
        if not any(
            " ".join(words[at : at + 3]) in texts
            for part in NAMES.split(one)
            for words in [part.strip(" .=").split()]
            for at in range(max(1, len(words) - 2))
            if words
        )
    ]  # fmt: skip
    assert {*strangers} <= {"is_final = false", "PROVEN so far"}  # a column; two words put together


@pytest.mark.parametrize(
    ("message", "entry"),
    [
        ("bronze.sales: 000.json: the newest commit is cut", "the newest commit is cut"),
        ("bronze.sales: is being written by lakehouse run (4)", "is being written by …"),
        ("port 8080: cannot be listened on: taken", "port …: cannot be listened on"),
        (str(disk_full("x")), "its disk is full"),
        ("table x: does not exist (yet)", ""),
    ],
)  # fmt: skip
def test_a_message_names_its_entry_or_none(message, entry):
    assert entry_of(message) == entry
    assert f"`{entry}`" in DOCUMENT.read_text("utf-8") or not entry


def test_without_the_documents_nothing_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(entries, "DOCUMENT", tmp_path / "none.md")
    assert entry_of("the newest commit is cut") == ""


def test_a_command_that_fails_says_where_more_is(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lakehouse", "explore", "--root", tmp_path],
        cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "lakehouse explore: needs a terminal" in done.stderr
    assert "more: docs/troubleshooting.md, lakehouse explore: needs a terminal" in done.stderr
