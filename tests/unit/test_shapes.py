"""The fast path of decoding: what it proves, the strict decoder would have taken just so."""

import json
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Annotated

import msgspec
import pyarrow as pa
import pytest
from msgspec import Meta

from lakehouse.ingest import shapes
from lakehouse.ingest.decode import decode_batch, decoded_schema
from lakehouse.ingest.judged import judges
from lakehouse.model.contract import Contract
from lakehouse.products.churn.contract import CUSTOMERS
from tests.conftest import RULES, SALES, records, sale
from tests.fuzz.compare import BATCH, PRODUCTS, batch_of, decoded
from tests.support.activity import ACTIVITY, did
from tests.support.churn import customer

GOOD = sale(client_id="Zoë", event_time="2026-11-20T11:00:00.5Z", unit_price=12.34)
PLAIN = GOOD | {"client_id": "c1"}
HABITS = {
    "compact": lambda event: json.dumps(event, separators=(",", ":")),
    "spaced": json.dumps,
    "reversed": lambda event: json.dumps(dict(reversed(event.items()))),
    "unescaped": lambda event: json.dumps(event, ensure_ascii=False),
}


NUMBERS = """0 -0 00 01 1 -1 1. .5 1.0 1e3 1E+3 1e-2 0x1 NaN 1_0 ٣ null true [] "1" +1 12.3456
12.34560 12.34567 999999999999.9999 1000000000000 -0.0 1000000000 1000000001 -1000000000
9223372036854775808"""
TIMES = """2026-02-28T00:00:00Z 2026-02-29T00:00:00Z 2024-02-29T23:59:59Z 1900-02-29T00:00:00Z
2000-02-29T00:00:00Z 2026-04-31T00:00:00Z 2026-11-20T24:00:00Z 2026-11-20T11:00:60Z
2026-11-20T11:00:00.1234567Z 2026-11-20T11:00:00.Z 2026-11-20T11:00:00z 2026-11-20t11:00:00Z
2026-11-20T11:00:00 2026-11-20T11:00:00-00:00 2026-11-20T11:00:00-00:01 2026-11-20T11:00:00+23:59
2026-11-20T11:00:00+24:00 2026-11-20T11:00:00+0530 2026-11-20T11:00Z 0000-01-01T00:00:00Z
0001-01-01T00:00:00+01:00 9999-12-31T23:59:59-01:00 1999-12-31T23:59:59Z 2000-01-01T00:00:00Z
2026-11-20T12:05:00Z 2026-11-20T12:05:00.000001Z"""


@pytest.fixture(autouse=True)
def nothing_learned():
    shapes._OF_THREAD.known.clear()
    yield
    shapes._OF_THREAD.known.clear()


def rows(values, contract=SALES):
    found = list(decode_batch(records(values), contract, RULES))
    table = pa.Table.from_batches(found, decoded_schema(contract))
    return table.sort_by("offset").to_pylist()


def strictly(values, contract=SALES, by=shapes._LEAST - 1):
    """The same in batches that are too small to be proved."""
    found = []
    for start in range(0, len(values), by):
        part = rows(values[start : start + by], contract)
        found += [row | {"offset": row["offset"] + start} for row in part]
    return found


def proved(values, contract=SALES):
    """How many of these are proved, once a batch of them has been seen."""
    rows(values, contract)
    batch = records(values)
    known = shapes.shapes(contract).prove(batch.column("value"), batch.column("timestamp"), RULES)
    return 0 if known is None else int(known.rows.sum())


@pytest.mark.parametrize("habit", HABITS)
def test_every_habit_is_learned(habit):
    values = [HABITS[habit](GOOD | {"event_id": f"e{n}", "quantity": n + 1}).encode()
              for n in range(100)]  # fmt: skip
    assert proved(values) == (0 if "\\u" in values[0].decode() else 100)
    assert rows(values) == strictly(values)


def test_nulls_and_absent_fields_are_shapes_of_their_own():
    variants = [GOOD, GOOD | {"client_id": None}, GOOD | {"product_name": None}]
    variants.append({name: value for name, value in GOOD.items() if name != "client_id"})
    values = [json.dumps(event, ensure_ascii=False).encode() for event in variants * 25]
    assert proved(values) == 100
    assert rows(values) == strictly(values)
    assert len(shapes.shapes(SALES)._known) == 4


def test_a_byte_changed_put_in_or_taken_out_anywhere():
    good = json.dumps(GOOD, ensure_ascii=False).encode()
    values = [good] * 600
    for place in range(len(good)):
        for byte in b'"\\,:{} 09-.eZ\x00\x1f\x7f\x80\xff':
            values.append(good[:place] + bytes([byte]) + good[place + 1 :])
        values += [good[:place] + b'"' + good[place:], good[:place] + good[place + 1 :],
                   good[:place] + b"0" + good[place:], good[:place]]  # fmt: skip
    assert proved(values) > 1000
    assert rows(values) == strictly(values)


def test_values_at_the_edge_of_what_json_and_the_contract_allow():
    numbers = (*NUMBERS.split(), "9" * 400)
    times = (*TIMES.split(), "2026-11-20 11:00:00Z", "")
    texts = ["", " ", "B2B", "b2b", "EUR", "eur", "x" * 5000, "\x7f", "\N{ZERO WIDTH SPACE}"]
    template = json.dumps(GOOD, ensure_ascii=False)
    values = [template.encode()] * 700
    for name, value in GOOD.items():
        written = json.dumps(value, ensure_ascii=False)
        for odd in (*numbers, *(f'"{text}"' for text in (*times, *texts))):
            values.append(template.replace(f'"{name}": {written}', f'"{name}": {odd}').encode())
    assert proved(values) > 900
    assert rows(values) == strictly(values)


@pytest.mark.parametrize(("contract", "event", "odd"), [
    (CUSTOMERS, customer(TotalCharges=12.5), {"TotalCharges": " ", "Churn": None, "tenure": "1"}),
    (ACTIVITY, json.loads(did("10:00", event_id="e")), {"event_id": None, "user_id": ""}),
])  # fmt: skip
def test_a_contract_that_only_mends(contract, event, odd):
    """What it would leave as it is is proved; what it mends, or cannot, is parsed."""
    edited = [{n: v for n, v in event.items() if n != name} for name in event]
    edited += [event | {name: value} for name, value in odd.items()]
    texts = [json.dumps(one) for one in edited]
    texts += [f'{json.dumps(event)[:-1]}, "{name}": {json.dumps(v)}}}' for name, v in odd.items()]
    values = [*[json.dumps(event).encode()] * 300, *(text.encode() for text in texts), b"", None]
    assert 300 <= proved(values, contract) < 300 + len(texts)
    whole, by = records(values), shapes._LEAST - 1
    parts = [whole.slice(at, by) for at in range(0, len(values), by)]
    due = [row for part in parts for one in decode_batch(part, contract, RULES)
           for row in one.to_pylist()]  # fmt: skip
    assert rows(values, contract) == sorted(due, key=lambda row: row["offset"])


def test_a_null_in_the_place_of_a_number():
    """Where the contract lets it be: of few customers it is known what they were charged in all."""
    some = (12.5, None, 3, "null", "", 1e-9)
    whole = [customer(event_id=f"e{n}", TotalCharges=some[n % 6] if n > 99 else n)
             for n in range(160)]  # fmt: skip
    none = [customer(event_id=f"t{n}", tenure=None, TotalCharges=None) for n in range(2)]
    values = [json.dumps(event).encode() for event in [*whole, *none]]
    assert proved(values, CUSTOMERS) == 130
    assert rows(values, CUSTOMERS) == strictly(values, CUSTOMERS)


def test_batches_of_nothing_that_is_known():
    good = json.dumps(GOOD, ensure_ascii=False).encode()
    rows([good] * 100)
    for odd in (b"1", b"", None, b"\xff", b'"', b"{}", good[::-1], good * 2):
        assert rows([odd] * 100) == strictly([odd] * 100)
    assert rows([odd, good] * 100) == strictly([odd, good] * 100)


def test_most_records_of_a_habit_are_proved():
    """Else the fuzzer's comparison would be of the strict decoder with itself."""
    [product] = [one for one in PRODUCTS if one.name == "habits"]
    decoded(product, batch_of(product, 3, 0))
    values = [record.value for record in batch_of(product, 3, 1)]
    assert proved(values) > BATCH // 2


def test_a_topic_without_habits_is_not_tried_for_ever():
    values = [
        json.dumps(dict(Random(n).sample([*PLAIN.items()], len(PLAIN)))).encode()
        for n in range(500)
    ]
    rows(values)
    rows(values)
    assert shapes.shapes(SALES)._pause == shapes._PAUSE


class Odd(msgspec.Struct, kw_only=True):
    """An event with a rule that is not judged by columns."""

    event_id: Annotated[str, Meta(min_length=1, max_length=5)]
    event_time: Annotated[datetime, Meta(tz=True)]


class Defaulted(msgspec.Struct, kw_only=True):
    """An event with a field that has a value where it is absent."""

    event_id: str
    event_time: Annotated[datetime, Meta(tz=True)]
    currency: str = "EUR"


class Numbers(msgspec.Struct, kw_only=True):
    """An event with every kind of field that may be absent."""

    event_id: str
    event_time: Annotated[datetime, Meta(tz=True)]
    big: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    small: Annotated[int, Meta(ge=-5)] | None = None
    price: Decimal | None = None
    seen: Annotated[datetime, Meta(tz=True)] | None = None


@pytest.mark.parametrize("event", [Odd, Defaulted])
def test_a_contract_that_asks_for_more_is_left_to_the_strict_decoder(event):
    assert judges(Contract("odd", 1, event)) == []


def test_every_kind_of_field():
    contract = Contract("numbers", 1, Numbers)
    made = [
        {"event_id": f"e{n}", "event_time": "2026-11-20T11:00:00+01:00", "big": n * 10**16,
         "small": n - 5, "price": n / 10, "seen": f"2026-11-20T11:00:00.{n:03}Z"}
        for n in range(100)
    ]  # fmt: skip
    made += [
        {**event, "big": 2**63 - n, "price": None, "small": -n} for n, event in enumerate(made)
    ]
    values = [json.dumps(event).encode() for event in made]
    assert proved(values, contract) == 100
    assert rows(values, contract) == strictly(values, contract)
