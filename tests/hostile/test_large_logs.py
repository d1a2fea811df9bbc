"""Logs that are within the limits of size, and would take many times as much to be read."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lakehouse.cli.edge import in_bounds
from lakehouse.core.errors import TableDamaged
from lakehouse.core.memory import growth
from lakehouse.storage.entries import LARGEST
from tests.conftest import long, settings_at
from tests.hostile.attacks import newest
from tests.hostile.verbs import AT_WORK
from tests.support.copies_of_one import copies_of_one

ROOT = Path(__file__).parents[2]
SIZE = LARGEST - 4_000_000
INFO = '{"commitInfo":{"timestamp":1,"operation":"WRITE","operationParameters":{}%s}}\n'
MOST_MB = 1_500
"""Python and its engines, and some times what the log has."""
LOADED = """
import sys
from pathlib import Path
from lakehouse.core.errors import LakehouseError
from tests.hostile.verbs import VERBS, limited, peak_mb
"""
RUN = f"""
for verb in ("history", "tables"):
    with limited({AT_WORK}):
        try:
            said = VERBS[verb](Path(sys.argv[1]))
        except LakehouseError as error:
            said = str(error)
    print(said)
print(peak_mb())
"""


def described_by(element):
    """A commit that describes itself by a list, each of whose elements takes much memory."""
    return INFO % f',"x":[{element * (SIZE // len(element))}0]'


def of_columns():
    """A table of two hundred thousand columns."""
    column = '{"name":"c%06d","type":"string","nullable":true,"metadata":{}}'
    fields = ",".join(column % n for n in range(SIZE // 270))
    schema = f'{{"type":"struct","fields":[{fields}]}}'
    told = {"id": "x", "format": {"provider": "parquet", "options": {}}, "schemaString": schema,
            "partitionColumns": [], "configuration": {}, "createdTime": 1}  # fmt: skip
    return INFO % "" + json.dumps({"metaData": told}) + "\n"


LOGS = {
    "lists": lambda: described_by("[],"),
    "objects": lambda: described_by('{"a":[1]},'),
    "empty lines": lambda: INFO % "" + "\n" * SIZE,
    "empty actions": lambda: INFO % "" + "{}\n" * (SIZE // 3),
    "columns": of_columns,
}
LIKE_OTHERS = {"objects": "lists", "empty actions": "empty lines"}
KINDS = [*(kind for kind in LOGS if kind not in LIKE_OTHERS), *long(*LIKE_OTHERS)]


@pytest.fixture(scope="module")
def told(landed, tmp_path_factory, request):
    """Kind that is tested → what became of a process that looked at a lake with such a log."""
    folder, roots = tmp_path_factory.mktemp("logs"), []
    tested = {item.name for item in request.session.items}
    kinds = [kind for kind in LOGS if any(name.endswith(f"[{kind}]") for name in tested)]
    for n, kind in enumerate(kinds):
        roots.append(shutil.copytree(landed, folder / str(n) / "lake"))
        last = newest(roots[-1], "bronze/sales")
        last.with_name(f"{int(last.stem) + 1:020}.json").write_text(LOGS[kind]())
        for layer in ("silver", "ledger", "erased"):  # other tables tell nothing here
            shutil.rmtree(roots[-1] / layer)
    done = copies_of_one(LOADED, RUN, [[root] for root in roots])
    return dict(zip(kinds, done, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_log_takes_no_more_memory_than_some_times_its_size(kind, told):
    done = told[kind]
    assert done.returncode == 0, done.stderr[-2000:]
    *said, peak = done.stdout.splitlines()
    print(kind, peak, "".join(said)[:200])
    assert int(peak) < MOST_MB
    assert kind == "columns" or "bronze.sales" in "".join(said)
    assert "Traceback" not in done.stdout


def test_what_only_reads_has_a_bound_of_memory_and_ends_in_words(tmp_path):
    settings = settings_at(tmp_path / "lake")
    with pytest.raises(TableDamaged, match="takes more memory than there is"), in_bounds(settings):
        bytearray(2 * growth(settings.explorer.memory_limit))
    assert len(bytearray(1_000_000)) == 1_000_000


@pytest.mark.long
def test_an_engine_that_is_refused_memory_is_told_in_words(lake):
    """Eight commits of the largest size: delta-rs ends its process where it is given no more."""
    add = json.dumps({"add": {"path": "event_date=2026-11-20/%07d", "size": 7, "dataChange": True,
                              "modificationTime": 1,
                              "partitionValues": {"event_date": "2026-11-20"}}})  # fmt: skip
    for _ in range(8):
        last = newest(lake, "bronze/sales")
        text = INFO % "" + "".join(f"{add % n}\n" for n in range(SIZE // len(add)))
        last.with_name(f"{int(last.stem) + 1:020}.json").write_text(text)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "lakehouse", "history", "bronze.sales", "--root", str(lake)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "LAKEHOUSE_EXPLORER_MEMORY_LIMIT": "100MB"},
        cwd=ROOT, text=True, check=False, capture_output=True, timeout=2 * AT_WORK,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "takes more memory than there is for this verb" in done.stderr
    assert "allocation" not in done.stderr
