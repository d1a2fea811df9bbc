"""The sales event: one line of one order, sold or returned."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lakehouse.model.contract import Contract

Text = Annotated[str, Meta(min_length=1)]
Currency = Literal[
    "AED", "AFN", "ALL", "AMD", "ANG", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT",
    "BGN", "BHD", "BIF", "BMD", "BND", "BOB", "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD",
    "CDF", "CHF", "CLP", "CNY", "COP", "CRC", "CUP", "CVE", "CZK", "DJF", "DKK", "DOP", "DZD",
    "EGP", "ERN", "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GHS", "GIP", "GMD", "GNF", "GTQ",
    "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IQD", "IRR", "ISK", "JMD", "JOD",
    "JPY", "KES", "KGS", "KHR", "KMF", "KPW", "KRW", "KWD", "KYD", "KZT", "LAK", "LBP", "LKR",
    "LRD", "LSL", "LYD", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR", "MVR",
    "MWK", "MXN", "MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "OMR", "PAB", "PEN",
    "PGK", "PHP", "PKR", "PLN", "PYG", "QAR", "RON", "RSD", "RUB", "RWF", "SAR", "SBD", "SCR",
    "SDG", "SEK", "SGD", "SHP", "SLE", "SOS", "SRD", "SSP", "STN", "SVC", "SYP", "SZL", "THB",
    "TJS", "TMT", "TND", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "UGX", "USD", "UYU", "UZS",
    "VED", "VES", "VND", "VUV", "WST", "XAF", "XCD", "XOF", "XPF", "YER", "ZAR", "ZMW", "ZWG",
]  # fmt: skip
"""ISO 4217 codes of money in use."""


class Sale(msgspec.Struct, kw_only=True, gc=False):
    """One line of an order; a negative quantity is a return."""

    event_id: Text
    event_time: Annotated[datetime, Meta(tz=True)]
    order_id: Text
    client_id: str | None = None
    country: Text
    segment: Literal["B2B", "B2C"]
    product_id: Text
    product_name: str | None = None
    quantity: Annotated[int, Meta(ge=-1_000_000_000, le=1_000_000_000)]
    unit_price: Decimal
    currency: Currency
    channel: Text


SALES = Contract(
    name="sales",
    version=2,
    event=Sale,
    nonzero=("quantity",),
    person="client_id",
    descriptions={
        "event_id": "unique; a copy with the same id counts once",
        "event_time": "when it happened: RFC 3339 with an offset; to the microsecond, half up",
        "order_id": "the order that the line belongs to",
        "client_id": "null for a guest",
        "country": "where the client buys from",
        "segment": "business or consumer",
        "product_id": "the article",
        "product_name": "the article's name, may be null",
        "quantity": "pieces; not 0, negative for a return",
        "unit_price": "price of one piece in the event's currency: not negative, at most 12 digits "
        "before the point and 4 after, never rounded",
        "currency": "ISO 4217 code",
        "channel": "how it was sold: web, store, app, phone ...",
    },
)
