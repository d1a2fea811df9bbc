"""A retail CSV (the columns of Online Retail) as sales events, in the file's order."""

from __future__ import annotations

import csv
import gzip
import io
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from statistics import median
from typing import TextIO

import msgspec

from lakehouse.contracts.sales import SALES, Sale
from lakehouse.core.errors import UsageError
from producers.message import Message

COLUMNS = (
    "InvoiceNo", "StockCode", "Description", "Quantity",
    "InvoiceDate", "UnitPrice", "CustomerID", "Country",
)  # fmt: skip
B2B_FROM = 12
"""A client whose median |quantity| a line is at least a dozen buys for a business."""


def count_lines(path: Path) -> int:
    """Data lines of the file."""
    with _open(path) as file:
        return sum(1 for _ in csv.reader(file)) - 1


def segments(path: Path) -> dict[str, str]:
    """Client → B2B or B2C, by the client's typical quantity."""
    quantities: dict[str, list[int]] = defaultdict(list)
    for row in _rows(path):
        client, quantity = row["CustomerID"], row["Quantity"]
        if client and quantity.lstrip("-").isdigit():
            quantities[_client(client)].append(abs(int(quantity)))
    return {c: "B2B" if median(q) >= B2B_FROM else "B2C" for c, q in quantities.items()}


def read(path: Path) -> Iterator[Message]:
    """One message a data line.

    ``event_id`` is the invoice and the line's number in the file, times are taken
    as UTC, ``client_id`` loses its ``.0``. A line that makes no sale is sent as it
    is, for the contract to judge.
    """
    known = segments(path)
    for number, row in enumerate(_rows(path), 1):
        yield _message(row, number, known)


def _message(row: dict[str, str], number: int, known: dict[str, str]) -> Message:
    client = _client(row["CustomerID"])
    order = row["InvoiceNo"]
    try:
        time = datetime.fromisoformat(row["InvoiceDate"]).replace(tzinfo=UTC)
        price, quantity = Decimal(row["UnitPrice"]), int(row["Quantity"])
    except (ValueError, InvalidOperation):
        value = msgspec.json.encode({"event_id": f"{order}-{number}", **row})
        return Message(order.encode(), value, "corrupt:line", order, datetime.now(UTC))
    sale = Sale(
        event_id=f"{order}-{number}",
        event_time=time,
        order_id=order,
        client_id=client or None,
        country=row["Country"],
        segment="B2B" if known.get(client) == "B2B" else "B2C",
        product_id=row["StockCode"],
        product_name=row["Description"] or None,
        quantity=quantity,
        unit_price=price,
        currency="GBP",
        channel="web",
    )
    good = price >= 0 and quantity != 0
    return Message(
        key=order.encode(),
        value=SALES.encode(sale),
        kind="good" if good else "corrupt:negative_price" if price < 0 else "corrupt:zero_quantity",
        order=order,
        event_time=time,
        revenue=price * quantity if good else Decimal(0),
        currency="GBP",
    )


def _client(text: str) -> str:
    return text.removesuffix(".0")


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with _open(path) as file:
        reader = csv.DictReader(file)
        missing = [c for c in COLUMNS if c not in (reader.fieldnames or [])]
        if missing:
            raise UsageError(
                str(path), f"has no column {', '.join(missing)}", f"give {', '.join(COLUMNS)}"
            )
        for row in reader:
            yield {column: row[column] or "" for column in COLUMNS}


def _open(path: Path) -> TextIO:
    try:
        binary = gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115  # the text wrapper closes it
        binary.peek(1)  # a file that is not gzip fails here
    except (OSError, EOFError) as error:
        raise UsageError(
            str(path), f"cannot be read: {error}", "name a retail CSV, plain or .gz"
        ) from None
    return io.TextIOWrapper(binary, encoding="utf-8", newline="")
