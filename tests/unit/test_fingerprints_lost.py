"""A table whose log lost its fingerprints is not proven, whatever a flow adds to it later."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from lakehouse.audit.proof import Verdict
from lakehouse.core.errors import TableDamaged
from lakehouse.ingest.erased import ERASED_SCHEMA
from lakehouse.operations.rebuild import rebuild, silver_flow
from lakehouse.operations.repair import Repair
from tests.conftest import NOW, encode, sale
from tests.earlier import without_fingerprints
from tests.support.audited import Kafka, events, late_events, path, proof, put
from tests.support.lake import copied
from tests.support.logs import shorten

FORGOT = Kafka(beginning=12, end=12)
"""A broker that has no record any more."""
EDITS = {
    "bronze/sales": put("channel", ("offset", 4), "shop"),
    "quarantine/sales": put("value", ("offset", 3), b"forged"),
}


@pytest.fixture
def lake(audited_root, settings):
    return copied(audited_root, settings)


def edit(lake, table):
    """Edited by hand, and the log shortened to that one commit."""
    uri = path(lake, table)
    write_deltalake(uri, EDITS[table](DeltaTable(uri).to_pyarrow_table()), mode="overwrite")
    shorten(uri)


def recreate(lake, table):
    """The folder replaced by a table that another program made of edited rows."""
    uri = path(lake, table)
    rows, by = EDITS[table](DeltaTable(uri).to_pyarrow_table()), DeltaTable(uri).metadata()
    shutil.rmtree(uri)
    write_deltalake(uri, rows, partition_by=by.partition_columns or None)


def go_on(lake):
    """A flow lands good and bad, as if nothing had been."""
    lake.restart()
    lake.land([*encode(sale(event_id="h", order_id="o9")), b"{"], 10)
    lake.persist()


@pytest.mark.parametrize("spoil", [edit, recreate])
@pytest.mark.parametrize("table", EDITS)
@pytest.mark.parametrize("flow", [lambda _: None, go_on], ids=["alone", "and a flow went on"])
def test_rows_that_no_fingerprint_tells_of_are_not_proven(lake, spoil, table, flow):
    if (spoil, table, flow) == (recreate, "quarantine/sales", go_on):
        pytest.skip("such a quarantine is refused: test_other_tables.py")
    spoil(lake, table)
    flow(lake)
    found = proof(lake, Kafka(end=10) if lake.bronze.position.ends.next[0] == 10 else FORGOT)
    assert found.verdict is not Verdict.PROVEN
    name = table.replace("/", ".")
    assert any(name in doubt and "no fingerprint tells of" in doubt for doubt in found.doubts)


@pytest.mark.parametrize("table", EDITS)
def test_moving_the_table_away_mends_it_while_kafka_has_the_records(lake, table, tmp_path):
    edit(lake, table)
    Path(path(lake, table)).rename(tmp_path / "away")
    lake.restart()
    values = [*events(), *late_events()]
    lake.land(values, 0)
    rebuild(silver_flow("sales"), lake.settings, lambda _: None)
    lake.restart()
    lake.ledger.persist()
    found = proof(lake)
    assert (found.verdict, found.faults, found.doubts) == (Verdict.PROVEN, (), ())


def test_bronze_that_lost_its_fingerprints_is_not_made_silver_of(lake):
    edit(lake, "bronze/sales")
    go_on(lake)
    with pytest.raises(TableDamaged, match="no fingerprint tells of"):
        rebuild(silver_flow("sales"), lake.settings, lambda _: None)


def test_erased_addresses_that_another_program_wrote_are_not_proven(lake):
    told = {"topic": "sales", "partition": 0, "offset": 11, "erased_at": NOW,
            "table": "bronze.sales", "batch_id": 3, "topic_id": "t1"}  # fmt: skip
    write_deltalake(path(lake, "erased/sales"), pa.Table.from_pylist([told], ERASED_SCHEMA))
    found = proof(lake)
    assert found.verdict is Verdict.CANNOT_TELL
    assert "erased.sales" in found.doubts[0]


@pytest.mark.parametrize("table", EDITS)
def test_a_table_of_an_earlier_release_goes_on(lake, table):
    for each in ("bronze/sales", "quarantine/sales", "ledger/sales"):
        without_fingerprints(path(lake, each))
    go_on(lake)
    found = proof(lake, FORGOT)
    assert (found.verdict, found.faults, found.doubts) == (Verdict.PROVEN, (), ())


def test_what_is_rebuilt_in_a_lake_of_an_earlier_release_is_like_the_rest(lake):
    for each in ("bronze/sales", "quarantine/sales", "ledger/sales"):
        without_fingerprints(path(lake, each))
    shutil.rmtree(path(lake, "bronze/sales"))
    lake.restart()
    go_on(lake)
    assert not any("no fingerprint tells of" in doubt for doubt in proof(lake, FORGOT).doubts)


def repaired(lake, table):
    return Repair(table, lake.settings, FORGOT.topic, print, FORGOT.judge).run()


def test_a_repair_that_checked_what_is_left_is_no_doubt(lake):
    lake.restart()
    lake.land([b"["], 10)
    Path(DeltaTable(path(lake, "quarantine/sales")).file_uris()[0]).unlink()
    assert repaired(lake, "quarantine.sales")
    lake.restart()
    lake.land([b"]"], 11)
    assert not any("no fingerprint" in doubt for doubt in proof(lake, Kafka(end=12)).doubts)


def test_a_repair_conceals_no_edit_whose_batch_the_log_forgot(lake):
    edit(lake, "quarantine/sales")
    go_on(lake)
    files = DeltaTable(path(lake, "quarantine/sales")).get_add_actions(flatten=True)
    newest = pa.table(files).sort_by([("max.offset", "descending")])["path"][0].as_py()
    Path(path(lake, "quarantine/sales"), newest).unlink()
    assert repaired(lake, "quarantine.sales")
    assert any("no fingerprint tells of" in doubt for doubt in proof(lake, FORGOT).doubts)
