"""Silver of a moment whose versions are gone is folded from bronze as of then."""

import time
from datetime import UTC, datetime

import pytest

from lakehouse.core.errors import UsageError
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.past import Past
from lakehouse.explorer.sql import read
from lakehouse.storage.upkeep import forget_history
from tests.conftest import encode, sale
from tests.support.lake import Lake

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
    assert read(catalogue, ASKED, settings.explorer).to_pylist() == [
        {"country": "Germany", "lines": 1, "orders": 1}
    ]
    assert "folding it from bronze.sales at version 1" in told[0]
    now = read(Catalogue(settings.lake.root, past=past.open), ASKED, settings.explorer)
    assert now.num_rows == 2
