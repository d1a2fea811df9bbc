"""What is generated is current, and every verb has help with an example."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from lakehouse.cli import app
from lakehouse.core.errors import Exit
from lakehouse.explorer.reference import EXIT_DOCS, write_docs

ROOT = Path(__file__).parents[2]


def test_generated_documents_are_current():
    assert write_docs(ROOT, check=True) == []


def test_every_exit_code_is_documented():
    assert set(EXIT_DOCS) == set(Exit)


@pytest.mark.parametrize("verb", [c.name or c.callback.__name__ for c in app.registered_commands])
def test_every_verb_has_help_with_an_example(verb):
    if verb == "produce":  # its help is the producer's own
        return
    shown = CliRunner().invoke(app, [verb, "--help"])
    assert shown.exit_code == 0
    assert "Example" in shown.stdout
