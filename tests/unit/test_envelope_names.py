"""Names in a change's envelope and key: of doubled ones the last counts, and all are UTF-8."""

import json

from lakehouse.ingest.decode import decode_batch
from tests.conftest import RULES, records
from tests.support.envelopes import ORDERS, change, order


def doubled(value, name, first):
    """The JSON object with another value of the name before it."""
    return value.replace(f'"{name}": '.encode(), f'"{name}": {first}, "{name}": '.encode(), 1)


def test_of_doubled_names_of_the_envelope_the_last_counts():
    value = json.dumps(change()).encode()
    for name, first in [("op", '"x"'), ("source", "null"), ("after", "7"), ("ts_ms", '"now"')]:
        row = order(doubled(value, name, first))
        assert (row["verdict"], row["op"], row["lsn"]) == (None, "c", 5)


def test_a_broken_last_one_is_a_verdict():
    value = json.dumps(change()).encode().replace(b'"op": "c"', b'"op": "c", "op": "x"')
    assert order(value)["verdict"].startswith("the envelope is broken: invalid enum value")


def test_a_tombstones_key_that_is_no_utf8_names_nothing():
    batch = records([None])
    place = batch.schema.get_field_index("key")
    for key, names in [
        (b'{"order_id":1,"x":"\xc3\xa9"}', True),
        (b'{"order_id":1,"x":"\xff"}', False),
    ]:
        keyed = batch.set_column(place, "key", [key])
        verdict = next(iter(decode_batch(keyed, ORDERS, RULES)))["verdict"][0].as_py()
        assert (verdict is None) == names
