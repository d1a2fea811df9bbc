"""What `make check` says of the pinned packages: known weaknesses, and what nobody could tell."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOLD = runpy.run_path(str(ROOT / ".ci" / "packages.py"))["told"]
GOOD = {"name": "a", "version": "1", "vulns": []}
UNKNOWN = {"name": "b", "skip_reason": "Dependency not found on PyPI"}
WEAK = {"name": "c", "version": "2", "vulns": [
    {"id": "PYSEC-1", "fix_versions": ["2.1", "3"], "aliases": [], "description": "x"},
    {"id": "PYSEC-2", "fix_versions": [], "aliases": [], "description": "y"},
]}  # fmt: skip


@pytest.mark.parametrize(
    ("packages", "known", "words"),
    [
        ([GOOD, GOOD], False, ["no weakness is known of 2 pins"]),
        ([GOOD, UNKNOWN], False, ["1 of 2 pins NOT CHECKED", "does not know b", "of 1 pins"]),
        ([UNKNOWN, UNKNOWN], False, ["2 of 2 pins NOT CHECKED"]),
        ([GOOD, WEAK], True, ["c 2: PYSEC-1, mended in 2.1, 3", "PYSEC-2, mended in no version"]),
        ([WEAK, UNKNOWN], True, ["PYSEC-1", "1 of 2 pins NOT CHECKED"]),
    ],
)
def test_what_pip_audit_found_is_told(packages, known, words):
    lines, found = TOLD(json.dumps({"dependencies": packages, "fixes": []}))
    assert found is known
    for word in words:
        assert word in "\n".join(lines)
    assert ("no weakness" in "\n".join(lines)) is (not known and GOOD in packages)


@pytest.mark.parametrize("answer", ["", "Traceback (most recent call last)", "[]", "{}", "null"])
def test_a_service_that_cannot_be_asked_is_said_aloud_and_fails_nothing(answer):
    assert TOLD(answer) == (["packages: NOT CHECKED: no advisory service could be asked"], False)


def test_every_pin_of_the_product_has_a_hash():
    """pip-audit reads the file as pip does with --require-hashes."""
    text = (ROOT / "requirements.txt").read_text().replace("\\\n", " ")
    pins = [line for line in text.splitlines() if line.strip() and line.lstrip()[0] != "#"]
    assert len(pins) > 30
    assert [pin for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []
