"""What is generated is current."""

import re
from pathlib import Path

import pytest

from lakehouse.core.errors import Exit
from lakehouse.explorer.reference import EXIT_DOCS, write_docs

ROOT = Path(__file__).parents[2]


def test_generated_documents_are_current():
    assert write_docs(ROOT, check=True) == []


def test_every_exit_code_is_documented():
    assert set(EXIT_DOCS) == set(Exit)


@pytest.mark.parametrize("name", ["architecture.md", "your-own-product.md"])
def test_files_that_documents_name_are_there(name):
    text = (ROOT / "docs" / name).read_text("utf-8")
    named = re.findall(r"`((?:lakehouse|producers|tests|examples|jobs)/[\w./-]*)`", text)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_every_folder_is_in_the_layout():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    folders = [p.parent.name for p in (ROOT / "lakehouse").glob("*/__init__.py")]
    assert [name for name in folders if f"| `lakehouse/{name}` |" not in text] == []
