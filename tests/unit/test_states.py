"""What silver has to remember is counted, and shown."""

import json
from pathlib import Path

from lakehouse.cli.tables import tables
from lakehouse.core.paths import Lake as Paths
from lakehouse.doctor.doctor import state_checks
from tests.conftest import encode, sale
from tests.support.lake import Lake


def test_tables_and_doctor_count_the_keys_that_silver_remembers(settings, capsys):
    lake = Lake(settings)
    lake.land(encode(*(sale(event_id=f"e{n}", order_id=f"o{n}") for n in range(3))), 0)
    lake.fold()
    tables(root=Path(settings.lake.root), as_json=True)
    [state] = json.loads(capsys.readouterr().out)["state"]
    on_disk = Paths(settings.lake.root).state("sales.silver") / "data.mdb"
    assert state["flow"] == "sales.silver"
    assert state["keys"] == 3 + 1 + 1, "three orders, a client, and what it bought"
    assert 0 < state["bytes"] <= on_disk.stat().st_blocks * 512 + 4096
    [check] = state_checks(settings)
    assert (check.name, check.state) == ("sales.silver", "pass")
    assert check.detail.startswith("5 keys, ")
