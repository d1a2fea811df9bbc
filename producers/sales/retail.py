"""Reads a retail CSV (the columns of Online Retail) as sales events, in the file's order."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import threading
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

import msgspec

from lakehouse.core.errors import UsageError
from lakehouse.model.money import exact
from lakehouse.products.sales.contract import SALES, Sale
from producers.message import Message
from producers.pacing import EPOCH, replayed

COLUMNS = (
    "InvoiceNo", "StockCode", "Description", "Quantity",
    "InvoiceDate", "UnitPrice", "CustomerID", "Country",
)  # fmt: skip
B2B_FROM = 12
"""A client whose lines have a median |quantity| of at least a dozen is a business."""
MOST_PIECES = 1_000_000_000
"""The greatest quantity, sold or returned."""
LONGEST_QUANTITY = 20
"""Digits of a quantity that is counted for its client; the contract judges it all the same."""
LONGEST_LINE = 1 << 20
"""Characters of one record of the file, over as many lines as its quotes hold together."""
Row = tuple[str, ...]


class Retail:
    """A retail CSV, read once for its lines and clients, and then for its messages.

    What is held grows with the clients and their different quantities, not with the lines.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lines = path, 0
        """How many data lines the file has."""
        quantities: dict[str, Counter[int]] = defaultdict(Counter)
        for _, _, _, text, _, _, client, _ in _rows(path):
            self.lines += 1
            quantity = text.removeprefix("-")
            if client and quantity.isdecimal() and len(quantity) <= LONGEST_QUANTITY:
                quantities[_client(client)][int(quantity)] += 1
        self.segments = {
            c: "B2B" if _median(q) >= B2B_FROM else "B2C" for c, q in quantities.items()
        }
        """Client → B2B or B2C, by the client's median quantity."""

    def __iter__(self) -> Iterator[Message]:
        """One message per data line.

        ``event_id`` is the invoice and the line's number in the file; times are taken as UTC;
        ``client_id`` loses its ``.0``. A line that is no valid sale is sent as it is, for the
        contract to judge; its kind names the fault.
        """
        last = EPOCH
        for number, row in enumerate(_rows(self.path), 1):
            message = _message(row, number, self.segments, last)
            last = message.event_time
            yield message


def _median(counts: Counter[int]) -> float:
    """The middle one of so many of each, or the mean of the two in the middle."""
    ordered, total, passed = sorted(counts), counts.total(), 0
    low = None
    for value in ordered:
        passed += counts[value]
        if low is None and passed * 2 >= total:
            low = value
        if passed * 2 > total:
            return (value + (value if low is None else low)) / 2
    return 0.0


def _message(row: Row, number: int, known: dict[str, str], last: datetime) -> Message:
    """The line's sale; ``last`` is the event time of a line that has none."""
    order, product, name, quantity_text, time_text, price_text, client_text, country = row
    key, client = order.encode(), _client(client_text)
    try:
        time, (price, is_exact) = _time(time_text), _price(price_text)
        quantity = int(quantity_text)
        if abs(quantity) > MOST_PIECES:
            raise ValueError(row)
    except (ValueError, OverflowError, InvalidOperation):
        fields = {"event_id": f"{order}-{number}", **dict(zip(COLUMNS, row, strict=True))}
        return Message(key, msgspec.json.encode(fields), "corrupt:line", order, last)
    sale = Sale(
        event_id=f"{order}-{number}",
        event_time=time,
        order_id=order,
        client_id=client or None,
        country=country,
        segment="B2B" if known.get(client) == "B2B" else "B2C",
        product_id=product,
        product_name=name or None,
        quantity=quantity,
        unit_price=price,
        currency="GBP",
        channel="web",
    )
    kind = _kind(sale, is_exact=is_exact)
    revenue = price * quantity if kind == "good" else Decimal(0)
    return Message(key, SALES.encode(sale), kind, order, time, revenue, sale.currency)


def _kind(sale: Sale, *, is_exact: bool) -> str:
    """``good``, or the fault that the contract will find in the line."""
    if sale.unit_price < 0:
        return "corrupt:negative_price"
    if sale.quantity == 0:
        return "corrupt:zero_quantity"
    if not (sale.order_id and sale.product_id and sale.country):
        return "corrupt:empty_field"
    return "good" if is_exact else "corrupt:odd_price"


@lru_cache(maxsize=4096)
def _price(text: str) -> tuple[Decimal, bool]:
    """The price, and whether the contract's money holds it; ValueError if it is no number."""
    price = Decimal(text)
    if not price.is_finite():
        raise ValueError(text)
    try:
        exact(str(price))
    except ValueError:
        return price, False
    return price, True


@lru_cache(maxsize=1024)
def _time(text: str) -> datetime:
    """A time in ISO 8601, or month-first as in other editions of the dataset; taken as UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = datetime.strptime(text, "%m/%d/%Y %H:%M").replace(tzinfo=UTC)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _client(text: str) -> str:
    return text.removesuffix(".0")


def _rows(path: Path) -> Iterator[Row]:
    """Each data line's cells in the order of COLUMNS; a short line's missing cells are ''."""
    text = None
    try:
        with _open(path) as binary:
            text = _Text(path, io.TextIOWrapper(binary, encoding="utf-8-sig", newline=""))
            lines = csv.reader(text)
            header = next(lines, [])
            if missing := [c for c in COLUMNS if c not in header]:
                raise UsageError(
                    str(path), f"has no column {', '.join(missing)}", f"give {', '.join(COLUMNS)}"
                )
            places = [header.index(c) for c in COLUMNS]
            for line in lines:
                text.room = LONGEST_LINE
                if len(line) < len(header):
                    if not line:
                        continue  # an empty line is no record, as in csv.DictReader
                    line += [""] * (len(header) - len(line))  # noqa: PLW2901  # the reader's own list
                yield tuple([line[place] for place in places])
    except UnicodeDecodeError as error:
        _unreadable(path, text, error, "write it as UTF-8: iconv -f ISO-8859-1 -t UTF-8")
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        _unreadable(path, text, error, "name a retail CSV, plain or .gz")


class _Text:
    """The file's lines, of which no record takes more than its room: a bomb is not unpacked."""

    def __init__(self, path: Path, file: io.TextIOWrapper) -> None:
        self.room, self.number = LONGEST_LINE, 0
        self._path, self._file = path, file

    def __iter__(self) -> Iterator[str]:
        """Each line, and its end; UsageError with its number where a record has no room."""
        while line := self._file.readline(self.room + 1):
            self.number += 1
            self.room -= len(line)
            if self.room < 0:
                raise UsageError(
                    str(self._path),
                    f"line {self.number}: the record is longer than {LONGEST_LINE:,} characters",
                    "name a retail CSV, plain or .gz",
                )
            yield line


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _unreadable(path: Path, text: _Text | None, error: Exception, remedy: str) -> NoReturn:
    after = f"after line {text.number}: " if text and text.number else ""
    raise UsageError(str(path), f"cannot be read: {after}{error}", remedy) from None


def messages(
    path: Path, count: int | None, speed: float | None, stop: threading.Event
) -> tuple[Iterable[Message], int]:
    """The file's messages, ``speed`` times as fast as they happened where it is given; how many."""
    file = Retail(path)
    total = min(file.lines, count or file.lines)
    some = itertools.islice(file, total)
    return (replayed(some, speed, stop) if speed else some), total
