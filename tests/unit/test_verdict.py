"""Every rule of the contract: a value, and the verdict that names its faults."""

import json

import pytest

from lakehouse.ingest.verdict import explain
from lakehouse.model.contract import Record
from tests.conftest import NOW, RULES, SALES, decoded, encode, sale

BAD = [
    (None, "the value is null (a tombstone)"),
    (b"", "the value is empty"),
    (b" \n", "the value is empty"),
    (b'\xff{"a":1}', "the value is not UTF-8: byte 0xff at position 0"),
    (b"[1]", "the value is not a JSON object but a list"),
    (b"3", "the value is not a JSON object but a whole number"),
    (b'{"a":', "the value is not valid JSON"),
    (b"{'a': 1}", "the value is not valid JSON"),
    (sale(quantity="3"), "'quantity' must be a whole number, not text"),
    (sale(quantity=1.5), "'quantity' must be a whole number, not a number with a fraction"),
    (sale(quantity=True), "'quantity' must be a whole number, not true or false"),
    (sale(quantity=None), "'quantity' must be a whole number, not null"),
    (sale(quantity=0), "'quantity' is 0"),
    (sale(quantity=10**12), "'quantity' is out of range: 1000000000000"),
    (sale(unit_price="2.5"), "'unit_price' must be a number, not text"),
    (sale(unit_price=None), "'unit_price' must be a number, not null"),
    (sale(unit_price=-0.01), "'unit_price' is negative: -0.01"),
    (sale(unit_price=1.23456), "'unit_price' has more than 4 decimals: 1.23456"),
    (sale(unit_price=1e15), "'unit_price' has more than 12 digits before the point"),
    (sale(segment="b2b"), "'segment' is \"b2b\", which is not one of the allowed values"),
    (sale(currency="XXX"), "'currency' is \"XXX\", which is not one of the allowed values"),
    (sale(event_time="2026-11-20T11:00:00"), "'event_time' has no offset"),
    (sale(event_time="20.11.2026"), "'event_time' is not an RFC 3339 time"),
    (sale(event_time=1763636400), "'event_time' must be a time, not a whole number"),
    (sale(event_time="2026-11-20T12:05:01Z"), "'event_time' is in the future"),
    (sale(event_time="2096-01-01T00:00:00Z"), "'event_time' is in the future"),
    (sale(event_time="1999-12-31T23:59:59Z"), "'event_time' is before 2000-01-01"),
    (sale(event_time="0001-01-01T00:00:00+14:00"), "'event_time' is outside the years"),
    (sale(event_id=""), "'event_id' is empty"),
    (sale(event_id=None), "'event_id' must be text, not null"),
    (sale(event_id=7), "'event_id' must be text, not a whole number"),
    (sale(country=""), "'country' is empty"),
    (sale(channel=["web"]), "'channel' must be text, not a list"),
    (sale(Event_ID="x"), "'Event_ID' stands beside 'event_id'"),
    ({k: v for k, v in sale().items() if k != "country"}, "'country' is missing"),
    ({("Country" if k == "country" else k): v for k, v in sale().items()},
     "'Country' must be written 'country'"),
]  # fmt: skip


def as_bytes(value):
    return json.dumps(value).encode() if isinstance(value, dict) else value


@pytest.mark.parametrize(("value", "verdict"), BAD)
def test_a_fault_has_its_verdict_and_keeps_its_bytes(value, verdict):
    row = decoded([as_bytes(value)]).to_pylist()[0]
    assert row["verdict"] is not None
    assert row["verdict"].startswith(verdict)
    assert row["value"] == as_bytes(value)
    assert row["key"] == b"k"
    assert row["headers"] == [{"key": "h", "value": b"v"}]
    assert row["event_id"] is None


def test_several_faults_give_several():
    value = encode(sale(quantity="x", currency="?", order_id=""))[0]
    verdict = explain(Record(None, value, None, NOW), SALES, RULES).verdict
    assert verdict is not None
    assert len(verdict.split("; ")) == 3


GOOD = [
    (sale(), {"quantity": 2}),
    (sale(client_id=None, product_name=None), {"client_id": None, "product_name": None}),
    (sale(quantity=-3), {"quantity": -3}),
    (sale(unit_price=0), {"unit_price": 0}),
    (sale(unit_price=1e3), {"unit_price": 1000}),
    (sale(event_time="2026-11-20T12:05:00Z"), {}),
    (sale(event_time="2026-11-20T12:00:00+02:00"), {}),
    (sale(color="red", size=[1]), {"extra": '{"color":"red","size":[1]}'}),
    ({k: v for k, v in sale().items() if k != "client_id"}, {"client_id": None}),
]


@pytest.mark.parametrize(("value", "expected"), GOOD)
def test_a_good_event_lands_typed(value, expected):
    row = decoded(encode(value)).to_pylist()[0]
    assert row["verdict"] is None
    assert row["value"] is None
    extra = json.loads(row["extra"]) if row["extra"] else None
    for name, cell in expected.items():
        assert (extra if name == "extra" else row[name]) == (
            json.loads(cell) if name == "extra" else cell
        )


def test_of_doubled_keys_the_last_wins():
    value = encode(sale())[0].replace(b'"quantity": 2', b'"quantity": 2, "quantity": 5')
    assert decoded([value]).to_pylist()[0]["quantity"] == 5


def test_a_bad_record_does_not_touch_its_neighbours():
    table = decoded([*encode(sale(event_id="a")), b"{", *encode(sale(event_id="b", new=1))])
    rows = {row["offset"]: row for row in table.to_pylist()}
    assert (rows[0]["event_id"], rows[2]["event_id"]) == ("a", "b")
    assert rows[1]["verdict"] is not None
    assert table.num_rows == 3


def test_deep_nesting_is_a_verdict():
    deep = b'{"event_id":' + b"[" * 100_000
    assert decoded([deep]).to_pylist()[0]["verdict"] is not None


def test_naughty_strings_pass_unchanged(data):
    naughty = [s for s in json.loads((data / "blns.json").read_text("utf-8")) if s]
    rows = decoded([json.dumps(sale(product_name=s, country=s)).encode() for s in naughty])
    told = {row["offset"]: (row["product_name"], row["country"]) for row in rows.to_pylist()}
    assert told == {offset: (s, s) for offset, s in enumerate(naughty)}
