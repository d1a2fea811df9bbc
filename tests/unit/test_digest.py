"""A row's digest: of its cells alone, in whatever order, layout or file they come."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.storage.digest import digests
from lakehouse.storage.fingerprint import Fingerprint, by_batch, total_of

SCHEMA = pa.schema(
    [
        ("text", pa.string()), ("bytes", pa.binary()), ("small", pa.int32()), ("big", pa.int64()),
        ("flag", pa.bool_()), ("day", pa.date32()), ("time", pa.timestamp("us", "UTC")),
        ("money", pa.decimal128(18, 4)),
        ("list", pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))),
    ]
)  # fmt: skip
ROW = {
    "text": "Grüße", "bytes": b"\x00\xff", "small": -3, "big": 2**40, "flag": True,
    "day": date(2026, 11, 20), "time": datetime(2026, 11, 20, 12, tzinfo=UTC),
    "money": Decimal("-2.5000"), "list": [{"key": "h", "value": b"v"}],
}  # fmt: skip
OTHER = {
    "text": "Grüsse", "bytes": b"\x00\xfe", "small": 3, "big": 2**40 + 1, "flag": False,
    "day": date(2026, 11, 21), "time": datetime(2026, 11, 20, 12, 0, 0, 1, tzinfo=UTC),
    "money": Decimal("-2.5001"), "list": [{"key": "h", "value": b"w"}],
}  # fmt: skip


def digest(*rows, schema=SCHEMA):
    return digests(pa.RecordBatch.from_pylist(list(rows), schema)).tolist()


def test_the_digest_is_stored_in_tables_so_it_never_changes():
    assert digest(ROW, {"text": "x" * 100}, {}) == [
        17692919632680671535, 11513498060423599218, 0,
    ]  # fmt: skip


@pytest.mark.parametrize("name", SCHEMA.names)
def test_every_kind_of_cell_counts(name):
    changed, empty = digest({**ROW, name: OTHER[name]}), digest({**ROW, name: None})
    assert len({digest(ROW)[0], changed[0], empty[0]}) == 3


def test_a_value_counts_by_its_column():
    schema = pa.schema([("a", pa.string()), ("b", pa.string())])
    assert digest({"a": "x", "b": "y"}, schema=schema) != digest(
        {"a": "y", "b": "x"}, schema=schema
    )


def test_order_of_columns_and_a_column_of_nulls_do_not_count():
    names = [*reversed(SCHEMA.names)]
    turned = pa.schema([*[SCHEMA.field(name) for name in names], ("later", pa.string())])
    assert digest(ROW, OTHER, schema=turned) == digest(ROW, OTHER)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("text", pa.large_string()), ("text", pa.string_view()),
        ("text", pa.dictionary(pa.int32(), pa.string())), ("bytes", pa.binary_view()),
        ("money", pa.decimal128(38, 4)), ("time", pa.timestamp("ns", "UTC")), ("small", pa.int64()),
    ],
)  # fmt: skip
def test_layouts_of_the_same_value_agree(name, kind):
    plain = pa.RecordBatch.from_pylist([ROW, OTHER, {}], SCHEMA)
    column = plain.column(name).cast(kind)
    other = plain.set_column(SCHEMA.get_field_index(name), name, column)
    assert digests(other).tolist() == digests(plain).tolist()


def test_changes_of_two_letters_of_a_text_never_cancel():
    """The last byte of one word against the last of another; two letters swapped."""
    letters = [chr(code) for code in range(32, 127)]
    schema = pa.schema([("text", pa.string())])
    last = [{"text": f"0123456{a}89abcde{b}"} for a in letters for b in letters]
    assert len(set(digest(*last, schema=schema))) == len(last)
    text = "5d3f9445-e445-2875-9d92-b4be34a25f116bbA-ba35c186179ac7b17906347Q"
    swapped = set()
    for low in range(64):
        for high in range(low + 1, 64):
            turned = [*text]
            turned[low], turned[high] = turned[high], turned[low]
            swapped.add("".join(turned))
    rows = [{"text": value} for value in swapped]
    assert len(set(digest(*rows, schema=schema))) == len(rows)


texts = st.lists(st.text(max_size=90) | st.none(), min_size=1, max_size=40)


@given(texts, st.integers(0, 39))
def test_a_text_is_the_same_alone_and_among_others(values, cut):
    """However long its neighbours are, and wherever a slice begins."""
    schema = pa.schema([("text", pa.string())])
    rows = pa.RecordBatch.from_pydict({"text": pa.array(values, pa.string())}, schema)
    cut = min(cut, len(values) - 1)
    alone = [digest({"text": value}, schema=schema)[0] for value in values]
    assert digests(rows).tolist() == alone
    assert digests(rows.slice(cut)).tolist() == alone[cut:]
    known = dict(zip(values, alone, strict=True))
    assert len(set(known.values())) == len(known)


@given(st.lists(st.tuples(st.integers(0, 3) | st.none(), st.text(max_size=5)), max_size=60))
def test_a_fingerprint_adds_up_in_any_order_and_by_batch(rows):
    schema = pa.schema([("batch_id", pa.int64()), ("text", pa.string())])
    listed = [{"batch_id": batch, "text": text} for batch, text in rows]
    one = by_batch(pa.Table.from_pylist(listed, schema))
    parts = [by_batch(pa.Table.from_pylist([row], schema)) for row in reversed(listed)]
    assert total_of(one) == sum((total_of(part) for part in parts), Fingerprint())
    assert {b: p.rows for b, p in one.items()} == {
        b: sum(1 for batch, _ in rows if batch == b) for b in {batch for batch, _ in rows}
    }
