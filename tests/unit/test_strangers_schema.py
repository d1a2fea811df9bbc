"""What another program writes into a log by hand is seen as every reader of the table sees it."""

import json
import time
from itertools import count
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from lakehouse.audit.proof import Verdict
from tests.support.audited import Kafka, path, proof, put, says
from tests.support.lake import left_alone

FORGOTTEN = Kafka(beginning=10)
"""Kafka has no record any more: the tables' own word is all there is."""


@pytest.fixture
def lake(audited_root, settings):
    return left_alone(audited_root, settings)


def entry(uri, version):
    return Path(uri, "_delta_log", f"{version:020}.json")


def with_schema(uri, change, protocol=None, **properties):
    """A commit that changes what the log says of the columns, and no row."""
    table = DeltaTable(uri)
    first = entry(uri, 0).read_text("utf-8").splitlines()
    about = next(a["metaData"] for a in map(json.loads, first) if "metaData" in a)
    schema = json.loads(about["schemaString"])
    schema["fields"] = [field for field in map(change, schema["fields"]) if field]
    about["schemaString"] = json.dumps(schema)
    about["configuration"] |= properties
    told = {"timestamp": int(time.time() * 1000), "operation": "CHANGE", "operationParameters": {}}
    actions = [{"commitInfo": told}, {"metaData": about}]
    actions += [{"protocol": protocol}] if protocol else []
    text = "".join(json.dumps(action, separators=(",", ":")) + "\n" for action in actions)
    entry(uri, table.version() + 1).write_text(text, "utf-8")


def without(column):
    return lambda field: None if field["name"] == column else field


def of_type(column, kind):
    return lambda field: {**field, "type": kind} if field["name"] == column else field


def dropped_and_added_again(column):
    """As column mapping has it: the files' values are those of a column that is gone."""

    numbers = count(1)

    def change(field):
        place = "col-1" if field["name"] == column else field["name"]
        id_ = next(numbers)
        names = {"delta.columnMapping.id": id_, "delta.columnMapping.physicalName": place}
        return {**field, "metadata": names}

    return change


def test_a_commit_that_describes_nothing_hides_no_edit(lake):
    uri = path(lake, "quarantine/sales")
    table = DeltaTable(uri)
    version = table.version() + 1
    write_deltalake(
        table, put("value", ("offset", 3), b"forged")(table.to_pyarrow_table()), mode="overwrite"
    )
    lines = entry(uri, version).read_text("utf-8").splitlines(keepends=True)
    entry(uri, version).write_text("".join(x for x in lines if "commitInfo" not in x), "utf-8")
    says(lake, "quarantine/sales", "nightly")
    found = proof(lake, FORGOTTEN)
    assert found.verdict is Verdict.NOT_PROVEN
    assert "quarantine.sales: its rows are not those that its commits added" in found.faults[0]
    assert f"version {version} (" in found.faults[0]


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("quarantine/sales", without("value")),
        ("bronze/sales", without("ingest_time")),
        ("bronze/sales", of_type("quantity", "string")),
        ("ledger/sales", without("most_late_us")),
        ("silver/sales_by_country", of_type("net_revenue", "decimal(38,0)")),
        ("silver/sales_by_client", without("orders")),
    ],
)
def test_values_that_the_schema_hides_or_turns_are_not_proven(lake, table, change):
    assert proof(lake, FORGOTTEN).verdict is Verdict.PROVEN
    with_schema(path(lake, table), change)
    assert proof(lake, FORGOTTEN).verdict is Verdict.NOT_PROVEN


@pytest.mark.parametrize("table", ["bronze/sales", "silver/sales_by_country"])
def test_columns_that_have_other_names_in_the_files_are_not_read_as_if_they_had_not(lake, table):
    column = "channel" if table == "bronze/sales" else "net_revenue"
    with_schema(
        path(lake, table), dropped_and_added_again(column),
        {"minReaderVersion": 2, "minWriterVersion": 5},
        **{"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "99"},
    )  # fmt: skip
    found = proof(lake, FORGOTTEN)
    assert found.verdict is Verdict.CANNOT_TELL
    assert any("columnMapping" in doubt for doubt in found.doubts)


def test_a_column_that_another_program_adds_and_leaves_empty_changes_nothing(lake):
    for table in ("bronze/sales", "quarantine/sales"):
        uri = path(lake, table)
        rows = DeltaTable(uri).to_pyarrow_table()
        more = rows.slice(0, 0).append_column("note", pa.array([], pa.string()))
        write_deltalake(uri, more, mode="append", schema_mode="merge")
    assert proof(lake, FORGOTTEN).verdict is Verdict.PROVEN
