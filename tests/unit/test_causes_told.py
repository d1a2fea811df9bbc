"""A fault is told by its cause: what another program did, a folder that moved, a shell's limits."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake

from lakehouse.core.errors import ServiceUnavailable, TableDamaged
from lakehouse.storage.table import Table
from lakehouse.storage.upkeep import compact
from tests.support.words import SCHEMA, rows

WRITES = {
    "append": lambda table: table.append(rows(9), {}),
    "replace": lambda table: table.replace([rows(9)], {}),
    "compact": compact,
    "delete": lambda table: table.delete("n = 1", {}),
}


@pytest.fixture
def filled(table):
    for n in (1, 4, 7):
        table.append(rows(n), {})
    return table


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_commit_of_another_program_is_called_that(filled, write):
    write_deltalake(DeltaTable(filled.uri), rows(5), mode="overwrite")
    with pytest.raises(TableDamaged, match="another program has committed to it") as told:
        write(filled)
    assert "one writer" in told.value.remedy
    assert "disk" not in str(told.value)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_folder_that_moved_away_is_called_that_and_is_not_made_again(filled, write):
    folder = Path(filled.uri)
    shutil.move(folder, folder.with_name("elsewhere"))
    with pytest.raises(ServiceUnavailable, match="moved or removed") as told:
        write(filled)
    assert "put it back" in told.value.remedy
    assert not list(folder.rglob("*.parquet"))
    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(folder.with_name("elsewhere"), folder)
    again = Table.open(filled.uri, SCHEMA, filled.settings, partition_by=["day"])
    assert sorted(again.rows()["n"].to_pylist()) == [1, 4, 7]


def limited(limit, code):
    """What a process under a shell's limit says."""
    words = ["bash", "-c", f'ulimit {limit}; exec "$0" -c "$1"', sys.executable, code]
    return subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)


FIND = """
from pathlib import Path
from lakehouse.core.errors import LakehouseError
from lakehouse.services.java import find_java
try:
    find_java(Path({cache!r}))
except LakehouseError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("limit", "place", "remedy"),
    [
        ("-n 64", "this shell: allows a process 64 open files", "ulimit -n 1024"),
        ("-v 1500000", "Java: does not start: this shell allows", "ulimit -v unlimited"),
    ],
)
def test_a_limit_of_the_shell_is_named_with_its_remedy(tmp_path, limit, place, remedy):
    done = limited(limit, FIND.format(cache=str(tmp_path)))
    assert place in done.stdout, done.stderr
    assert remedy in done.stdout


def test_files_that_may_not_be_opened_are_no_traceback(tmp_path):
    code = (
        "import sys\nfrom lakehouse.cli import app as cli\n"
        "held = []\n"
        "def take():\n"
        "    while True:\n        held.append(open('/dev/null'))\n"
        "cli.app = take\ncli.main()\n"
    )
    done = limited("-n 256", code)
    assert "Traceback" not in done.stderr
    assert "256 open files are allowed" in done.stderr
    assert done.returncode == 5
