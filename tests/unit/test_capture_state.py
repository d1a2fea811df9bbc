"""What a capture keeps and says without a database: its state, its sequence, its values."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.core.errors import LakehouseError, UsageError
from lakehouse.model.change import sequence
from producers.cdc.state import State, read_state, state_path, write_state
from producers.cdc.table import CannotCapture, Column, Table, check, same
from producers.cdc.values import KINDS, READERS, Kind
from producers.orders.capture import Order

COLUMNS = tuple(
    Column(name, type_id, number) for number, (name, type_id) in enumerate({
        "order_id": 20, "customer_name": 25, "restaurant_name": 1043, "item": 25, "amount": 1700,
        "order_status": 90001, "created_at": 1184,
    }.items())
)  # fmt: skip
TABLE = Table("public", "orders", 7, COLUMNS, ("order_id",), full_identity=True)
STATE = State(
    mode="slot", table="public.orders", oid=7, key=("order_id",),
    columns={column.name: column.number for column in COLUMNS},
    topic_id="t", system="1", database="d", generation=5, snapshot="begun", position=0,
)  # fmt: skip
NUMBERS = st.tuples(
    st.integers(0, 10**13 - 1), st.integers(0, 2**64 - 1), st.integers(0, 10**10 - 1)
)


@given(NUMBERS, NUMBERS)
def test_a_sequence_sorts_as_its_numbers_do(one, other):
    assert (sequence(*one) < sequence(*other)) == (one < other)
    assert [int(part) for part in msgspec.json.decode(sequence(*one))] == list(one)


def test_a_state_is_read_as_it_was_written(tmp_path):
    path = state_path(str(tmp_path), "orders")
    assert path == tmp_path / "capture" / "orders.json"
    assert read_state(path) is None
    write_state(path, STATE)
    write_state(path, STATE.at(99))
    found = read_state(path)
    assert found.written
    assert msgspec.structs.replace(found, written="") == STATE.at(99)
    assert '\n  "position": 99,' in path.read_text()
    assert [p.name for p in path.parent.iterdir()] == ["orders.json"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "is not a capture's state"), ('{"mode": "slot"}', "missing required field"),
     (None, "has version 2, and this program writes 1")],
)  # fmt: skip
def test_a_state_that_cannot_be_understood_is_refused(tmp_path, text, said):
    path = tmp_path / "orders.json"
    write_state(path, msgspec.structs.replace(STATE, version=2))
    if text is not None:
        path.write_text(text)
    with pytest.raises(LakehouseError, match=said) as caught:
        read_state(path)
    assert "--anew" in caught.value.remedy


def test_a_state_needs_a_folder():
    with pytest.raises(UsageError, match="is an address"):
        state_path("s3://bucket/lake", "orders")


def changed(**columns):
    kept = [c for c in COLUMNS if columns.get(c.name, c) is not None]
    return Table(
        "public", "orders", 7, tuple(columns.get(c.name, c) for c in kept), ("order_id",), True
    )


def test_a_table_that_keeps_the_contract_is_taken():
    check(TABLE, Order)
    assert same(TABLE, STATE, Order, "anew") is TABLE
    more = Table("public", "orders", 7, (*COLUMNS, Column("tip", 701, 9)), ("order_id",), True)
    assert same(more, STATE, Order, "anew") is more


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (None, "was dropped or renamed"),
        (Table("public", "orders", 8, COLUMNS, ("order_id",), True), "recreated, or another"),
        (Table("public", "orders", 7, COLUMNS, ("item",), True), "another primary key: (item)"),
        (changed(item=None), "column 'item' is gone or renamed"),
        (changed(amount=Column("amount", 701, 4)), "'amount' is now a number with a fraction"),
        (changed(created_at=Column("created_at", 1114, 6)), "'created_at' is now text"),
        (changed(item=Column("item", 25, 12)), "'item' was dropped and recreated"),
    ],
)
def test_a_table_that_is_another_is_refused(table, said):
    with pytest.raises(CannotCapture) as caught:
        same(table, STATE, Order, "lakehouse capture orders --anew")
    assert said in caught.value.fault
    assert "--anew" in caught.value.remedy


@pytest.mark.parametrize(
    ("type_id", "text", "value"),
    [
        (16, "t", True), (16, "f", False), (20, "-9223372036854775808", -(2**63)),
        (701, "1e300", 1e300), (701, "NaN", "NaN"), (700, "-Infinity", "-Infinity"),
        (1700, "1E+2", "1E+2"), (1700, "0.10", "0.10"), (17, "\\x00ff", "\\x00ff"),
        (1184, "2026-11-21 09:05:53.84+00", "2026-11-21T09:05:53.84Z"),
        (1184, "infinity", "infinity"), (1082, "2026-11-21", "2026-11-21"),
        (3802, '{"a": 1}', '{"a": 1}'), (1007, "{1,NULL}", "{1,NULL}"),
    ],
)  # fmt: skip
def test_a_value_is_told_as_debezium_tells_it(type_id, text, value):
    assert READERS[KINDS.get(type_id, Kind.TEXT)](text) == value


def test_the_table_of_the_script_keeps_the_contract():
    script = (Path(__file__).parents[2] / "db" / "orders.sql").read_text("utf-8")
    assert all(f"    {name} " in script for name in Order.__struct_fields__)
