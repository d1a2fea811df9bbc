"""A data file of some kilobytes that unpacks to hundreds of gigabytes: an answer, in memory."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tests.hostile.attacks import log_of, newest
from tests.hostile.verbs import AT_WORK
from tests.support.copies_of_one import copies_of_one

CELL, ROWS = 8_000_000, 50_000
ALLOWED = {"LAKEHOUSE_EXPLORER_MEMORY_LIMIT": "256MB", "LAKEHOUSE_SILVER_ENGINE_MEMORY": "256MB"}
"""A quarter of the default, which takes a quarter of the time to fill."""
MOST_MB = 3_000
"""A process may take twice of what both allow, and 1 GB besides its own."""
LOADED = """
import sys
from pathlib import Path
from lakehouse.core.errors import LakehouseError
from tests.hostile.verbs import VERBS, limited, peak_mb, verb_of
"""
RUN = f"""
verbs = VERBS | {{"repair bronze": verb_of("repair", "bronze.sales")}}  # one: what is freed counts
with limited({AT_WORK}):
    try:
        said = verbs[sys.argv[1]](Path(sys.argv[2]))
    except LakehouseError as error:
        said = str(error)
print(said)
print(peak_mb())
"""


def one_value(column, rows):
    """A column of one value, which the file holds once."""
    kind = column.type
    large = pa.array(["x" * CELL]) if pa.types.is_string(kind) else pa.array([b"x" * CELL])
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), large)


def add_bomb(root, table, column):
    """A commit that adds the file, as another program would."""
    dt = DeltaTable(root / table)
    schema, parts = pa.schema(dt.schema().to_arrow()), dt.metadata().partition_columns
    row = dt.to_pyarrow_table().slice(0, 1).cast(schema).combine_chunks()
    columns = {
        name: one_value(row[name], ROWS) if name == column
        else row[name].chunk(0).take(pa.array([0] * ROWS))
        for name in schema.names if name not in parts
    }  # fmt: skip
    values = {part: str(row[part][0].as_py()) for part in parts}
    path = "/".join([*(f"{part}={value}" for part, value in values.items()), "bomb.parquet"])
    pq.write_table(
        pa.table(columns), root / table / path, compression="zstd", store_schema=False,
        dictionary_pagesize_limit=2**31 - 1,
    )  # fmt: skip
    size = (root / table / path).stat().st_size
    assert size < 10_000
    add = {"path": path, "partitionValues": values, "size": size, "modificationTime": 1,
           "dataChange": True}  # fmt: skip
    info = {"timestamp": 1, "operation": "WRITE", "operationParameters": {}}
    version = int(newest(root, table).stem) + 1
    lines = [json.dumps({"commitInfo": info}), json.dumps({"add": add}, separators=(",", ":"))]
    (log_of(root, table) / f"{version:020}.json").write_text("\n".join([*lines, ""]))


@pytest.fixture(scope="module")
def armed(landed, tmp_path_factory):
    """A lake with two of them, made once: each compresses hundreds of megabytes."""
    root = shutil.copytree(landed, tmp_path_factory.mktemp("armed") / "lake")
    add_bomb(root, "bronze/sales", "extra")
    add_bomb(root, "quarantine/sales", "value")
    return root


READING = ["doctor --deep", "explore", "quarantine list", "audit"]
WRITING = ["maintain", "erase", "rebuild", "quarantine replay", "repair bronze"]


@pytest.fixture(scope="module")
def told(armed, tmp_path_factory):
    """Verb → what became of its process, on a copy of its own."""
    verbs, folder = [*READING, *WRITING], tmp_path_factory.mktemp("bombed")
    roots = [shutil.copytree(armed, folder / str(n) / "lake") for n in range(len(verbs))]
    cases = [[verb, root] for verb, root in zip(verbs, roots, strict=True)]
    return dict(zip(verbs, copies_of_one(LOADED, RUN, cases, **ALLOWED), strict=True))


@pytest.mark.timeout(900)  # the first of them waits for all
@pytest.mark.parametrize("verb", [*READING, *WRITING])
def test_a_file_that_unpacks_to_more_than_there_is_is_told_in_words(verb, told):
    done = told[verb]
    assert done.returncode == 0, done.stderr[-2000:]
    *said, peak = done.stdout.splitlines()
    print(verb, peak, *said)
    assert int(peak) < MOST_MB
    words = " ".join(said)
    assert "cannot be read" in words or "too little memory" in words or "fix:" in words
