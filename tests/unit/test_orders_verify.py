"""`orders verify` is the audit seen by its parts; the audit asks what orders declare besides."""

import shutil

import pytest
from deltalake import DeltaTable

from lakehouse.audit.pins import engine
from lakehouse.audit.proof import Verdict
from lakehouse.products.orders.verify.check import Parts
from lakehouse.products.orders.verify.lake import freshness_checks, seen
from producers.cdc.state import State, state_path, write_state
from tests.support.orders import change, proven, row, two_versions


@pytest.fixture
def lake(settings):
    return two_versions(settings)


def checks(lake):
    return {check.name: check for check in seen(proven(lake), "lakehouse run", "lakehouse audit")}


def test_of_a_lake_where_nothing_landed_it_says_what_lands(settings):
    with engine(settings) as connection:
        [check] = freshness_checks(Parts(settings, connection, print))
    assert (check.ok, check.detail) == (False, "nothing has landed yet")
    assert check.fix.startswith("lakehouse run orders.bronze ")


def test_freshness_counts_the_changes_that_there_are(lake, settings):
    with engine(settings) as connection:
        [check] = freshness_checks(Parts(settings, connection, print))
    changes = len([c for c in lake.rows("bronze.orders") if c["op"] != "r"])
    assert f"; half of the last {changes} were in bronze within " in check.detail


def test_a_lake_that_has_everything_passes_every_check(lake):
    found = checks(lake)
    assert [*found] == ["bronze", "parquet", "checkpoint", "audit"]
    assert all(check.ok and not check.fix for check in found.values()), found


def test_what_is_not_landed_and_what_is_behind_is_told(lake):
    lake.next += 3
    assert "3 of the topic not landed" in checks(lake)["bronze"].detail
    lake.next -= 3
    lake.land([change("u", 5, row(amount="3"))])
    found = checks(lake)
    assert [name for name, check in found.items() if not check.ok] == ["checkpoint"]
    assert "silver.orders_current" in found["checkpoint"].detail
    assert "lake.orders" in found["checkpoint"].detail


@pytest.mark.parametrize(("mode", "option"), [("slot", ""), ("poll", " --mode poll")])
def test_the_command_of_a_fix_goes_on_in_the_lake_s_own_mode(settings, tmp_path, mode, option):
    parts = Parts(settings.with_root(tmp_path), None, print)
    assert parts.capture == f"lakehouse capture orders --root {tmp_path}"
    state = State(mode=mode, table="t", oid=1, key=(), columns={}, topic_id="i", system="s",
                  database="d", generation=1, snapshot="done", position=1)  # fmt: skip
    write_state(state_path(str(tmp_path), "orders"), state)
    assert parts.capture == f"lakehouse capture orders{option} --root {tmp_path}"


def test_what_the_audit_finds_fails_it(lake):
    shutil.rmtree(lake.parquet.folder)
    found = checks(lake)
    assert not found["parquet"].ok
    assert found["audit"].first == ({"doubt": "lake.orders: does not exist (yet)"},)


def test_a_change_that_counts_twice_is_a_fault_of_the_audit(lake):
    lake.land([change("u", 3, row(amount="9"))])
    assert proven(lake).verdict is not Verdict.NOT_PROVEN
    table = DeltaTable(lake.bronze.bronze.uri)
    table.update(updates={"is_duplicate": "false"}, predicate="is_duplicate")
    found = proven(lake)
    assert "1 changes count twice: raise [orders] deduplication_horizon" in found.faults
