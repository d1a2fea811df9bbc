"""A catalogue that follows tables: it sees what changes, what is damaged, what is rebuilt."""

import shutil
from pathlib import Path

import pytest

from lakehouse.core.errors import TableDamaged, TableMissing
from lakehouse.explorer.held import HeldCatalogue
from tests.conftest import encode, sale
from tests.support.lake import Lake


def test_it_follows_a_table_through_all_that_may_become_of_it(settings):
    lake = Lake(settings)
    lake.land(encode(sale()), 0)
    held = HeldCatalogue(settings.lake.root)
    uri = held.lake.table("bronze.sales")
    first = held.info("bronze.sales")
    assert (first.rows, held.newest(uri), held.state("bronze.sales")[0]) == (1, 1, 1)
    lake.land(encode(sale(event_id="e2")), 1)
    assert (held.newest(uri), held.info("bronze.sales").rows) == (2, 2)

    newest = Path(uri, "_delta_log", f"{2:020}.json")
    whole = newest.read_bytes()
    before = held.state("bronze.sales")
    newest.write_bytes(b"{")
    assert held.state("bronze.sales") != before
    with pytest.raises(TableDamaged):
        held.open("bronze.sales")
    newest.write_bytes(whole)
    assert held.info("bronze.sales").rows == 2

    shutil.rmtree(settings.lake.root)
    assert held.newest(uri) is None
    with pytest.raises(TableMissing):
        held.open("bronze.sales")
    Lake(settings).land(encode(sale(event_id="anew")), 0)
    assert (held.newest(uri), held.info("bronze.sales").rows) == (1, 1)
