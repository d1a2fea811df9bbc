"""What is generated is current."""

from pathlib import Path

from lakehouse.core.errors import Exit
from lakehouse.explorer.reference import EXIT_DOCS, write_docs
from tests.matrix.rows import ROWS

ROOT = Path(__file__).parents[2]


def test_generated_documents_are_current():
    assert write_docs(ROOT, check=True) == []


def test_every_exit_code_is_documented():
    assert set(EXIT_DOCS) == set(Exit)


def test_every_row_of_the_crash_matrix_stands_in_its_document():
    text = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    assert [row.name for row in ROWS if f"| {row.name} | {row.fault} |" not in text] == []
