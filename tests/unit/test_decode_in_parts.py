"""Decoding ends a task where it has enough bytes, and says where to go on."""

import os

import pyarrow as pa
import pytest

from lakehouse.ingest.decode import cuts, decoded_schema, packed_decoder, unpack
from tests.conftest import RULES, SALES, encode, records, sale

LARGE = 100_000


def batches(count, *, broken=False, partition=1):
    """Arrow batches of three large records each, offsets from 10."""
    for n in range(count):
        note = os.urandom(LARGE // 2).hex()
        values = [b"{" + note.encode()] * 3 if broken else encode(sale(note=note), sale(), sale())
        yield from_spark(records(values, first=10 + 3 * n, partition=partition))


def from_spark(rows):
    place = rows.schema.get_field_index("headers")
    return rows.set_column(place, "headers", pa.nulls(len(rows), pa.string()))


def read(found):
    return pa.Table.from_batches(unpack(found), decoded_schema(SALES))


@pytest.mark.parametrize("broken", [False, True])
def test_a_task_ends_where_it_has_enough(broken):
    given = batches(9, broken=broken)
    found = list(packed_decoder(SALES, RULES, 3 * LARGE)(given))
    assert len(list(given)) == 9 - len(found)  # what is left was not read
    rows = read(found)
    assert cuts(found) == {1: 10 + rows.num_rows}
    assert sorted(rows["offset"].to_pylist()) == list(range(10, 10 + rows.num_rows))
    assert 3 * LARGE <= sum(sum(f["taken"].to_pylist()) for f in found) < 8 * LARGE


def test_a_task_that_has_room_is_not_cut():
    found = list(packed_decoder(SALES, RULES, 100 * LARGE)(batches(4)))
    assert (read(found).num_rows, cuts(found)) == (12, {})


def test_records_that_decode_to_little_count_by_their_own_size():
    blank = [b" " * LARGE + encode(sale())[0]]
    given = (from_spark(records(blank, first=n)) for n in range(9))
    found = list(packed_decoder(SALES, RULES, 3 * LARGE)(given))
    assert cuts(found) == {0: 3}
