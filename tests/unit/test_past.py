"""Silver of a moment whose versions are gone is folded from bronze as of then."""

import time
from datetime import UTC, datetime

import pytest

from lakehouse.core.errors import UsageError
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.diff import diff
from lakehouse.explorer.past import Past
from lakehouse.explorer.sql import read
from lakehouse.storage.log import commits, note_of
from lakehouse.storage.upkeep import forget_history
from tests.conftest import encode, sale
from tests.support.lake import Lake

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
    with pytest.raises(UsageError, match=r"gone, and so are those of bronze\.sales at version 1"):
        again.open("silver.sales_by_country")
    with pytest.raises(UsageError, match="files of then are gone, removed by its upkeep"):
        diff(catalogue.back_to(), settings.explorer, "bronze.sales", 1, bronze.version())
