"""What doctor and verify see of a capture that ended or does not get on, and of killed services."""

import json
from datetime import timedelta

import pytest

from lakehouse.core.errors import LakehouseError, ServiceUnavailable, UsageError
from lakehouse.products.orders.checks import checks, slot_check
from lakehouse.services.home import home_of
from lakehouse.services.kept import refuse_killed
from lakehouse.settings.postgres_client import Slot
from producers.cdc.fault import forget_fault, write_fault
from producers.cdc.run import _kept
from producers.cdc.state import state_path

LONG, MB = timedelta(minutes=9), 2**20


def test_the_doctor_tells_why_the_last_capture_ended_until_one_gets_on(settings, tmp_path):
    mine = settings.with_root(tmp_path)
    path = state_path(mine.lake.root, "orders")
    assert [c for c in checks(mine) if c.name == "capture"] == []
    write_fault(path, LakehouseError("publication p", "was changed", "begin again: --anew"))
    (found,) = [c for c in checks(mine) if c.name == "capture"]
    assert (found.state, found.fix) == ("fail", "begin again: --anew")
    assert "publication p: was changed" in found.detail
    path.with_suffix(".ended.json").write_text("{")  # cut: no traceback of the doctor
    assert [c for c in checks(mine) if c.name == "capture"] == []
    forget_fault(path)
    forget_fault(path)
    assert not path.with_suffix(".ended.json").exists()


@pytest.mark.parametrize(
    ("behind", "reader", "since", "state"),
    [
        (9 * MB, None, LONG, "warn"), (9 * MB, 77, LONG, "warn"),
        (9 * MB, 77, None, "pass"), (1 * MB, None, LONG, "pass"),
    ],
)  # fmt: skip
def test_the_doctor_is_amber_where_a_capture_does_not_get_on(
    settings, behind, reader, since, state
):
    slot = Slot("pgoutput", "shop", reader, "reserved", 0, 20 * MB, behind)
    found = slot_check("s", slot, settings.postgres, since)
    assert found.state == state
    if state == "warn":
        assert "9.0 MB wait, and it last got on 9 minutes ago" in found.detail
        assert found.fix


def test_a_wrong_option_is_not_the_end_of_a_capture(tmp_path):
    class Plan:
        path = tmp_path / "capture" / "orders.json"

    for error in (UsageError("a", "b", "c"), LakehouseError("a", "b", "c")):
        with pytest.raises(LakehouseError), _kept(Plan()):
            raise error
        assert (tmp_path / "capture").exists() is not isinstance(error, UsageError)


def test_who_only_asks_does_not_start_a_killed_service(tmp_path):
    refuse_killed(tmp_path)  # nothing was ever started
    record = home_of(tmp_path) / "kafka" / "broker.json"
    record.parent.mkdir(parents=True)
    refuse_killed(tmp_path)  # it ended as it was told to
    record.write_text(json.dumps({"pid": 2**22 + 1, "port": 9, "born": "x"}))
    with pytest.raises(ServiceUnavailable, match="was killed"):
        refuse_killed(tmp_path)
