"""A lake works wherever its root lies; a root that an engine misreads is refused."""

import shlex
from pathlib import Path

import pyarrow as pa
import pytest

from lakehouse.audit.pins import Snapshots, engine
from lakehouse.core.errors import TableDamaged, UsageError
from lakehouse.core.paths import Lake as Paths
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.locked import locked
from lakehouse.explorer.spilled import Room
from lakehouse.ingest.replay import enter, finish
from lakehouse.operations.backup import backup
from lakehouse.settings.sections import ExplorerSettings
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.health import opened
from lakehouse.storage.table import Table
from lakehouse.storage.upkeep import compact, vacuum
from tests.conftest import NOW, encode, long, sale, settings_at
from tests.support.lake import Lake

ODD = ["all # %é 'o\"f* ?{them}:;~", *long("a b", "#é'\"%", "a*b?")]
MISREAD = ["a%41b", "a%20b", "a[b", "a]b", "a|b", "a^b", "a\\b", "a\nb", "a\tb", "a\x7fb"]
ADDRESSES = ["s3://bucket/lake", "file:/tmp/lake", "file:lake", "abfss://c@a/lake", "HDFS:/lake"]


@pytest.mark.parametrize("name", ODD)
def test_a_lake_lands_folds_replays_compacts_and_is_read_at_an_odd_root(tmp_path, name):
    settings = settings_at(tmp_path / name / "lake")
    lake = Lake(settings)
    lake.land([*encode(sale(event_id="a"), sale(event_id="b", country="Ü s#%41*?[x]")), b"{"], 0)
    lake.fold()
    lake.restart()
    times = [f"2026-11-{day:02}T11:00:00Z" for day in (1, 2, 20)]
    copies = [sale(event_id="a"), *(sale(event_id=t, event_time=t) for t in times)]
    landed = lake.land(encode(*copies), 3)
    assert (landed.good, landed.duplicates) == (4, 1)
    lake.silver.catch_up()
    lake.ledger.persist()
    finish(lake.bronze, NOW)
    quarantined = lake.bronze.quarantine.rows().select(["topic", "partition", "offset"])
    assert enter(lake.bronze, quarantined, NOW).refused == 1
    for table in (lake.bronze.bronze, lake.bronze.quarantine, *lake.silver.every_table()):
        table.dt.create_checkpoint()
        compact(table)
        vacuum(table)
    lake.restart()
    assert lake.silver.catch_up() >= 0
    assert [p.name for p in tmp_path.iterdir()] == [name]  # nothing lies elsewhere

    with engine(settings) as connection:
        snapshots = Snapshots(settings.lake.root, connection)
        snapshots.pin("bronze", "bronze.sales")
        snapshots.pin("country", "silver.sales_by_country")
        assert connection.sql("SELECT count(*) FROM bronze").fetchall() == [(6,)]
        assert connection.sql("SELECT sum(lines) FROM country").fetchall() == [(5,)]
    catalogue = Catalogue(settings.lake.root)
    tables = {one: catalogue.open(one) for one in catalogue.names()}
    shown = locked(tables, {}, {}, {}, ExplorerSettings(), Room())
    assert shown.execute("SELECT count(*) FROM bronze.sales").fetchall() == [(6,)]
    backup(settings, tmp_path / "copy", NOW, lambda _: None)
    copied = opened(str(tmp_path / "copy" / "bronze" / "sales"))
    assert all(Path(file).is_file() for file in files_of(copied))


@pytest.mark.parametrize("name", MISREAD)
def test_a_root_that_an_engine_misreads_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="its path holds"):
        Paths(str(tmp_path / name / "lake"))


@pytest.mark.parametrize("name", ["offset=5", "Country=Mars"])
def test_a_folder_named_like_a_value_of_a_column_is_refused(tmp_path, name):
    """DuckDB would give every row that value, and the audit would prove it."""
    with pytest.raises(UsageError, match="take that for the table's column"):
        Lake(settings_at(tmp_path / name / "lake"))


def test_a_folder_named_like_that_is_refused_to_readers_too(tmp_path):
    Lake(settings_at(tmp_path / "lake")).land(encode(sale()), 0)
    (tmp_path / "offset=5").mkdir()
    (tmp_path / "lake").rename(tmp_path / "offset=5" / "lake")
    with pytest.raises(UsageError, match="take that for the table's column"):
        Catalogue(str(tmp_path / "offset=5" / "lake")).open("bronze.sales")


@pytest.mark.parametrize("root", ADDRESSES)
def test_an_address_is_refused(root):
    with pytest.raises(UsageError, match="is an address, and a lake is a folder"):
        Paths(root)


def test_a_folder_named_like_an_address_in_part_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Paths("a:b").table("bronze.sales") == str(tmp_path / "a:b" / "bronze" / "sales")


def test_a_partition_named_by_odd_text_is_read_back(tmp_path):
    schema = pa.schema([pa.field("n", pa.int64()), pa.field("kind", pa.string())])
    kinds = ["a b", "a/b", "a%41", "ü#?*[", "x=y", "'", "", None]
    settings = settings_at(tmp_path / "lake")
    table = Table.open(str(tmp_path / "lake" / "t"), schema, settings, partition_by=["kind"])
    rows = pa.table([pa.array(range(len(kinds)), pa.int64()), pa.array(kinds)], schema=schema)
    table.append(rows, {})
    found = sorted((row["n"], row["kind"]) for row in table.dt.to_pyarrow_table().to_pylist())
    assert found == [(n, kind or None) for n, kind in enumerate(kinds)]
    assert all(Path(file).is_file() for file in table.files())


@pytest.mark.parametrize("name", ODD)
def test_the_command_of_a_remedy_names_the_root_to_a_shell(tmp_path, name):
    """What a person copies from a remedy must reach the table that it is about."""
    settings = settings_at(tmp_path / name / "lake")
    lake = Lake(settings)
    lake.land(encode(sale()), 0)
    uri = lake.bronze.bronze.uri
    for file in files_of(lake.bronze.bronze.dt):
        Path(file).unlink()
    with pytest.raises(TableDamaged) as damage:
        opened(uri)
    words = shlex.split(damage.value.remedy)
    assert words[words.index("--root") + 1] == settings.lake.root
