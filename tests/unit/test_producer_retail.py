"""The retail replay: each line of the file is one message, whatever the line holds."""

from __future__ import annotations

import gzip
import random
import tracemalloc
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from statistics import median

import msgspec
import pytest

from lakehouse.core.errors import UsageError
from lakehouse.products.sales.contract import Sale
from producers.sales import retail

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
LINES = """\
1,A,"LANTERN, RED",24,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
1,B,,12,2010-12-01 08:26:00,3.39,17850,United Kingdom
2,A,CRÈME BRÛLÉE,3,12/1/2010 9:00,2.55,13047.0,France
C3,A,LANTERN,-2,2010-12-01T10:00:00+01:00,2.55,13047.0,France
4,A,LANTERN,100,2010-12-02 08:00:00,2.55,,EIRE
"""
FULL = Path(__file__).parents[2].parent / "shared/data/online_retail.csv.gz"


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "retail.csv"
    path.write_text(text, encoding=encoding)
    return path


def events(path: Path) -> list[Sale]:
    return [msgspec.json.decode(m.value or b"", type=Sale) for m in retail.Retail(path)]


def test_a_line_becomes_an_event(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + LINES)
    assert retail.Retail(path).lines == 5
    first, second, third, returned, guest = events(path)
    assert first == Sale(
        event_id="1-1",
        event_time=datetime(2010, 12, 1, 8, 26, tzinfo=UTC),
        order_id="1",
        client_id="17850",
        country="United Kingdom",
        segment="B2B",
        product_id="A",
        product_name="LANTERN, RED",
        quantity=24,
        unit_price=Decimal("2.55"),
        currency="GBP",
        channel="web",
    )
    assert (second.event_id, second.client_id, second.product_name) == ("1-2", "17850", None)
    assert (third.event_time.hour, third.segment, third.product_name) == (9, "B2C", "CRÈME BRÛLÉE")
    assert (returned.event_id, returned.quantity, returned.event_time.hour) == ("C3-4", -2, 9)
    assert (guest.client_id, guest.segment) == (None, "B2C")


def test_key_and_revenue(tmp_path: Path) -> None:
    messages = list(retail.Retail(written(tmp_path, HEADER + LINES)))
    assert [m.key for m in messages] == [b"1", b"1", b"2", b"C3", b"4"]
    assert sum(m.amount for m in messages) == Decimal("2.55") * (24 + 3 - 2 + 100) + Decimal(
        "40.68"
    )


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("9,A,X,1,2011-01-01 00:00:00,-11062.06,,UK", "negative_price"),
        ("9,A,X,0,2011-01-01 00:00:00,1,,UK", "zero_quantity"),
        ("9,A,X,1,2011-01-01 00:00:00,1.00001,,UK", "odd_price"),
        ("9,A,X,1,2011-01-01 00:00:00,1e30,,UK", "odd_price"),
        ("9,A,X,1,2011-01-01 00:00:00,1,,", "empty_field"),
        ("9,A,X,1,2011-01-01 00:00:00,NaN,,UK", "line"),
        ("9,A,X,many,2011-01-01 00:00:00,1,,UK", "line"),
        ("9,A,X,99999999999999999999999,2011-01-01 00:00:00,1,,UK", "line"),
        ("9,A,X,1,yesterday,1,,UK", "line"),
        ("9,A", "line"),
    ],
)
def test_a_line_that_is_no_sale_is_sent_and_named(tmp_path: Path, line: str, kind: str) -> None:
    path = written(tmp_path, HEADER + LINES.splitlines()[0] + "\n" + line + "\n")
    good, bad = retail.Retail(path)
    assert good.kind == "good"
    assert bad.kind == f"corrupt:{kind}"
    assert bad.amount == 0
    assert bad.event_time >= good.event_time
    assert msgspec.json.decode(bad.value or b"")["event_id"] == "9-2"


def test_a_bad_line_keeps_its_cells(tmp_path: Path) -> None:
    (bad,) = retail.Retail(written(tmp_path, HEADER + "9,A,X,many,yesterday,1,,UK\n"))
    assert msgspec.json.decode(bad.value or b"")["Quantity"] == "many"


def test_gzip_and_byte_order_mark(tmp_path: Path) -> None:
    plain = written(tmp_path, HEADER + LINES, "utf-8-sig")
    packed = tmp_path / "retail.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(retail.Retail(packed)) == list(retail.Retail(plain))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.csv", None, "No such file"),
        ("a.csv", b"", "has no column InvoiceNo"),
        ("a.csv", HEADER.replace("Country", "Land").encode(), "has no column Country"),
        ("a.csv.gz", HEADER.encode(), "Not a gzipped file"),
        ("a.csv.gz", gzip.compress((HEADER + LINES * 50).encode())[:-30], "ended before"),
        ("a.csv", (HEADER + "1,A,£5,1,2010-12-01,1,,UK\n").encode("latin-1"), "utf-8"),
    ],
)
def test_a_file_that_cannot_be_read(
    tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=says):
        list(retail.Retail(path))


@pytest.mark.skipif(not FULL.is_file(), reason="../shared/data/online_retail.csv.gz is absent")
def test_the_whole_dataset() -> None:
    kinds: dict[str, int] = {}
    for message in retail.Retail(FULL):
        kinds[message.kind] = kinds.get(message.kind, 0) + 1
    assert kinds == {"good": 541_907, "corrupt:negative_price": 2}


BOMBS = {
    "one line": (lambda: b" " * 40_000_000, "line 2: the record is longer"),
    "one record": (lambda: b'"\n",' * 8_000_000, "the record is longer"),
    "one cell": (
        lambda: b'"' + b"x" * 200_000 + b'"',
        "after line 2: field larger than field limit",
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_not_unpacked(bomb: str, tmp_path: Path) -> None:
    """A small file that unpacks to much: refused with the line, in the memory of one record."""
    made, told = BOMBS[bomb]
    body = made()
    path = tmp_path / "bomb.csv.gz"
    with gzip.open(path, "wb", 1) as out:
        out.write(HEADER.encode() + body)
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match=told):
            retail.Retail(path)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


ODD = {
    "digits of a quantity": "1,a,mug," + "9" * 5000 + ",2011-01-01 10:00:00,1,7,UK",
    "digits of a price": "1,a,mug,1,2011-01-01 10:00:00," + "9" * 5000 + ",7,UK",
    "an exponent": "1,a,mug,1,2011-01-01 10:00:00,1e999999999,7,UK",
    "no price at all": "1,a,mug,1,2011-01-01 10:00:00,1e-999999999,7,UK",
    "a time before all": "1,a,mug,1,0001-01-01T00:00:00+23:00,1,7,UK",
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_line_is_one_record_for_the_contract_to_judge(odd: str, tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + ODD[odd] + "\n" + LINES)
    bad, *good = retail.Retail(path)
    assert bad.kind.startswith("corrupt:")
    assert [message.kind for message in good] == ["good"] * 5


def test_the_median_of_a_client_is_the_statisticians() -> None:
    drawn = random.Random(7)
    for _ in range(500):
        some = [drawn.randrange(30) for _ in range(drawn.randrange(1, 9))]
        assert retail._median(Counter(some)) == median(some)
