"""What another program says in its commits, and tables that it makes again, mislead nobody."""

import json
import shutil

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from lakehouse.audit.proof import Verdict
from tests.conftest import encode, sale
from tests.support.audited import Kafka, path, proof, put, says
from tests.support.lake import copied

TABLES = ("bronze/sales", "quarantine/sales", "ledger/sales", "silver/sales_by_country")


@pytest.fixture
def lake(audited_root, settings):
    return copied(audited_root, settings)


@pytest.mark.parametrize(
    "text",
    [
        "nightly",
        "[1]",
        '{"source": "airflow", "batch": "2026-11-20", "fingerprint": 1, "rows": []}',
    ],
)
def test_words_of_another_program_stop_no_flow_and_no_audit(lake, text):
    for table in TABLES:
        says(lake, table, text)
    lake.restart()
    lake.land(encode(sale(event_id="h", order_id="o9")), 10)
    lake.persist()
    found = proof(lake, Kafka(end=11))
    assert (found.verdict, found.faults, found.doubts) == (Verdict.PROVEN, (), ())


def test_a_ledger_is_rebuilt_also_after_words_of_another_program(lake):
    uri = path(lake, "bronze/sales")
    says(lake, "bronze/sales", "nightly")
    DeltaTable(uri).restore(1)
    lake.restart()
    assert lake.ledger.table.files()


def test_a_quarantine_that_was_rebuilt_by_hand_is_not_proven(lake):
    uri = path(lake, "quarantine/sales")
    rows = put("value", ("offset", 3), b"forged")(DeltaTable(uri).to_pyarrow_table())
    shutil.rmtree(uri)
    write_deltalake(uri, rows)
    found = proof(lake, Kafka(beginning=10))
    assert found.verdict is Verdict.CANNOT_TELL
    assert "another program rebuilt it" in found.doubts[0]


def test_money_that_became_a_rounded_number_is_not_proven(lake):
    uri = path(lake, "silver/sales_by_country")
    table = DeltaTable(uri)
    note = next(n for n in (json.loads(c.get("userMetadata", "{}")) for c in table.history()) if n)
    rows = table.to_pyarrow_table()
    at = rows.schema.get_field_index("net_revenue")
    rounded = rows.set_column(at, "net_revenue", rows["net_revenue"].cast(pa.float64()))
    write_deltalake(
        uri, rounded, mode="overwrite", schema_mode="overwrite",
        commit_properties=CommitProperties({"userMetadata": json.dumps(note)}),
    )  # fmt: skip
    found = proof(lake)
    assert "silver.sales_by_country: columns differ: net_revenue" in found.faults
