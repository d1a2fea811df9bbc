"""What is generated is current."""

from pathlib import Path

from lakehouse.core.errors import Exit
from lakehouse.explorer.reference import EXIT_DOCS, write_docs

ROOT = Path(__file__).parents[2]


def test_generated_documents_are_current():
    assert write_docs(ROOT, check=True) == []


def test_every_exit_code_is_documented():
    assert set(EXIT_DOCS) == set(Exit)
