"""Records with fields that the contract does not know, and prices with noughts: as told apart."""

import json

import pytest

from lakehouse.ingest.decode import _fast, _strictly
from lakehouse.ingest.verdict import explain
from lakehouse.model.contract import Record
from tests.conftest import NOW, RULES, SALES, records, sale

GOOD = json.dumps(sale())[1:-1].encode()
WITH_MORE = [
    b'"note": "gift"', b'"note": {"a": [1, {"b": null}]}, "z": 1e400', b'"a": 1, "a": 2',
    b'"": ""', b'"caf\xc3\xa9": "\\u00e9"', b'"n": 1.00000000000000000001', b'"deep": [[[]]]',
]  # fmt: skip
JUDGED = [
    b'"Country": "x"', b'"COUNTRY ": "x"', b'"note": "\xff"', b'"deep": ' + b"[" * 99 + b"]" * 99,
    b'"deep": ' + b"[" * 200 + b"]" * 200, b'"note": nul', b'"note": 1 "b": 2', b'"quantity": "2"',
    b'"note": 1, "quantity": 0', b'"note": 1, "unit_price": "2.50"', b'"note": "a\nb"', b'"x": 1,',
    b'"note": 1, "quantity": 2, "quantity": "2"', b'"country": "first", "note": 1',
    b'"note": 1, "event_time": "2099-01-01T00:00:00Z"', b'"note": 1, "unit_price": 2.500',
]  # fmt: skip


def values(more):
    return [b"{" + GOOD + b", " + one + b"}" for one in more] + [
        b"{" + one + b", " + GOOD + b"}" for one in more
    ]


@pytest.mark.parametrize("value", values([*WITH_MORE, *JUDGED]))
def test_as_if_it_were_looked_at_alone(value):
    batch = records([value])
    [rows] = [b.to_pylist() for b in _strictly(batch, batch["timestamp"], {}, SALES, RULES)]
    [row], told = rows, explain(Record(b"k", value, None, NOW, 0, 0), SALES, RULES)
    assert (row["verdict"], row["extra"]) == (told.verdict, told.extra)
    assert all(row[name] == told.fields.get(name) for name in SALES.hints)


def test_unknown_fields_alone_send_nothing_to_the_slow_pass():
    slow, extras, given = {}, {}, values(WITH_MORE)
    events = _fast(given, SALES, slow, extras)
    assert not slow
    assert [*extras] == [*range(len(given))]
    assert None not in events


@pytest.mark.parametrize(
    "price", ["2.5000", "2.50000", "17.5700000000000000", "0.00000", "1.2345" + "0" * 5_000]
)
def test_noughts_after_the_last_place_are_no_reason_to_look_closer(price, monkeypatch):
    def unwanted(*_):
        raise AssertionError("the slow pass was asked")

    monkeypatch.setattr("lakehouse.ingest.decode.explain", unwanted)
    value = json.dumps(sale()).replace("2.5", price).encode()
    batch = records([value])
    [rows] = [b.to_pylist() for b in _strictly(batch, batch["timestamp"], {}, SALES, RULES)]
    monkeypatch.undo()
    told = explain(Record(b"k", value, None, NOW, 0, 0), SALES, RULES)
    assert rows[0]["unit_price"] == told.fields["unit_price"]
    assert rows[0]["verdict"] is None


@pytest.mark.parametrize("price", ["1.23450001", "12345678901230.0000", "01.50000", "1.5000e1"])
def test_other_prices_are_looked_at(price):
    value = json.dumps(sale()).replace("2.5", price).encode()
    batch = records([value])
    [rows] = [b.to_pylist() for b in _strictly(batch, batch["timestamp"], {}, SALES, RULES)]
    told = explain(Record(b"k", value, None, NOW, 0, 0), SALES, RULES)
    assert rows[0]["verdict"] == told.verdict
    assert rows[0]["unit_price"] == told.fields.get("unit_price")
