"""Silver recreated: what differed is named, and mended."""

import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse.audit.proof import Verdict
from lakehouse.core.progress import told_to
from lakehouse.operations.rebuild import rebuild
from tests.support.lake import SILVER, left_alone
from tests.support.recovered import (
    assert_proven,
    go_on,
    proof,
    uri,
)


@pytest.fixture
def lake(recovered_root, settings):
    return left_alone(recovered_root, settings)


def test_a_rebuild_names_what_differed_and_mends_it(lake):
    before = DeltaTable(uri(lake, "silver.sales_by_client")).version()
    DeltaTable(uri(lake, "silver.sales_by_country")).update({"lines": "7"})
    DeltaTable(uri(lake, "silver.sales_orders")).delete("order_id = 'o4'")
    assert proof(lake).verdict is Verdict.NOT_PROVEN
    done = []
    with told_to(lambda *told: done.append(told)):
        found = {t.table: t for t in rebuild(SILVER, lake.settings, lambda _: None)}
    country = found["silver.sales_by_country"]
    assert country.differing == 1
    assert [(row["column"], row["held"]) for row in country.first] == [("lines", 7)]
    assert found["silver.sales_orders"].differing == 1
    assert found["silver.sales_by_client"].differing == 0
    assert ("folding sales.silver", 9, 9, "rows") in done
    assert DeltaTable(uri(lake, "silver.sales_by_client")).version() == before + 1
    go_on(lake)
    assert_proven(lake)
    assert not (Path(lake.settings.lake.root) / "_rebuild" / "sales").exists()


def test_a_rebuild_in_parts_is_the_same(lake):
    lake.settings = lake.settings.changed(silver={"max_rows_per_fold": 2})
    found = rebuild(SILVER, lake.settings, lambda _: None)
    assert {table.differing for table in found} == {0}
    go_on(lake)
    assert_proven(lake)


def test_a_rebuild_of_silver_that_is_behind_or_gone(lake):
    shutil.rmtree(uri(lake, "silver.sales_by_segment"))
    rebuild(SILVER, lake.settings, lambda _: None)
    go_on(lake)
    assert_proven(lake)
