"""A bit that flips in a file of any verb is found: by its page's checksum, or by what rows say."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from lakehouse.audit.compare import compare
from lakehouse.audit.declared import recomputes_of
from lakehouse.audit.fingerprints import check_fingerprint
from lakehouse.audit.pins import Snapshots, engine
from lakehouse.audit.proof import Verdict
from lakehouse.storage.file_paths import files_of
from tests.support.audited import Kafka, path, proof
from tests.support.lake import left_alone

FORGOTTEN = Kafka(beginning=10)


@pytest.fixture
def lake(erased_root, settings):
    return left_alone(erased_root, settings)


def flips(file):
    """The file's bytes with one bit flipped, in each column's last page, where its value turns."""
    whole, group = Path(file).read_bytes(), pq.read_metadata(file).row_group(0)
    before = pq.ParquetFile(file).read()
    for number in range(group.num_columns):
        chunk = group.column(number)
        data = bytearray(whole)
        data[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 1
        try:
            if pq.ParquetFile(pa.BufferReader(data)).read() == before:
                continue  # a bit that no value needs
        except (pa.ArrowException, OSError):
            pass
        yield chunk.path_in_schema, bytes(data)


@pytest.mark.parametrize("name", ["bronze.sales", "quarantine.sales", "erased.sales"])
def test_a_flipped_bit_is_not_what_the_commits_added(lake, name):
    table = DeltaTable(path(lake, name.replace(".", "/")))
    found = 0
    with engine(lake.settings) as connection:
        snapshots = Snapshots(lake.settings.lake.root, connection)
        assert check_fingerprint(snapshots, name, table.version()).fault == ""
        for file in files_of(table):
            before = Path(file).read_bytes()
            for column, data in flips(file):
                Path(file).write_bytes(data)
                told = check_fingerprint(snapshots, name, table.version())
                assert told.fault or told.doubt, (file, column)
                found += 1
            Path(file).write_bytes(before)
    assert found > 5


def compared(lake, table):
    """What the audit finds of one table of silver."""
    name, recomputes = table.replace("/", "."), recomputes_of("sales")
    [recompute] = [r for r in recomputes.tables if name == f"silver.sales_{r.name}"]
    with engine(lake.settings) as connection:
        snapshots = Snapshots(lake.settings.lake.root, connection)
        bronze = snapshots.pin("bronze", "bronze.sales")
        return compare(snapshots, name, recomputes.counted, recompute, bronze)


def is_other(found):
    """Whether an audit that finds this is not proven."""
    return bool(found.differing or found.fault or found.doubt)


@pytest.mark.parametrize("table", ["silver/sales_by_country", "silver/sales_orders"])
def test_nor_is_it_what_bronze_gives(lake, table):
    file = files_of(DeltaTable(path(lake, table)))[0]
    before, flipped = Path(file).read_bytes(), [*flips(file)][:6]
    for column, data in flipped:
        Path(file).write_bytes(data)
        if not is_other(compared(lake, table)):  # a whole audit reads bounds and counts too
            assert proof(lake, FORGOTTEN).verdict is not Verdict.PROVEN, column
    assert proof(lake, FORGOTTEN).verdict is not Verdict.PROVEN
    Path(file).write_bytes(before)
    assert not is_other(compared(lake, table))
    assert proof(lake, FORGOTTEN).verdict is Verdict.PROVEN
