"""Files of which engines read different things: what the log and exact names say holds."""

import json
import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse.audit.proof import Verdict
from lakehouse.core.errors import TableDamaged
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.health import opened
from lakehouse.storage.partitions import partition_values
from lakehouse.storage.rows import added_files, fitted_rows
from tests.support.audited import path, proof
from tests.support.lake import left_alone


@pytest.fixture
def lake(audited_root, settings):
    return left_alone(audited_root, settings)


def moved(uri, folder):
    """Every file in a folder more, as an OPTIMIZE of another program tells it."""
    table = DeltaTable(uri)
    said = [{"commitInfo": {"timestamp": 1, "operation": "OPTIMIZE"}}]
    for old in added_files(table).to_pylist():
        new = f"{folder}/{old['path']}"
        Path(uri, new).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(uri, old["path"]), Path(uri, new))
        of = {
            "partitionValues": {name: str(value) for name, value in old["partition"].items()},
            "dataChange": False, "size": old["size_bytes"],
        }  # fmt: skip
        said += [
            {"remove": {"path": old["path"], "deletionTimestamp": 1, **of}},
            {"add": {"path": new, "modificationTime": 1, **of}},
        ]
    entry = Path(uri, "_delta_log", f"{table.version() + 1:020}.json")
    entry.write_text("".join(f"{json.dumps(action)}\n" for action in said))


def test_a_folder_named_like_a_value_of_another_column_gives_none(lake):
    moved(path(lake, "bronze/sales"), "country=Narnia")
    lake.fold()
    lake.ledger.catch_up()
    lake.ledger.persist()
    found = proof(lake)
    assert (found.verdict, found.faults, found.doubts) == (Verdict.PROVEN, (), ())
    assert {table.source for table in found.tables} == {3}


def test_a_column_in_other_capitals_is_not_proven(lake):
    """DuckDB reads it all the same; readers by name find nulls."""
    uri = path(lake, "silver/sales_by_country")
    file = Path(files_of(DeltaTable(uri))[0])
    file.write_bytes(file.read_bytes().replace(b"returns", b"Returns"))
    found = proof(lake)
    assert found.verdict is Verdict.CANNOT_TELL
    assert [doubt for doubt in found.doubts if "'Returns' in place of 'returns'" in doubt]
    table = opened(uri)
    with pytest.raises(TableDamaged, match="returns"):
        list(fitted_rows(uri, partition_values(table), _schema(table)))


def _schema(table):
    return table.to_pyarrow_dataset().schema
