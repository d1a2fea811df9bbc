"""Checkpoints that unpack to more than any memory, or that name files themselves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from lakehouse.core.within import Outside
from lakehouse.storage import checkpoints
from lakehouse.storage.log_health import Log
from tests.hostile.attacks import home, log_of, newest
from tests.hostile.mutants import _nullable
from tests.hostile.verbs import AT_WORK, outcome

ROOT = Path(__file__).parents[2]
MOST_MB = 2_000
RUN = f"""
import sys
from pathlib import Path
from lakehouse.core.errors import LakehouseError
from tests.hostile.verbs import VERBS, limited, peak_mb
for verb in sys.argv[2:]:
    with limited({AT_WORK}):
        try:
            said = VERBS[verb](Path(sys.argv[1]))
        except LakehouseError as error:
            said = str(error)
    print(verb, said.replace(chr(10), " ")[:2_000])
print(peak_mb())
"""
VERBS = ["tables", "history", "doctor --deep", "explore", "audit", "quarantine list", "maintain",
         "backup", "repair", "erase"]  # fmt: skip
TABLE = "bronze/sales"


def checkpoint_of(lake):
    DeltaTable(lake / TABLE).create_checkpoint()
    return max(log_of(lake, TABLE).glob("*.checkpoint.parquet"))


def bomb(path, cell=8_000_000, rows=50_000):
    """Some kilobytes that add files whose names are one of megabytes, which the file has once."""
    told = pq.read_table(path)
    told = told.cast(pa.schema([_nullable(field) for field in told.schema]))
    adds = told.filter(pc.is_valid(told["add"]))["add"].combine_chunks()[:1]
    others = told.filter(pc.is_null(told["add"]))
    kind = told.schema.field("add").type
    name = pa.array(["x" * cell])
    first = pa.array([0] * rows, pa.int32())
    columns = [
        pa.DictionaryArray.from_arrays(first, name) if kind.field(n).name == "path"
        else adds.field(n).take(first)
        for n in range(kind.num_fields)
    ]  # fmt: skip
    fields = [pa.field(kind.field(n).name, columns[n].type) for n in range(kind.num_fields)]
    large = pa.StructArray.from_arrays(columns, fields=fields)
    nulls = [pa.nulls(len(others), field.type) for field in fields]
    at = [field.name for field in fields].index("path")
    nulls[at] = pa.DictionaryArray.from_arrays(pa.nulls(len(others), pa.int32()), name[:0])
    none = pa.StructArray.from_arrays(nulls, fields=fields, mask=pa.array([True] * len(others)))
    added = pa.field("add", large.type)
    place = told.schema.get_field_index("add")
    parts = [
        others.set_column(place, added, none),
        pa.table({f.name: large if f.name == "add" else pa.nulls(rows, f.type)
                  for f in told.schema}),
    ]  # fmt: skip
    path.unlink()
    with pq.ParquetWriter(
        path, parts[0].schema, compression="zstd", dictionary_pagesize_limit=2**31 - 1,
        store_schema=False,
    ) as out:  # fmt: skip
        for part in parts:
            out.write_table(part)
    assert path.stat().st_size < 100_000


def test_a_checkpoint_that_unpacks_to_more_than_any_memory_is_told_in_words(lake):
    path = checkpoint_of(lake)
    bomb(path)
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN, str(lake), *VERBS], cwd=ROOT, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=5 * AT_WORK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    *said, peak = done.stdout.splitlines()
    print(peak, *said, sep="\n")
    assert int(peak) < MOST_MB
    assert all("unpacks to" in told for told in said), said
    assert len(said) == len(VERBS)
    with pytest.raises(Outside, match="unpacks to"):
        Log.of(str(lake / TABLE))


def test_a_checkpoint_of_rows_that_say_nothing_is_not_read(tmp_path):
    path = tmp_path / "rows.parquet"
    with pq.ParquetWriter(path, pa.schema([("n", pa.int8())])) as out:
        for _ in range(2):
            out.write_table(pa.table({"n": pa.nulls(1_000_000, pa.int8())}))
    with pytest.raises(Outside, match="has 2,000,000 rows"):
        checkpoints.checkpoint_size(path)


def test_a_checkpoint_is_read_once_while_nothing_touches_it(lake, monkeypatch):
    path, read = checkpoint_of(lake), []
    real = checkpoints._read
    monkeypatch.setattr(checkpoints, "_read", lambda path: read.append(path) or real(path))
    size = checkpoints.checkpoint_size(path)
    assert size == checkpoints.checkpoint_size(path) > 0
    assert read == [path]
    checkpoints._known.cache_clear()  # another process
    assert checkpoints.checkpoint_size(path) == size
    assert read == [path]
    os.utime(path)
    checkpoints.checkpoint_size(path)
    assert read == [path] * 2


@pytest.mark.parametrize("kind", ["file", "folder", "column", "two columns"])
@pytest.mark.parametrize("verb", ["tables", "explore", "audit", "repair"])
def test_a_checkpoint_that_names_further_files_is_not_read(kind, verb, lake):
    """They may be anywhere: delta-rs would wait for the user's pipe, or read a file of theirs."""
    log, outside = log_of(lake, TABLE), home(lake) / "side.parquet"
    os.mkfifo(outside)
    path = checkpoint_of(lake)
    sidecar = {"path": f"file://{outside}", "sizeInBytes": 1, "modificationTime": 1}
    if kind == "file":
        name = f"{newest(lake, TABLE).stem}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json"
        (log / name).write_text(json.dumps({"sidecar": sidecar}) + "\n")
    elif kind == "folder":
        (log / "_sidecars").mkdir()
    else:
        rows = pq.read_table(path)
        named = pa.array([*[None] * (len(rows) - 1), sidecar])
        rows = rows if kind == "two columns" else rows.drop_columns("sidecar")
        pq.write_table(rows.append_column("sidecar", named), path)
    said = outcome(verb, lake)
    assert "names further files" in said or "is missing" in said
