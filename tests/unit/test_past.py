"""Silver of a moment whose versions are gone is folded from bronze as of then."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lakehouse.core.errors import UsageError
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.diff import diff
from lakehouse.explorer.past import Past
from lakehouse.explorer.sql import read
from lakehouse.operations.quarantine import Choice
from lakehouse.storage.log import commits, note_of
from lakehouse.storage.upkeep import forget_history
from tests.conftest import encode, sale
from tests.support.lake import Lake
from tests.support.quarantined import OLD, again

GERMANY = [{"country": "Germany", "lines": 1, "orders": 1}]
ASKED = "SELECT country, lines, orders FROM silver.sales_by_country ORDER BY ALL"


def test_an_older_moment_is_folded_from_bronze_and_says_so(settings):
    lake, told = Lake(settings), []
    for n, country in enumerate(["Germany", "France"]):
        lake.land(encode(sale(event_id=f"e{n}", order_id=f"o{n}", country=country)), n)
        lake.silver.catch_up()
        if n == 0:
            time.sleep(0.05)
            then = datetime.now(UTC)
            time.sleep(0.05)
    for table in lake.silver.every_table():
        forget_history(table, {})
    with pytest.raises(UsageError):
        Catalogue(settings.lake.root, at=then).open("silver.sales_by_country")
    past = Past(settings, told.append)
    catalogue = Catalogue(settings.lake.root, at=then, past=past.open)
    assert read(catalogue, ASKED, settings.explorer).to_pylist() == GERMANY
    assert "folding it from bronze.sales at version 1" in told[0]
    now = read(Catalogue(settings.lake.root, past=past.open), ASKED, settings.explorer)
    assert now.num_rows == 2


def test_so_is_an_older_version_whose_files_are_gone(settings):
    lake, told = Lake(settings), []
    for n, country in enumerate(["Germany", "France", "Spain"]):
        lake.land(encode(sale(event_id=f"e{n}", order_id=f"o{n}", country=country)), n)
        lake.silver.catch_up()
    table = lake.silver.tables["by_country"]
    first = next(
        c["version"] for c in commits(table.uri, table.version)
        if (note_of(c).get("source") or {}).get("version") == 1
    )  # fmt: skip
    table.dt.vacuum(0, dry_run=False, enforce_retention_duration=False)
    past = Past(settings, told.append)
    catalogue = Catalogue(settings.lake.root, version=first, past=past.open)
    assert read(catalogue, ASKED, settings.explorer).to_pylist() == GERMANY
    assert "folding it from bronze.sales at version 1" in told[0]
    bronze = lake.bronze.bronze.dt
    bronze.optimize.compact()
    bronze.vacuum(0, dry_run=False, enforce_retention_duration=False)
    again = Catalogue(settings.lake.root, version=first, past=Past(settings, told.append).open)
    assert read(again, ASKED, settings.explorer).to_pylist() == GERMANY
    assert "taking what bronze.sales had from its newest version" in told[-2]
    with pytest.raises(UsageError, match="files of then are gone, removed by its upkeep"):
        diff(catalogue.back_to(), settings.explorer, "bronze.sales", 1, bronze.version())


def test_every_table_of_a_moment_before_bronze_was_compacted(settings):
    """There were a copy and a replay before it; a replay, a copy and a late event came after."""
    lake = Lake(settings)
    told = {"country": "Germany", "order_id": "o1"}
    old = [sale(event_id=f"old{n}", event_time=OLD, order_id=f"o{n}") for n in (8, 9)]
    lake.land(encode(sale(event_id="e1", **told), sale(event_id="e1", **told), *old), 0)
    again(lake, Choice(((0, 2),)))
    lake.land(encode(sale(event_id="e3", event_time="2026-02-01T10:00:00Z")), 4)
    lake.silver.catch_up()
    lake.silver.persist()
    names = [f"silver.{Path(table.uri).name}" for table in lake.silver.every_table()]
    was = {n: rows_of(Catalogue(settings.lake.root), n, settings) for n in names}
    time.sleep(0.05)
    then = datetime.now(UTC)
    time.sleep(0.05)
    again(lake)
    lake.land(encode(sale(event_id="e2"), sale(event_id="e1", **told)), 5)
    lake.land(encode(sale(event_id="e4", event_time="2026-03-01T10:00:00Z")), 7)
    lake.silver.catch_up()
    for table in lake.silver.every_table():
        forget_history(table, {})
    bronze = lake.bronze.bronze.dt
    bronze.optimize.compact()
    bronze.vacuum(0, dry_run=False, enforce_retention_duration=False)
    past = Catalogue(settings.lake.root, at=then, past=Past(settings, lambda _: None).open)
    assert {n: rows_of(past, n, settings) for n in names} == was
    assert any(was.values())


def rows_of(catalogue, name, settings):
    return read(catalogue, f"FROM {name} ORDER BY ALL", settings.explorer).to_pylist()
