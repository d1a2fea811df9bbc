"""An erasure leaves nothing of the person in plain Parquet files either."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lakehouse.model.flow import ParquetFlow
from lakehouse.operations import erase as erasure
from lakehouse.products.registry import contract, flows
from lakehouse.sinks.parquet import ParquetPublisher
from tests.support.erased import GONE, erased, traces
from tests.support.lake import copied

PARQUET = ParquetFlow(
    contract("sales"), ("event_id", "client_id", "country"), "CAST(event_time AS DATE)", "true", ""
)


@pytest.fixture
def lake(erasable_root, settings, monkeypatch):
    """The lake, its product having a Parquet flow that has run."""
    lake = copied(erasable_root, settings)
    ParquetPublisher.open(PARQUET, settings, lake.connection).catch_up()
    monkeypatch.setattr(erasure, "flows", lambda: (*flows(), PARQUET))
    return lake


def clients(lake):
    """Whose rows are in the files."""
    folder = Path(lake.settings.lake.root, "lake", "sales")
    files = sorted(folder.rglob("*.parquet"))
    return [id_ for file in files for id_ in pq.read_table(file)["client_id"].to_pylist()]


def test_parquet_files_are_rebuilt_without_them(lake):
    before = clients(lake)
    assert GONE in before
    erased(lake)
    assert traces(lake.settings.lake.root) == []
    assert 0 < len(clients(lake)) < len(before)
