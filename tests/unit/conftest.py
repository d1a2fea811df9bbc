"""Lakes that several files spoil, each landed once a process: a test takes a copy of one."""

from __future__ import annotations

from datetime import date

import pytest

from lakehouse.audit.proof import Verdict
from lakehouse.operations.keep import keep
from lakehouse.operations.quarantine import Choice
from lakehouse.storage.table import Table
from tests.conftest import settings_at
from tests.support import audited, erased, quarantined, recovered, words
from tests.support.lake import Lake, copied
from tests.support.screen import screen_lake


def persisted(lake):
    """The lake's root, silver having every batch."""
    lake.persist()
    return lake.settings.lake.root


@pytest.fixture(scope="session")
def audited_root(tmp_path_factory):
    """The root of a lake with both sets of events, and silver with it."""
    lake = Lake(settings_at(tmp_path_factory.mktemp("audited") / "lake"))
    lake.land(audited.events(), 0)
    lake.silver.catch_up()
    lake.land(audited.late_events(), 7)
    return persisted(lake)


@pytest.fixture(scope="session")
def recovered_root(tmp_path_factory):
    """The root of a lake where all batches have landed, with silver."""
    lake = Lake(settings_at(tmp_path_factory.mktemp("recovered") / "lake"))
    for first, after in recovered.BATCHES:
        lake.land(recovered.VALUES[first:after], first)
        lake.silver.catch_up()
    lake.silver.persist()
    return lake.settings.lake.root


@pytest.fixture(scope="session")
def quarantined_root(tmp_path_factory):
    """The root of a lake that has landed its events in two batches, and silver with it."""
    lake = Lake(settings_at(tmp_path_factory.mktemp("quarantined") / "lake"))
    values = quarantined.events()
    lake.land(values[:4], 0)
    lake.silver.catch_up()
    lake.land(values[4:], 4)
    lake.fold()
    return lake.settings.lake.root


@pytest.fixture(scope="session")
def erasable_root(tmp_path_factory):
    """Landed in three batches, with silver, a kept audit and a replayed record of the client."""
    settings = settings_at(tmp_path_factory.mktemp("erasable") / "lake")
    lake = Lake(settings)
    for first, last in ((0, 4), (4, 9), (9, 10)):
        lake.land(erased.values()[first:last], first)
        lake.silver.catch_up()
    lake.silver.persist()
    earlier = settings.changed(sales={"earliest": date(1990, 1, 1)})
    quarantined.again(lake, Choice(addresses=((0, 5),)), earlier)
    lake.fold()
    found = audited.proof(lake, audited.Kafka(end=10))
    assert found.verdict is Verdict.PROVEN
    wrong = found.tables[0].__class__(
        "silver.sales_by_client", first=({"key": {"client_id": erased.GONE}},)
    )
    keep(found.__class__(**{**vars(found), "tables": (wrong,)}), settings)
    return settings.lake.root


@pytest.fixture(scope="session")
def erased_root(erasable_root, tmp_path_factory):
    """The root of the same lake once the client was erased; silver was folded again."""
    lake = copied(erasable_root, settings_at(tmp_path_factory.mktemp("erased") / "lake"))
    erased.erased(lake)
    return lake.settings.lake.root


@pytest.fixture(scope="session")
def screen_root(tmp_path_factory):
    """The root of the lake that the terminal explorer is tried on; read only."""
    return screen_lake(tmp_path_factory.mktemp("screen") / "lake")


@pytest.fixture(scope="module")
def state_of_its_own(tmp_path_factory):
    """A state folder of the module's own: the explorer's history lies there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_STATE", str(tmp_path_factory.mktemp("state") / "own"))
        yield


@pytest.fixture
def table(tmp_path):
    """A table of every type, by day, that nothing was written to."""
    settings = settings_at(tmp_path / "lake")
    return Table.open(
        str(tmp_path / "lake" / "bronze" / "t"), words.SCHEMA, settings, partition_by=["day"]
    )
