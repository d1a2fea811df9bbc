"""A log that a writer checkpoints and shortens meanwhile is never called damaged."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from lakehouse.core.errors import TableDamaged
from lakehouse.storage.health import newest
from lakehouse.storage.log_health import check_log, unmoved
from lakehouse.storage.table import Table
from tests.conftest import long, settings_at
from tests.support.numbers import SCHEMA, settings

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
from pathlib import Path
from lakehouse.storage.table import Table
from lakehouse.storage.log import forget_before
from tests.support.numbers import SCHEMA, settings

uri = sys.argv[1]
table = Table.open(uri, SCHEMA, settings(Path(uri).parents[1]))
while True:
    table.append(SCHEMA.empty_table(), {"n": table.version})
    forget_before(Path(uri), table.version)
"""


@pytest.fixture
def uri(tmp_path):
    table = Table.open(str(tmp_path / "lake" / "silver" / "x"), SCHEMA, settings(tmp_path / "lake"))
    return table.uri


@pytest.mark.parametrize(("least", "written"), [(100, 30), *long((300, 100))])
def test_a_log_that_is_written_meanwhile_is_whole(uri, least, written):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, uri], cwd=ROOT)
    try:
        until, looks, versions = time.monotonic() + 60, 0, set()
        while time.monotonic() < until and (looks < least or len(versions) < written):
            check_log(uri)
            versions.add(newest(uri).version())
            looks += 1
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()
    assert len(versions) > 10, "the writer wrote meanwhile"


def test_a_log_that_moves_at_every_look_is_looked_at_again(uri):
    looks = []

    def look():
        looks.append(None)
        if len(looks) > 40:
            return []
        Path(uri, "_delta_log", f"{len(looks)}.json.tmp").touch()
        return ["damage"]

    assert unmoved(uri, look) == []


def test_damage_that_stays_is_told_while_another_file_comes(uri):
    table = Table.open(uri, SCHEMA, settings_at(Path(uri).parents[1]))
    for n in range(3):
        table.append(SCHEMA.empty_table(), {"n": n})
    Path(uri, "_delta_log", f"{2:020}.json").write_bytes(b"")
    with pytest.raises(TableDamaged, match="is cut"):
        check_log(uri)
