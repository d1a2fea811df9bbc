"""Logs and files that other programs write in their own ways, and what is said of them."""

from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from lakehouse.audit.proof import Verdict
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.sql import read
from lakehouse.storage.increments import increments
from lakehouse.storage.log import entry
from tests.conftest import encode, long, sale
from tests.support.audited import Kafka, path, proof
from tests.support.lake import left_alone
from tests.support.logs import retell

FORGOTTEN = Kafka(beginning=10)


@pytest.fixture
def lake(audited_root, settings):
    return left_alone(audited_root, settings)


def moved(uri, to):
    """Each data file at another path, as its log says; its partition's values stay."""

    def move(action):
        for file in (action[kind] for kind in ("add", "remove") if kind in action):
            old, file["path"] = file["path"], to(file["path"])
            place = Path(uri, unquote(file["path"]))
            place.parent.mkdir(exist_ok=True)
            if (there := Path(uri, unquote(old))).exists():
                there.rename(place)

    retell(uri, move)


def random_prefix(name):
    return f"{sum(name.encode()) % 100:02}/{name.rsplit('/', 1)[-1]}"


def other_folder(name):
    return name.replace("event_date=2026-11-20", "event_date=1999-01-01")


@pytest.mark.parametrize("to", [random_prefix, other_folder])
def test_the_log_says_which_partition_a_file_is_of(lake, to):
    sql = "SELECT event_date, count(*) AS rows FROM bronze.sales GROUP BY 1 ORDER BY 1"
    catalogue, explorer = Catalogue(lake.settings.lake.root), lake.settings.explorer
    before = read(catalogue, sql, explorer).to_pylist()
    moved(path(lake, "bronze/sales"), to)
    assert read(catalogue, sql, explorer).to_pylist() == before
    found = proof(lake, FORGOTTEN)
    assert (found.verdict, found.faults, found.doubts) == (Verdict.PROVEN, (), ())
    lake.restart()
    lake.land(encode(sale(event_id="h", order_id="o9")), 10)
    lake.fold()
    assert proof(lake, Kafka(end=11)).verdict is Verdict.PROVEN


def undescribed(lake, table):
    uri = path(lake, table)
    log = entry(uri, DeltaTable(uri).version())
    lines = log.read_text("utf-8").splitlines(keepends=True)
    log.write_text("".join(line for line in lines if "commitInfo" not in line), "utf-8")


def test_a_newest_commit_that_describes_nothing_is_not_called_cut(lake):
    DeltaTable(path(lake, "bronze/sales")).optimize.compact()
    undescribed(lake, "bronze/sales")
    assert proof(lake, FORGOTTEN).verdict is Verdict.PROVEN
    lake.restart()
    lake.land(encode(sale(event_id="h", order_id="o9")), 10)
    assert sorted(lake.rows("bronze/sales")["offset"]) == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10]


def test_nor_does_it_hide_the_rows_that_it_added(lake):
    uri = path(lake, "bronze/sales")
    write_deltalake(uri, DeltaTable(uri).to_pyarrow_table().slice(0, 1), mode="append")
    undescribed(lake, "bronze/sales")
    assert proof(lake, FORGOTTEN).verdict is Verdict.NOT_PROVEN


def test_values_of_another_type_have_a_remedy_that_helps(lake):
    uri = path(lake, "bronze/sales")
    name = DeltaTable(uri).file_uris()[0]
    rows = pq.ParquetFile(name).read()
    at = rows.schema.get_field_index("quantity")
    pq.write_table(rows.set_column(at, "quantity", pa.array(["x"] * len(rows))), name)

    def of_its_size(action):
        if "add" in action and action["add"]["path"] in name:
            action["add"]["size"] = Path(name).stat().st_size

    retell(uri, of_its_size)
    found = proof(lake, FORGOTTEN)
    assert found.verdict is Verdict.CANNOT_TELL
    [told] = [doubt for doubt in found.doubts if doubt.startswith("bronze.sales: ")]
    assert f"{name}: column 'quantity' has values that are no int32" in told
    assert "lakehouse restore BACKUP" in told
    assert "repair" not in told
    assert not any("too large" in doubt for doubt in found.doubts)


@pytest.mark.parametrize("to", [random_prefix, other_folder])
def test_whole_rows_have_the_partition_that_the_log_says(lake, to):
    before = lake.bronze.bronze.rows().sort_by("offset")
    moved(path(lake, "bronze/sales"), to)
    lake.restart()
    assert lake.bronze.bronze.rows().sort_by("offset").equals(before)


@pytest.mark.parametrize("sign", ["\u2028", "\x85", *long("\u2029", "\v", "\f", "\x1c")])
def test_text_that_python_takes_for_a_line_end_is_within_its_action(lake, sign):
    """A product's name is in its file's bounds, which are in the commit."""
    uri = path(lake, "bronze/sales")
    before = DeltaTable(uri).version()
    lake.land(encode(sale(event_id="odd", order_id="odd", product_name=f"a{sign}b")), 10)
    [step] = increments(uri, before, DeltaTable(uri).version(), 10)
    assert len(step.files) == 1
    lake.fold()
    assert proof(lake, Kafka(end=11)).verdict is Verdict.PROVEN
