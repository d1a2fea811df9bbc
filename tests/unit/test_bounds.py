"""Counts and bounds by which readers leave files out are what the rows are, or it is not proven."""

import itertools
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from lakehouse.audit.proof import Verdict
from tests.conftest import long
from tests.support.audited import Kafka, path, proof
from tests.support.lake import left_alone
from tests.support.logs import retell


@pytest.fixture
def lake(audited_root, settings):
    return left_alone(audited_root, settings)


def with_statistics(uri, change):
    """Every file's statistics in the log, changed."""

    def changed(action):
        if stats := action.get("add", {}).get("stats"):
            action["add"]["stats"] = json.dumps({**json.loads(stats), **change(stats)})

    retell(uri, changed)


def no_rows(_):
    return {"numRecords": 0}


def all_null(stats):
    told = json.loads(stats)
    return {"nullCount": dict.fromkeys(told["nullCount"], told["numRecords"] + 1)}


def low(stats):
    told, below = json.loads(stats), {"offset": -9, "lines": -9, "batch_id": -9, "country": "A"}
    below["client_id"] = "A"  # the logs of small tables have no bounds of numbers
    column = next(c for c in below if c in told["maxValues"])
    return {"maxValues": {**told["maxValues"], column: below[column]}}


TABLES = ("bronze/sales", "quarantine/sales", "ledger/sales", "silver/sales_by_country",
          "silver/sales_by_client")  # fmt: skip


CHANGES = (no_rows, all_null, low)
PAIRS = [*itertools.product(TABLES, CHANGES)]
FEW = [pair for n, pair in enumerate(PAIRS) if n % 3 == n // 3 % 3 or pair[0] == "bronze/sales"]
"""Each table once, and each change of bronze."""


@pytest.mark.parametrize(
    ("table", "change"), [*FEW, *long(*(pair for pair in PAIRS if pair not in FEW))]
)
def test_statistics_that_hide_rows_are_not_proven(lake, table, change):
    with_statistics(path(lake, table), change)
    found = proof(lake, Kafka(beginning=10))
    assert found.verdict is Verdict.NOT_PROVEN
    [fault] = found.faults
    assert fault.startswith(table.replace("/", "."))
    assert "readers would leave out rows" in fault
    assert "the log says" in fault


def test_a_footer_that_hides_rows_is_not_proven(lake):
    """The bytes of a bound in it, changed by a broken disk; our own small files have none."""
    [name, *_] = DeltaTable(path(lake, "bronze/sales")).file_uris()
    rows = pq.ParquetFile(name).read()
    pq.write_table(rows, name, store_schema=False)
    data = Path(name).read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    country = rows["country"][0].as_py().encode()
    at = data.index(country, footer)
    Path(name).write_bytes(data[:at] + data[at:].replace(country, b"Z" + country[1:]))
    assert pq.read_metadata(name)

    def sized(action):
        if action.get("add", {}).get("path") == str(
            Path(name).relative_to(Path(path(lake, "bronze/sales")))
        ):
            action["add"]["size"] = len(data)

    retell(path(lake, "bronze/sales"), sized)
    found = proof(lake, Kafka(beginning=10))
    assert found.verdict is Verdict.NOT_PROVEN
    assert "its footer says no country" in found.faults[0]


def test_statistics_that_say_less_hide_nothing(lake):
    less = {"minValues": {}, "maxValues": {}, "nullCount": {}}
    with_statistics(path(lake, "bronze/sales"), lambda _: less)
    assert proof(lake, Kafka(beginning=10)).verdict is Verdict.PROVEN
