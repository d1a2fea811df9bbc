"""Orders without Spark: any order, batching, copies and crashes give the fold of the changes."""

import json
import random
import shutil
import tempfile
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.audit import compare
from lakehouse.audit.declared import recomputes_of
from lakehouse.ingest.writers.arrow import ArrowWriter
from lakehouse.operations.rebuild import rebuild
from lakehouse.products.registry import load_settings
from lakehouse.silver import latest
from lakehouse.sinks.parquet_files import TAKEN
from tests.conftest import NOW, drawn
from tests.support.orders import SILVER, START, Lake, change, decoded, row, tombstone


@pytest.fixture
def lake(settings):
    return Lake(settings)


CASES = [
    ({"amount": "-4.20"}, "'amount' is negative: -4.20"),
    ({"amount": "NaN"}, "'amount' must be a number, not text"),
    ({"amount": None}, "'amount' must be a number, not null"),
    ({"order_status": "teleported"}, "'order_status' is \"teleported\", which is not one of"),
    ({"order_id": None}, "'order_id' must be a whole number, not null"),
    ({"order_id": "7"}, "'order_id' must be a whole number, not text"),
    ({"customer_name": None}, "'customer_name' must be text, not null"),
    ({"created_at": "infinity"}, "'created_at' is not an RFC 3339 time"),
]
BROKEN = [
    (b"{", "the value is not valid JSON"),
    (b"[]", "the value is not a JSON object but a list"),
    (b"{}", "the envelope is broken: object missing required field `op`"),
    (b'{"op":"x","source":{"ts_ms":1,"sequence":"[]"}}', "the envelope is broken: invalid enum"),
    (b'{"op":"c","source":{"ts_ms":1,"sequence":"[\\"1\\"]"}}', "op 'c' has no 'after'"),
    (b'{"op":"c","after":{"order_id":1},"source":{"ts_ms":1,"sequence":"[\\"1\\"]"}}',
     "'customer_name' is missing"),
    (b'{"op":"d","source":{"ts_ms":1,"sequence":"[\\"1\\"]"}}', "'order_id' is missing"),
    (b'{"op":"d","before":{"order_id":1},"source":{"ts_ms":1,"sequence":"soon"}}',
     "'source.sequence' is not a list of numbers"),
    (b'{"op":"d","before":{"order_id":1},"source":{"ts_ms":9223372036854775807,'
     b'"sequence":"[\\"1\\"]"}}', "'source.ts_ms' is no time"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "verdict"), CASES)
def test_a_bad_row_has_a_verdict(wrong, verdict):
    found = decoded([change("c", 1, row(**wrong))]).to_pylist()[0]["verdict"]
    assert found is not None
    assert verdict in found


@pytest.mark.parametrize(("value", "verdict"), BROKEN)
def test_a_broken_envelope_has_a_verdict(value, verdict):
    found = decoded([(b'{"order_id":1}', value, [])]).to_pylist()[0]["verdict"]
    assert found is not None
    assert verdict in found


def test_a_tombstone_whose_key_names_nothing_has_a_verdict():
    for key in (None, b"", b"7", b"{}"):
        assert "tombstone" in decoded([(key, None, [])]).to_pylist()[0]["verdict"]


def test_a_good_change_is_flat():
    found = decoded([change("u", 3, row(amount=4.5, tip=1), row(amount="-1"))]).to_pylist()[0]
    assert found["verdict"] is None
    assert (found["op"], found["order_id"], found["amount"]) == ("u", 1, Decimal("4.5000"))
    assert found["event_time"] == START + timedelta(seconds=3)
    assert json.loads(found["extra"]) == {"tip": 1}
    assert json.loads(found["before"])["amount"] == "-1"
    assert (found["lsn"], found["xid"]) == (3, 3)


def test_debeziums_own_envelope_is_read():
    value = {
        "before": None, "after": row(amount="3.00"), "op": "r", "ts_ms": 2, "transaction": None,
        "source": {"version": "3.0", "connector": "postgresql", "name": "x", "ts_ms": 1732000000000,
                   "snapshot": "first", "db": "d", "sequence": '[null,"123"]', "ts_us": 1,
                   "schema": "public", "table": "orders", "txId": 9, "lsn": 4, "xmin": None},
    }  # fmt: skip
    found = decoded([(b'{"order_id":1}', json.dumps(value).encode(), [])]).to_pylist()[0]
    assert found["verdict"] is None
    assert found["sequence"].endswith("123")


def test_no_record_raises_whatever_its_bytes():
    draw = random.Random(7)
    good = change("u", 3, row(), row())
    keys = [good[0], None, b"", b"\xff", b"[]", b'{"order_id":[' * 3000]
    headers = [[], [{"key": "sequence", "value": None}], [{"key": "sequence", "value": b"\xff"}]]
    records = [(b"{}", b'{"op":' + b"[" * 100_000, [])]
    for _ in range(3000):
        value = bytearray(good[1])
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(value))
            value[place : place + draw.randrange(9)] = draw.randbytes(draw.randrange(3))
        sent = None if draw.random() < 0.1 else bytes(value)
        records.append((draw.choice(keys), sent, draw.choice(headers)))
    found = decoded(records)
    assert sorted(found["offset"].to_pylist()) == list(range(len(records)))
    assert found["verdict"].null_count < len(records) // 2


def test_a_delete_and_its_tombstone_are_kept_and_counted_once(lake):
    lake.land([change("c", 1, row()), change("d", 2, before=row()), tombstone(1, 2)])
    lake.land([change("d", 2, before=row()), tombstone(1, 2)])
    kept = lake.rows("bronze.orders", 'op, is_duplicate, "offset"', '"offset"')
    assert [r["op"] for r in kept] == ["c", "d", "t", "d", "t"]
    assert [r["is_duplicate"] for r in kept] == [False, False, False, True, True]
    lake.catch_up()
    assert lake.rows("silver.orders_current") == []
    assert lake.rows("silver.orders_by_restaurant") == []
    told = lake.rows(
        "silver.orders_history", "order_status, ended_at IS NULL AS open", "started_at"
    )
    assert [(r["order_status"], r["open"]) for r in told] == [("placed", False), ("deleted", True)]


def test_what_is_older_does_not_raise_the_dead(lake):
    lake.land([change("d", 5, before=row())])
    lake.catch_up()
    lake.land([change("c", 1, row()), change("u", 3, row(order_status="delivered"))])
    lake.catch_up()
    assert lake.rows("silver.orders_current") == []
    states = [r["order_status"] for r in lake.rows("silver.orders_history", order="started_at")]
    assert states == ["placed", "delivered", "deleted"]


def test_a_late_change_splits_the_status_that_it_fell_into(lake):
    lake.land([change("c", 1, row()), change("u", 2, row(item="Gyoza")), change("u", 9, row())])
    lake.catch_up()
    assert len(lake.rows("silver.orders_history")) == 1
    lake.land([change("u", 4, row(order_status="preparing"))])
    lake.catch_up()
    told = lake.rows("silver.orders_history", order="started_at")
    assert [(r["order_status"], r["duration_seconds"]) for r in told] == [
        ("placed", Decimal(3)), ("preparing", Decimal(5)), ("placed", None)
    ]  # fmt: skip


def test_an_order_that_moves_leaves_its_old_place(lake):
    lake.land([change("c", 1, row()), change("c", 2, row(order_id=2))])
    lake.catch_up()
    lake.land([change("u", 3, row(restaurant_name="Luna", amount="2.25"))])
    lake.catch_up()
    found = lake.rows(
        "silver.orders_by_restaurant", "restaurant_name, orders, amount, average_order"
    )
    assert found == [
        {"restaurant_name": "Kaze", "orders": 1, "amount": Decimal("12.5000"),
         "average_order": Decimal("12.5000")},
        {"restaurant_name": "Luna", "orders": 1, "amount": Decimal("2.2500"),
         "average_order": Decimal("2.2500")},
    ]  # fmt: skip
    lake.land([change("u", 4, row())])
    lake.catch_up()
    assert [r["restaurant_name"] for r in lake.rows("silver.orders_by_restaurant")] == ["Kaze"]


OP = st.tuples(
    st.integers(1, 3),  # order
    st.sampled_from(["set", "set", "set", "delete"]),
    st.sampled_from(["placed", "preparing", "delivered", "cancelled"]),
    st.sampled_from(["Kaze", "Luna"]),
    st.sampled_from(["1.00", "2.5", "0.0001"]),
)
STEP = st.sampled_from(["take", "lag", "restart", "catch_up", "lose"])


def history(ops):
    """Changes of a table, in their order, and what the table then is."""
    table, records = {}, []
    for place, (order, what, status, kitchen, amount) in enumerate(ops, start=1):
        id_ = order * 20_000  # a block each
        if what == "delete":
            if id_ in table:
                records.append(change("d", place, before=table.pop(id_)))
                records.append(tombstone(id_, place))
            continue
        after = row(
            order_id=id_, order_status=status, restaurant_name=kitchen, amount=amount,
            created_at=f"2026-11-{10 + order}T23:59:59.999999Z",
        )  # fmt: skip
        records.append(change("u" if id_ in table else "c", place, after, table.get(id_)))
        table[id_] = after
    return records, table


def assert_equals_the_table(lake, table, landed):
    held = lake.rows("silver.orders_current", "order_id, order_status, restaurant_name, amount")
    assert {r["order_id"]: tuple(r.values())[1:] for r in held} == {
        id_: (r["order_status"], r["restaurant_name"], Decimal(r["amount"]))
        for id_, r in table.items()
    }
    assert len(held) == len(table)
    sums = defaultdict(Decimal)
    for r in table.values():
        sums[r["restaurant_name"]] += Decimal(r["amount"])
    found = lake.rows("silver.orders_by_restaurant", "restaurant_name, amount")
    assert {r["restaurant_name"]: r["amount"] for r in found} == sums
    wanted = {record[1] for record in landed if record[1] and b'"after":{' in record[1]}
    files = lake.files("event_id")
    assert len(files) == len(set(files)) == len(wanted)
    assert lake.audited() == []


@drawn(4)
@given(st.lists(OP, min_size=1, max_size=12), st.randoms(use_true_random=False), st.lists(STEP))
def test_silver_is_the_table_in_any_order_batching_and_with_any_copies(ops, draw, steps):
    records, table = history(ops)
    if not records:
        return
    sent = [*records, *draw.choices(records, k=draw.randrange(3))]
    draw.shuffle(sent)
    config = Path(__file__).parents[2] / "config.ini"
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patched:
        patched.setattr(latest, "_AT_ONCE", draw.choice([1, 2, 100_000]))
        patched.setattr(compare, "_AT_ONCE", draw.choice([1, 3, 100_000]))
        lake = Lake(load_settings(config).with_root(Path(root)))
        while sent:
            size = draw.randint(1, len(sent))
            part, sent = sent[:size], sent[size:]
            landed = lake.land(part)
            step = steps.pop() if steps else "take"
            if step == "take" and lake.silver.version == landed.version - 1:
                lake.silver.take(landed.version - 1, landed.version, landed.rows)
                lake.parquet.take(landed.version - 1, landed.version, landed.rows)
            if step in {"catch_up", "lose"}:
                lake.catch_up()
            if step == "lose":  # a table of the group went back to nothing
                lost = draw.choice(lake.silver.every_table())
                shutil.rmtree(lost.uri)
            if step in {"restart", "lose"}:
                lake.restart()
                lake.catch_up()
        lake.catch_up()
        lake.silver.persist()  # a batch of copies alone changes no table, and waits
        assert_equals_the_table(lake, table, records)


def test_a_crash_between_the_tables_is_completed(lake):
    """Each table in turn is left at the version before, as a kill between two commits does."""
    records, _ = history([(1, "set", "placed", "Kaze", "1"), (2, "set", "placed", "Kaze", "2")])
    lake.land(records)
    lake.catch_up()
    kept = Path(lake.settings.lake.root, "kept")
    shutil.copytree(Path(lake.settings.lake.root, "silver"), kept)
    changed = [(1, "set", "delivered", "Luna", "1"), (2, "delete", "placed", "Kaze", "2")]
    everything, table = history(
        [(1, "set", "placed", "Kaze", "1"), (2, "set", "placed", "Kaze", "2"), *changed]
    )
    lake.land(everything[2:])
    names = [Path(table.uri).name for table in lake.silver.every_table()]
    before = Path(lake.settings.lake.root, "silver")
    for done in range(len(names)):
        lake.restart()
        lake.catch_up()
        for name in names[done:]:  # the first ``done`` tables have committed, the rest not
            shutil.rmtree(before / name)
            shutil.copytree(kept / name, before / name)
        lake.restart()
        lake.catch_up()
        assert_equals_the_table(lake, table, everything)


def test_parquet_files_are_written_again_the_same(lake):
    lake.land([change("c", 1, row()), change("c", 2, row(order_id=2))])
    lake.parquet.catch_up()
    files = {p: p.read_bytes() for p in lake.parquet.folder.glob("date=*/*")}
    assert [p.name for p in files] == ["v1.parquet"]
    assert next(iter(files)).parent.name == "date=2026-11-20"
    (lake.parquet.folder / TAKEN).unlink()
    lake.restart()
    lake.parquet.catch_up()
    assert {p: p.read_bytes() for p in lake.parquet.folder.glob("date=*/*")} == files


def test_parquet_files_of_a_bronze_rebuilt_are_made_again(lake):
    lake.land([change("c", 1, row()), change("c", 2, row(order_id=2))])
    lake.parquet.catch_up()
    shutil.rmtree(lake.bronze.bronze.uri)
    shutil.rmtree(lake.bronze.quarantine.uri)
    lake.restart()
    lake.next = 0
    lake.land([change("c", 1, row(created_at="2026-01-01T00:00:00Z"))])
    lake.parquet.catch_up()
    assert [p.name for p in lake.parquet.folder.glob("date=*")] == ["date=2026-01-01"]
    assert len(lake.files()) == 1


def test_the_copy_of_a_change_days_later_counts_once(lake):
    lake.land([change("c", 1, row())])
    rows = decoded([change("c", 1, row())], 1)
    late = pa.array([NOW + timedelta(days=6)], pa.timestamp("us", "UTC"))
    rows = rows.set_column(rows.schema.get_field_index("kafka_time"), "kafka_time", late)
    ArrowWriter(lake.bronze).publish(rows, {0: 2}, datetime.now(UTC))
    lake.catch_up()
    assert len(lake.files()) == len(lake.rows("silver.orders_current")) == 1


@pytest.mark.parametrize("table", ["current", "history"])
def test_an_audit_in_parts_counts_each_row_once_and_names_what_differs(lake, table, monkeypatch):
    lake.land([change("c", n, row(order_id=n)) for n in range(1, 8)])
    lake.catch_up()
    monkeypatch.setattr(compare, "_AT_ONCE", 2)
    assert lake.audited() == []
    DeltaTable(f"{lake.settings.lake.root}/silver/orders_{table}").update(
        updates={"order_status": "'cancelled'"}, predicate="order_id = 2 OR order_id = 5"
    )
    [found] = lake.audited()
    assert (found.table, found.rows, found.recomputed) == (f"silver.orders_{table}", 7, 7)
    assert found.differing == 2
    assert {one["key"]["order_id"] for one in found.first} <= {2, 5}


def test_a_condition_with_or_counts_in_one_part_alone(settings, monkeypatch):
    monkeypatch.setattr(latest, "_AT_ONCE", 2)
    monkeypatch.setattr(compare, "_AT_ONCE", 2)
    keyed = replace(SILVER.keyed, where="op = 'c' OR op <> 't'")
    declared = recomputes_of("orders")
    either = replace(declared, counted=f"{declared.counted} OR false")
    lake = Lake(settings, replace(SILVER, keyed=keyed), either)
    lake.land([change("c", n, row(order_id=n)) for n in range(1, 8)])
    lake.catch_up()
    assert [r["orders"] for r in lake.rows("silver.orders_by_restaurant")] == [7]
    assert len(lake.rows("silver.orders_current")) == len(lake.rows("silver.orders_history")) == 7
    assert lake.audited() == []


def test_silver_rebuilt_is_the_same(lake):
    ops = [(1, "set", "placed", "Kaze", "1"), (2, "set", "placed", "Luna", "2")]
    ops += [(1, "set", "delivered", "Kaze", "1"), (2, "delete", "placed", "Luna", "2")]
    records, _ = history(ops)
    lake.land(records)
    lake.catch_up()
    found = rebuild(SILVER, lake.settings, lambda _: None)
    assert [r.table for r in found] == list(SILVER.tables)
    assert [r.differing for r in found] == [0] * len(found)
    lake.restart()
    lake.land([change("u", 9, row(order_id=20_000, order_status="cancelled", amount="1"))])
    lake.catch_up()
    assert lake.audited() == []
    assert [r["cancelled"] for r in lake.rows("silver.orders_by_restaurant")] == [1]
