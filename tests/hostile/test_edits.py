"""No edit of one cell is PROVEN, also where Kafka has forgotten every record."""

from __future__ import annotations

from lakehouse.audit.proof import Verdict
from tests.conftest import settings_at
from tests.hostile.edits import missed
from tests.unit.test_audit import Kafka, events, late_events, proof
from tests.unit.test_publish import Lake

EDITS = 16


def test_an_edit_of_one_cell_is_not_proven(tmp_path):
    lake = Lake(settings_at(tmp_path / "lake"))
    lake.land(events(), 0)
    lake.land(late_events(), 7)
    lake.silver.catch_up()
    lake.silver.persist()
    lake.ledger.persist()
    forgetful = Kafka(beginning=10)
    assert proof(lake, forgetful).verdict is Verdict.PROVEN
    assert missed(tmp_path / "lake", forgetful.broker(), range(EDITS)) == []
