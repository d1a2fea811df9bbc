"""A hundred megabytes of rows in one batch: written in row groups that any reader can unpack."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.storage.data_files import write_file, write_files
from tests.conftest import encode, sale, settings_at
from tests.support.lake import Lake

ROOT = Path(__file__).parents[2]
MIB = 2**20
MOST = 64 * MIB
SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string())])
RECORDS, MOST_MB = 200, 1_200
"""Rows of a megabyte, and what the audit may take: 150 MB are Python and its engines."""


def large(first, count, size=2 * MIB):
    texts = [f"{n:08}" * (size // 8) for n in range(first, first + count)]
    return pa.table([list(range(first, first + count)), texts], SCHEMA)


def groups(folder, name):
    about = pq.read_metadata(folder / name)
    found = [about.row_group(n) for n in range(about.num_row_groups)]
    assert sum(group.num_rows for group in found) == about.num_rows
    return [group.total_byte_size for group in found]


def test_a_batch_of_large_rows_has_row_groups_of_some_megabytes(tmp_path):
    rows = pa.concat_tables([large(0, 40), large(40, 1, size=2 * MOST), large(41, 5_000, size=8)])
    [file] = write_files(tmp_path, rows, [], "zstd")
    *small, largest = sorted(groups(tmp_path, file.name))
    assert len(small) > 1
    assert largest > 2 * MOST > MOST > max(small)  # a row is not divided
    assert pq.read_table(tmp_path / file.name).equals(rows)


def test_so_has_a_file_that_many_become(tmp_path):
    parts = [large(n * 10, 10).to_batches()[0] for n in range(4)]
    file = write_file(tmp_path, parts, SCHEMA, {}, "zstd")
    sizes = groups(tmp_path, file.name)
    assert len(sizes) > 1
    assert max(sizes) < MOST * 1.1
    assert pq.read_table(tmp_path / file.name)["n"].to_pylist() == [*range(40)]


AUDITED = f"""
import sys
from pathlib import Path
from lakehouse.audit.extent import Content
from lakehouse.audit.run import Broker, audit
from lakehouse.audit.show import render
from lakehouse.model.witness import Raw
from tests.conftest import NOW, settings_at
from tests.hostile.verbs import peak_mb
from tests.support.audited import Kafka
from tests.unit.test_large_rows import value

def records(gaps):
    return (Raw(0, o, int(NOW.timestamp() * 1000), None, value(o), []) for gap in gaps
            for o in range(gap.first, gap.next))

kafka = Kafka(end={RECORDS})
broker = Broker(kafka.topic, kafka.judge, records)
proof = audit("sales", settings_at(Path(sys.argv[1])), broker, NOW, print, Content.ALL)
print(render(proof, 132, color=False))
print(peak_mb())
"""


def value(n):
    (head,) = encode(sale(event_id=f"n{n}", order_id=f"o{n}", note=""))
    return head[:-2] + (b"%08d" % n) * (MIB // 8) + head[-2:]


def test_the_audit_of_such_a_batch_takes_no_more_memory_than_its_parts(tmp_path):
    root = tmp_path / "lake"
    lake = Lake(settings_at(root))
    lake.land([value(n) for n in range(RECORDS)], 0)
    environment = {"LAKEHOUSE_SILVER_ENGINE_MEMORY": "512MB", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", AUDITED, str(root)], cwd=ROOT, text=True, check=False,
        env={**os.environ, **environment}, capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    *said, peak = done.stdout.splitlines()
    print(peak)
    [told] = [line for line in said if line.startswith("PROVEN so far")]
    assert told.endswith("content of all"), said
    assert int(peak) < MOST_MB
