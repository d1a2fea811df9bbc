"""No edit of one cell is PROVEN, also where Kafka has forgotten every record."""

from __future__ import annotations

import pytest

from lakehouse.audit.proof import Verdict
from lakehouse.audit.run import audit
from tests.conftest import NOW, settings_at
from tests.hostile.edits import missed
from tests.hostile.lakes import LAKES

EDITS = 4
"""`python -m tests.hostile 200` tries more, in `make test-long`."""


@pytest.mark.parametrize("product", LAKES)
def test_an_edit_of_one_cell_is_not_proven(product, tmp_path):
    root = tmp_path / "lake"
    broker = LAKES[product](root)
    found = audit(product, settings_at(root), broker, NOW, lambda _: None)
    assert (found.verdict, found.faults, found.doubts) == (Verdict.PROVEN, (), ())
    assert missed(root, broker, range(EDITS), product) == []
