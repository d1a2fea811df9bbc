"""Silver tables of an earlier release, whose sums had less room, are widened and go on."""

import shutil

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from structlog.testing import capture_logs

from lakehouse.operations.rebuild import rebuild
from lakehouse.storage.columns import widen_numbers
from tests.conftest import encode, sale
from tests.support.audited import events, late_events
from tests.support.lake import SILVER, Lake
from tests.support.money import MOST, assert_audited, columns, fold, line, rows, silver

SUMMED = ("by_country", "by_client", "by_segment", "trends", "product_trends", "client_products")
NARROW = {pa.decimal128(38, 4): pa.decimal128(28, 4), pa.decimal128(38, 0): pa.int64()}
"""Type of a sum → what it was at e86cd9f."""


def make_narrow(lake, name):
    """Make a table as the earlier release made it: with its types, rows and commit metadata."""
    table = silver(lake, name)
    note = next(c["userMetadata"] for c in table.history() if "source" in c.get("userMetadata", ""))
    held = pa.table(table.to_pyarrow_table())
    schema = pa.schema([f.with_type(NARROW.get(f.type, f.type)) for f in held.schema])
    partitions, uri = table.metadata().partition_columns, table.table_uri
    shutil.rmtree(uri.removeprefix("file://"))
    write_deltalake(
        uri, held.cast(schema), partition_by=partitions,
        commit_properties=CommitProperties(custom_metadata={"userMetadata": note}),
    )  # fmt: skip


def types(lake, name):
    return {str(field.type.type) for field in silver(lake, name).schema().fields}


@pytest.fixture
def lake(settings):
    """A lake whose silver tables are of the earlier release."""
    lake = Lake(settings)
    fold(lake, events(), 0)
    fold(lake, late_events(), 7)
    for name in SUMMED:
        make_narrow(lake, name)
    return lake


def test_narrow_tables_are_widened_at_start_and_the_log_says_why(lake):
    before = {name: rows(lake, name) for name in SUMMED}
    with capture_logs() as told:
        lake.start()
    widened = [entry for entry in told if entry["event"] == "a table is rewritten"]
    assert [entry["log_level"] for entry in widened] == ["warning"] * len(SUMMED)
    assert "less room: units long" in widened[-1]["reason"]
    for name in SUMMED:
        assert sorted(map(repr, rows(lake, name))) == sorted(map(repr, widened_rows(before[name])))
        assert not types(lake, name) & {"decimal(28,4)"}
    assert lake.silver.version == lake.bronze.bronze.version
    assert_audited(lake, 10)


def widened_rows(found):
    """The same rows, with pieces as decimals."""
    pieces = {"units", "units_returned"}
    kind = pa.decimal128(38, 0)
    return [
        {n: pa.scalar(v, kind).as_py() if n in pieces else v for n, v in row.items()}
        for row in found
    ]


def test_a_start_that_ended_half_way_goes_on(lake):
    first = lake.silver.tables["by_country"]
    first.dt = DeltaTable(first.uri)
    widen_numbers(first)
    version = silver(lake, "by_country").version()
    lake.start()
    # one commit more of each: how long it keeps its versions
    assert silver(lake, "by_country").version() == version + 1
    assert silver(lake, "by_client").version() == 2
    assert_audited(lake, 10)


def test_widened_tables_take_what_the_narrow_ones_could_not(lake):
    lake.start()
    fold(lake, [line(n, MOST, client_id="c9") for n in range(12)], 10)
    assert max(columns(row) for row in rows(lake, "by_client"))[3] == 12 * MOST
    assert_audited(lake, 22)


def test_a_narrow_table_is_audited_as_it_is(lake):
    assert_audited(lake, 10)


def test_rebuild_replaces_narrow_tables(lake):
    found = rebuild(SILVER, lake.settings, lambda _: None)
    assert {table.differing for table in found} == {0}
    assert not types(lake, "by_client") & {"decimal(28,4)"}
    lake.start()
    fold(lake, encode(sale(event_id="z")), 10)
    assert_audited(lake, 11)
