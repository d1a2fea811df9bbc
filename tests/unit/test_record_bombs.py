"""Records that are bombs: one row each, by its address, with a verdict that is short."""

import pyarrow as pa
import pytest

from lakehouse.ingest.decode import decode_batch, decoded_schema
from lakehouse.ingest.headers import HEADERS
from tests.conftest import RULES, SALES, encode, records, sale

GOOD = encode(sale())[0]
MANY = 10_000_000


def more(text):
    return GOOD[:-1] + text + b"}"


BROKEN = {
    "deep lists": b"[" * MANY,
    "deep objects": b'{"a":' * (MANY // 5),
    "a deep unknown field": more(b',"x":' + b"[" * 5000 + b"]" * 5000),
    "digits of a price": GOOD.replace(b"2.5", b"9" * MANY),
    "digits of a quantity": GOOD.replace(b'"quantity": 2', b'"quantity": ' + b"9" * MANY),
    "an exponent": GOOD.replace(b"2.5", b"1e999999999"),
    "a price that is nothing": GOOD.replace(b"2.5", b"1e-999999999"),
    "no text": b"\xff" * MANY,
}
WHOLE = {
    "an unknown number": more(b',"x":' + b"9" * MANY),
    "a field again and again": more(b',"quantity":2' * 100_000),
    "a long name": GOOD.replace(b"mug", b"m" * MANY),
    "many unknown fields": more(b"".join(b',"f%d":1' % n for n in range(50_000))),
}


def landed(batch):
    rows = pa.Table.from_batches(list(decode_batch(batch, SALES, RULES)), decoded_schema(SALES))
    assert rows["offset"].to_pylist() == [7]
    return rows.to_pylist()[0]


@pytest.mark.parametrize("bomb", BROKEN)
def test_a_broken_bomb_is_in_quarantine(bomb):
    row = landed(records([BROKEN[bomb]], first=7))
    assert row["value"] == BROKEN[bomb]
    assert 0 < len(row["verdict"]) < 300


@pytest.mark.parametrize("bomb", WHOLE)
def test_a_large_record_that_keeps_its_contract_is_in_bronze(bomb):
    row = landed(records([WHOLE[bomb]], first=7))
    assert (row["verdict"], row["event_id"]) == (None, "e1")


@pytest.mark.parametrize("value", [GOOD, b"{"])
def test_a_million_headers_and_a_key_of_megabytes_pass(value):
    rows = pa.table(records([value], first=7))
    headers = pa.array([[{"key": "h", "value": b"v"}] * 1_000_000], HEADERS)
    rows = rows.set_column(0, "key", pa.array([b"k" * MANY], pa.binary()))
    rows = rows.set_column(2, "headers", headers).combine_chunks()
    row = landed(rows.to_batches()[0])
    if value == GOOD:
        assert row["verdict"] is None
    else:
        assert (len(row["headers"]), len(row["key"])) == (1_000_000, MANY)
