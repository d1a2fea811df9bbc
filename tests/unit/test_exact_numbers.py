"""A number is taken exactly or is a verdict, whatever its size, and never ends the decoder."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from lakehouse.ingest.decode import decode_batch
from producers.sales import retail
from tests.conftest import RULES, SALES, decoded, encode, records, sale
from tests.support.envelopes import ORDERS, change, order

EXACT = [
    ("0", "0"), ("-0", "0"), ("-0.000e7", "0"), ("1E2", "100"), ("1.00000", "1"),
    ("100e-2", "1"), ("0.0001", "0.0001"), ("1e-4", "0.0001"), ("0.00010e0", "0.0001"),
    ("999999999999.9999", "999999999999.9999"), ("9999999999999999e-4", "999999999999.9999"),
    ("0.1" + "0" * 5000, "0.1"), ("1" + "0" * 5000 + "e-5000", "1"),
    ("0." + "0" * 4999 + "1e5000", "1"), ("12e" + "0" * 5000 + "1", "120"),
    ("0e99999999999999999999", "0"), ("0e-" + "9" * 5000, "0"),
]  # fmt: skip
LARGE = "has more than 12 digits before the point"
FINE = "has more than 4 decimals"
INEXACT = [
    ("1000000000000", LARGE), ("1e999999999", LARGE),
    ("99999999999999.99999999999999999999", LARGE),
    ("1e" + "9" * 5000, LARGE), ("9" * 5000, LARGE), ("1E+18446744073709551616", LARGE),
    ("1.00000000000000000000000000009", FINE), ("0.00001", FINE), ("1e-999999999", FINE),
    ("1e-" + "9" * 5000, FINE), ("0." + "1" * 5000, FINE), ("0." + "0" * 5000 + "1", FINE),
    ("-0.00001", "is negative"), ("-1e-999999999", "is negative"),
    ('"2.5"', "must be a number, not text"),
]  # fmt: skip


def with_price(text):
    return encode(sale(unit_price="@"))[0].replace(b'"@"', text.encode())


@pytest.mark.parametrize("extra", [{}, {"new": 1}], ids=["fast", "slow"])
@pytest.mark.parametrize(("text", "price"), EXACT)
def test_a_price_that_fits_is_taken_exactly(text, price, extra):
    value = encode(sale(unit_price="@", **extra))[0].replace(b'"@"', text.encode())
    row = decoded([value]).to_pylist()[0]
    assert row["verdict"] is None
    assert row["unit_price"] == Decimal(price)
    assert not row["unit_price"].is_signed()


@pytest.mark.parametrize(("text", "verdict"), INEXACT)
def test_a_price_that_does_not_fit_is_a_verdict_never_rounded(text, verdict):
    row = decoded([with_price(text)]).to_pylist()[0]
    assert row["verdict"].startswith(f"'unit_price' {verdict}")
    assert row["value"] == with_price(text)


@pytest.mark.parametrize(("text", "price"), EXACT)
def test_an_amount_is_exact_as_text_and_as_a_number(text, price):
    for cell in (f'"{text}"', text):
        row = order(json.dumps(change(amount="@")).encode().replace(b'"@"', cell.encode()))
        assert (row["verdict"], row["amount"]) == (None, Decimal(price))


@pytest.mark.parametrize(
    ("text", "verdict"), [*INEXACT[:-1], ("NaN", "must be a number, not text")]
)
def test_an_amount_that_does_not_fit_is_a_verdict(text, verdict):
    assert order(change(amount=text))["verdict"].startswith(f"'amount' {verdict}")


def test_an_amount_written_with_escapes_is_the_same_text():
    value = json.dumps(change(amount="@")).encode().replace(b'"@"', rb'"\u0031.5"')
    assert order(value)["amount"] == Decimal("1.5")


@pytest.mark.parametrize("digits", ["9" * 30, "9" * 5000, "-" + "9" * 5000])
def test_a_whole_number_of_any_length_is_a_verdict(digits):
    row = decoded([encode(sale(quantity="@"))[0].replace(b'"@"', digits.encode())]).to_pylist()[0]
    assert row["verdict"].startswith("'quantity' is out of range")


@pytest.mark.parametrize("name", ["lsn", "txId", "ts_ms"])
@pytest.mark.parametrize("number", [2**63, 2**64, -(2**80), int("9" * 4000)])
def test_a_number_of_the_source_that_fits_no_column_is_a_verdict(name, number):
    value = change()
    value["source"][name] = number
    assert order(value)["verdict"] is not None


def test_a_price_that_is_no_utf8_is_a_verdict():
    value = with_price('"@"').replace(b"@", b"\xff")
    assert "not UTF-8" in decoded([value]).to_pylist()[0]["verdict"]


def test_bytes_that_are_no_utf8_are_a_verdict_where_the_envelope_is_let_pass():
    value = json.dumps({**change(), "more": "@"}).encode().replace(b'"@"', b'"\xff"')
    assert "not UTF-8" in order(value)["verdict"]


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_outside_the_years_is_a_verdict_in_every_column(time):
    verdict = order(change(created_at=time))["verdict"]
    assert verdict == "'created_at' is outside the years 1 to 9999 in UTC"


@pytest.mark.parametrize("depth", [98, 99, 100, *range(970, 1001), 100_000])
def test_nesting_is_judged_alike_however_deep_the_reader_stands(depth):
    """Near Python's own limit one pass took a record that the next one could not read."""
    deep = b"[" * depth + b"]" * depth
    for contract, value, around in [
        (SALES, sale(new="@"), 1),
        (ORDERS, {**change(), "before": "@"}, 1),
        (ORDERS, {**change(), "more": "@"}, 1),
        (ORDERS, change(new=1, more="@"), 2),
    ]:
        batch = records([json.dumps(value).encode().replace(b'"@"', deep)])
        verdict = next(iter(decode_batch(batch, contract, RULES)))["verdict"][0].as_py()
        assert (verdict is None) == (depth + around <= 100)


def test_the_retail_producer_knows_what_the_contract_will_say(tmp_path):
    prices = [*("999999999999.9999", "1E2", "-0"), *(text for text, _ in INEXACT[:13])]
    path = tmp_path / "retail.csv"
    lines = [f"{n},A,X,1,2011-01-01 00:00:00,{price},,UK" for n, price in enumerate(prices)]
    path.write_text("\n".join([",".join(retail.COLUMNS), *lines]) + "\n")
    messages = list(retail.Retail(path))
    rows = {row["offset"]: row for row in decoded([m.value for m in messages]).to_pylist()}
    assert [m.kind == "good" for m in messages] == [
        rows[n]["verdict"] is None for n in range(len(messages))
    ]
    assert messages[0].event_time == datetime(2011, 1, 1, tzinfo=UTC)
