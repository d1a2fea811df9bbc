"""How a capture begins, changes its mode, is refused, and meets a table that changed."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from lakehouse.core.errors import LakehouseError, TableLocked, UsageError
from lakehouse.settings.postgres_client import slot_of
from producers.cdc.table import CannotCapture
from tests.live.orders_table import (
    INSERT,
    MODES,
    Orders,
    current,
)

pytestmark = pytest.mark.live


# Beginnings, and changes of mind


def test_never_begins_with_what_comes(orders):
    assert orders.capture(snapshot="never").sent == 0
    orders.sql(INSERT + "('a', 'b', 'c', 1)")
    assert orders.capture().counts == {"c": 1}


def test_only_leaves_no_slot_and_no_state(orders):
    assert orders.capture(snapshot="only").counts == {"r": 10}
    with closing(orders.connect()) as connection:
        assert slot_of(connection, orders.name) is None
    assert not (orders.root / "capture" / "orders.json").exists()
    assert orders.capture().counts == {"r": 10}
    with pytest.raises(UsageError, match="follows the table already"):
        orders.capture(snapshot="only")


def test_another_mode_asks_for_a_new_snapshot_by_its_command(orders):
    orders.capture("slot")
    with pytest.raises(UsageError, match="by slot") as caught:
        orders.capture("poll")
    assert "lakehouse capture orders --mode poll --anew" in caught.value.remedy
    orders.sql("DELETE FROM orders WHERE order_id = 2")
    assert orders.capture("poll", anew=True).counts == {"r": 9, "d": 1, "tombstone": 1}
    with closing(orders.connect()) as connection:
        assert slot_of(connection, orders.name) is None
    assert orders.capture("slot", anew=True).counts == {"r": 9}
    assert current(orders.records()) == orders.table()


def test_a_slot_that_is_lost_foreign_or_taken_is_refused(orders, tmp_path):
    other = Orders(orders.name, orders.url, orders.kafka, tmp_path / "other")
    orders.capture()
    with pytest.raises(CannotCapture, match="knows nothing of it"):
        other.capture()
    orders.sql(INSERT + "('a', 'b', 'c', 1)")
    orders.sql("SELECT pg_logical_slot_get_binary_changes(%s, NULL, NULL, 'proto_version', '1', "
               "'publication_names', %s)", orders.name, orders.name)  # fmt: skip
    with pytest.raises(CannotCapture, match="another reader took"):
        orders.capture()
    orders.sql("SELECT pg_drop_replication_slot(%s)", orders.name)
    with pytest.raises(CannotCapture, match="is gone") as caught:
        orders.capture()
    assert "--anew" in caught.value.remedy
    assert orders.capture(anew=True).counts == {"r": 11}
    assert current(orders.records()) == orders.table()


def test_a_topic_rebuilt_asks_for_a_new_snapshot(orders, admin):
    orders.capture()
    admin.delete_topics([orders.name])
    while orders.name in admin.list_topics():
        time.sleep(0.1)
    time.sleep(0.5)
    with pytest.raises(CannotCapture, match="was recreated") as caught:
        orders.capture()
    assert "--anew" in caught.value.remedy
    assert orders.capture(anew=True).counts == {"r": 10}


def test_two_captures_of_one_lake_are_refused(orders):
    with orders.following():
        orders.until(lambda now: len(now) == 10)
        with pytest.raises(TableLocked, match="capture orders"):
            orders.capture()


def test_poll_without_its_column_prints_the_statements_that_add_it(orders):
    orders.sql("ALTER TABLE orders DROP COLUMN change_xid")
    orders.sql("DROP TRIGGER orders_stamp ON orders")
    with pytest.raises(CannotCapture, match="change_xid") as caught:
        orders.capture("poll")
    orders.sql(caught.value.remedy.partition(":")[2])
    assert orders.capture("poll").counts == {"r": 10}
    orders.sql("UPDATE orders SET item = 'new' WHERE order_id = 4")
    assert orders.capture("poll").counts == {"r": 1}
    assert current(orders.records()) == orders.table()
    orders.sql("ALTER TABLE orders DISABLE TRIGGER orders_stamp")
    with pytest.raises(CannotCapture, match="a trigger keeps"):
        orders.capture("poll")


# A table that changes


@MODES
def test_a_column_that_is_added_passes_through(orders, mode):
    orders.capture(mode)
    orders.sql("ALTER TABLE orders ADD COLUMN tip numeric(6, 2)")
    orders.sql("ALTER TABLE orders ADD COLUMN is_gift boolean DEFAULT true")
    orders.sql("UPDATE orders SET tip = 1.5 WHERE order_id = 4")
    orders.capture(mode)
    told = [v["after"] for k, v, _ in orders.records() if k["order_id"] == 4][-1]
    assert (told["tip"], told["is_gift"]) == ("1.50", True)
    assert current(orders.records()) == orders.table()


@MODES
@pytest.mark.parametrize(
    ("change", "back", "said"),
    [
        ("DROP COLUMN item", "ADD COLUMN item text", "'item' is gone or renamed"),
        ("RENAME COLUMN amount TO price", "RENAME COLUMN price TO amount", "'amount' is gone"),
        ("ALTER COLUMN amount TYPE float8", "ALTER COLUMN amount TYPE numeric",
         "'amount' is now a number with a fraction, not a decimal"),
    ],
)  # fmt: skip
def test_a_change_that_the_contract_cannot_bear_stops_and_loses_nothing(
    orders, mode, change, back, said
):
    orders.capture(mode)
    orders.sql(INSERT + "('before', 'b', 'c', 1)")
    orders.sql(f"ALTER TABLE orders {change}")
    orders.sql("INSERT INTO orders (customer_name) VALUES ('meanwhile')")
    with pytest.raises(CannotCapture, match=said):
        orders.capture(mode)
    with pytest.raises(CannotCapture, match=said):
        orders.capture(mode)
    orders.sql(f"ALTER TABLE orders {back}")
    orders.sql("UPDATE orders SET order_status = 'placed' WHERE order_id = 1")
    if change.startswith("RENAME"):
        orders.capture(mode)
    else:
        with pytest.raises(CannotCapture):
            orders.capture(mode)
        orders.capture(mode, anew=True)
    assert {row[1] for row in orders.table().values()} >= {"before", "meanwhile"}
    assert current(orders.records()) == orders.table()


def swap_names_for_a_while(orders):
    for old, new in (("item", "x"), ("customer_name", "item"), ("x", "customer_name")):
        orders.sql(f"ALTER TABLE orders RENAME {old} TO {new}")
    orders.sql("UPDATE orders SET amount = amount + 1")
    for new, old in (("customer_name", "x"), ("item", "customer_name"), ("x", "item")):
        orders.sql(f"ALTER TABLE orders RENAME {new} TO {old}")


def test_columns_that_swapped_their_names_for_a_while_keep_their_values(orders):
    orders.capture()
    swap_names_for_a_while(orders)
    assert orders.capture().counts == {"u": 10}
    assert current(orders.records()) == orders.table()


def test_what_a_value_is_of_is_not_guessed_where_columns_were_dropped(orders):
    orders.sql("ALTER TABLE orders ADD COLUMN gone text; ALTER TABLE orders DROP COLUMN gone")
    orders.capture()
    swap_names_for_a_while(orders)
    with pytest.raises(CannotCapture, match="cannot be told"):
        orders.capture()
    orders.capture(anew=True)
    orders.sql("ALTER TABLE orders ADD COLUMN more text; UPDATE orders SET more = 'x'")
    orders.sql("ALTER TABLE orders DROP COLUMN more")
    assert orders.capture().counts == {"u": 10}
    assert current(orders.records()) == orders.table()


def test_columns_that_are_generated_neither_stop_writers_nor_shift_the_others(orders):
    orders.sql("ALTER TABLE orders ADD COLUMN low text GENERATED ALWAYS AS (lower(item)) VIRTUAL")
    with pytest.raises(CannotCapture, match="virtual generated columns"):
        orders.capture()
    orders.sql("ALTER TABLE orders DROP COLUMN low")
    orders.sql(
        "CREATE TABLE made (order_id bigint PRIMARY KEY, loud text GENERATED ALWAYS AS "
        "(upper(item)) STORED, customer_name text, restaurant_name text, item text, "
        "amount numeric, order_status text, created_at timestamptz)"
    )
    orders.sql("DROP TABLE orders; ALTER TABLE made RENAME TO orders")
    orders.sql("ALTER TABLE orders REPLICA IDENTITY FULL")
    orders.sql("INSERT INTO orders (order_id, item, amount) VALUES (1, 'a', 1)")
    orders.capture()
    orders.sql("UPDATE orders SET item = 'b'; UPDATE orders SET order_id = 2")
    assert orders.capture().counts == {"u": 1, "d": 1, "tombstone": 1, "c": 1}
    assert current(orders.records()) == orders.table()


def test_a_table_that_its_publication_does_not_name_is_refused_or_named(orders):
    """One of all tables can be made UNLOGGED, one of a schema moved, written to, and put back."""
    orders.sql("ALTER TABLE orders SET UNLOGGED")
    with pytest.raises(CannotCapture, match="unlogged") as caught:
        orders.capture()
    assert "SET LOGGED" in caught.value.remedy
    orders.sql("ALTER TABLE orders SET LOGGED")
    orders.sql(f"CREATE PUBLICATION {orders.name} FOR ALL TABLES")
    with pytest.raises(CannotCapture, match="FOR ALL TABLES"):
        orders.capture()
    orders.sql(f"DROP PUBLICATION {orders.name}")
    orders.sql(f"CREATE PUBLICATION {orders.name} FOR TABLES IN SCHEMA public")
    orders.capture()
    orders.sql("CREATE SCHEMA other; ALTER TABLE orders SET SCHEMA other")
    orders.sql("UPDATE other.orders SET item = 'moved'; ALTER TABLE other.orders SET SCHEMA public")
    assert orders.capture().counts == {"u": 10}
    assert current(orders.records()) == orders.table()


def test_a_table_with_children_is_refused(orders):
    orders.sql("CREATE TABLE child () INHERITS (orders)")
    with pytest.raises(CannotCapture, match="inherit from it"):
        orders.capture()


def test_what_cannot_be_captured_is_refused_with_its_remedy(orders):
    def refused(*statements, **how):
        with pytest.raises(LakehouseError) as caught:
            orders.capture(**how)
        assert caught.value.remedy
        for statement in statements:
            orders.sql(statement)
        return str(caught.value)

    orders.sql("ALTER TABLE orders REPLICA IDENTITY DEFAULT")
    assert "ALTER TABLE public.orders REPLICA IDENTITY FULL" in refused(
        "ALTER TABLE orders REPLICA IDENTITY FULL",
        "ALTER TABLE orders DROP CONSTRAINT orders_pkey",
    )
    assert "has no primary key" in refused(
        "ALTER TABLE orders ADD CONSTRAINT orders_pkey PRIMARY KEY (order_id) DEFERRABLE"
    )
    assert "is deferrable" in refused(
        "ALTER TABLE orders DROP CONSTRAINT orders_pkey",
        "ALTER TABLE orders ADD PRIMARY KEY (order_id)",
        f"CREATE PUBLICATION {orders.name} FOR TABLE orders WITH (publish = 'insert')",
    )
    assert "does not publish every kind" in refused(
        f"DROP PUBLICATION {orders.name}",
        f"CREATE PUBLICATION {orders.name} FOR TABLE orders WHERE (order_id > 5)",
    )
    assert "filters rows" in refused(f"DROP PUBLICATION {orders.name}")
    assert orders.capture().counts == {"r": 10}
    orders.sql("ALTER TABLE orders RENAME TO old_orders")
    assert "was dropped or renamed" in refused("CREATE TABLE orders (LIKE old_orders)")
    assert "another table took its name" in refused() or "no primary key" in refused()
