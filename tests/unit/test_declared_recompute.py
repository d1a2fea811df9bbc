"""A product without a recompute of its own is held against its declarations, evaluated whole."""

import random

import pytest

from lakehouse.audit import run
from lakehouse.audit.compare import compare_all
from lakehouse.audit.declared import declared
from lakehouse.audit.pins import Snapshots, engine
from lakehouse.audit.proof import Verdict
from lakehouse.audit.show import render
from lakehouse.products.registry import product, products
from tests.support.audited import proof, put, rewrite
from tests.support.lake import left_alone
from tests.support.orders import Lake as OrdersLake
from tests.support.orders import change, row, tombstone


@pytest.fixture
def lake(audited_root, settings):
    return left_alone(audited_root, settings)


def by_declaration(name):
    found = products()[name]
    return declared(found.contracts[0], list(found.flows))


def compared(settings, name):
    with engine(settings) as connection:
        snapshots = Snapshots(settings.lake.root, connection)
        bronze = snapshots.pin("bronze", f"bronze.{name}")
        return compare_all(snapshots, name, by_declaration(name), bronze, lambda _: None)


def wrong(found):
    return [c for c in found if c.differing or c.fault or c.doubt]


def test_it_agrees_with_every_table_of_sales(lake):
    found = compared(lake.settings, "sales")
    assert wrong(found) == []
    assert {c.table for c in found} == {*product("sales").flows[1].tables}
    assert all(c.rows for c in found)


def test_it_finds_a_wrong_value(lake):
    rewrite(lake, "silver/sales_by_client", put("favourite_product", ("client_id", "c2"), "p9"))
    assert [c.table for c in wrong(compared(lake.settings, "sales"))] == ["silver.sales_by_client"]


def test_it_agrees_with_every_table_of_orders(settings):
    lake = OrdersLake(settings)
    dice = random.Random(3)
    for _ in range(4):
        records = []
        for _ in range(40):
            key, place = dice.randrange(1, 9), dice.randrange(1, 60)
            after = row(
                order_id=key, amount=f"{dice.randrange(1, 999)}.25", item=f"i{place % 3}",
                order_status=dice.choice(["placed", "preparing", "delivered", "cancelled"]),
            )  # fmt: skip
            op = dice.choice("ccuuud")
            records.append(change(op, place, None if op == "d" else after, after))
            if op == "d":
                records.append(tombstone(key, place))
        lake.land(records)
        lake.catch_up()
    lake.silver.persist()
    found = compared(settings, "orders")
    assert wrong(found) == []
    assert {c.table for c in found} == {*product("orders").flows[1].tables}


def test_the_audit_says_that_it_is_less_independent(lake, monkeypatch):
    assert "declarations" not in render(proof(lake), 132, color=False)
    assert proof(lake).as_dict()["is_by_declaration"] is False
    monkeypatch.setattr(run, "recomputes_of", by_declaration)
    told = proof(lake)
    assert told.verdict is Verdict.PROVEN
    assert "less independent than a recompute of the product's own" in " ".join(
        render(told, 132, color=False).split()
    )
    assert told.as_dict()["is_by_declaration"] is True


@pytest.mark.parametrize("name", ["sales", "orders"])
def test_its_witness_reads_what_the_products_own_reads(name):
    own, made = product(name), by_declaration(name).witness
    assert made.fields.keys() == {f.name for f in own.contracts[0].schema}
