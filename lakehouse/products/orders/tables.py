"""Orders: what a delivery service's silver tables are, from the changes of one table."""

from __future__ import annotations

from lakehouse.model.flow import (
    MONEY,
    Aggregate,
    BronzeFlow,
    Flow,
    Keyed,
    Measure,
    ParquetFlow,
    Ratio,
    SilverFlow,
)
from lakehouse.products.orders.contract import ORDERS

KEYED = Keyed(
    key="order_id",
    order="sequence",
    time="changed_at",
    follows="order_status",
    columns={
        "order_id": ("order_id", "BIGINT"),
        "customer_name": ("customer_name", "VARCHAR"),
        "restaurant_name": ("restaurant_name", "VARCHAR"),
        "item": ("item", "VARCHAR"),
        "amount": ("amount", "DECIMAL(18,4)"),
        "order_status": ("order_status", "VARCHAR"),
        "created_at": ("created_at", "TIMESTAMPTZ"),
        "changed_at": ("event_time", "TIMESTAMPTZ"),
        "sequence": ("sequence", "VARCHAR"),
    },
    # neighbours share a block of 20,000; keys drawn at random make 256 partitions, not more
    block="(order_id // 20000) % 256",
    where="op <> 't'",
    deleted="op = 'd'",
    docs={
        "order_id": "the order",
        "customer_name": "who ordered",
        "restaurant_name": "who cooks",
        "item": "what was ordered",
        "amount": "price",
        "order_status": "placed, preparing, on_the_way, delivered or cancelled; "
        "in history also deleted",
        "created_at": "when the order was placed",
        "changed_at": "time of its latest change",
        "sequence": "place of its latest change among all",
    },
)


def _count(where: str, doc: str) -> Measure:
    return Measure(f"sum(CASE WHEN {where} THEN sign ELSE 0 END)", "BIGINT", "sum", doc)


def _amount(where: str, doc: str) -> Measure:
    signed = f"CASE WHEN NOT ({where}) THEN 0 WHEN sign > 0 THEN amount ELSE -amount END"
    return Measure(f"sum({signed})", MONEY, "sum", doc)


SHARED = {
    "orders": _count("true", "orders that the table has now"),
    "delivered": _count("order_status = 'delivered'", "those delivered"),
    "cancelled": _count("order_status = 'cancelled'", "those cancelled"),
    "amount": _amount("true", "Σ amount of all"),
    "revenue": _amount("order_status <> 'cancelled'", "Σ amount of those not cancelled"),
}
AVERAGE = Ratio("amount", "orders", "amount ÷ orders")


def _by(name: str, key: str, sql: str, kind: str, doc: str) -> Aggregate:
    return Aggregate(
        name=name, keys={key: (sql, kind)}, docs={key: doc}, measures=SHARED,
        ratios={"average_order": AVERAGE}, having="orders > 0", doc=f"one row per {doc}",
    )  # fmt: skip


FLOWS: tuple[Flow, ...] = (
    BronzeFlow(ORDERS),
    SilverFlow(
        ORDERS,
        (
            _by("by_restaurant", "restaurant_name", "restaurant_name", "VARCHAR", "restaurant"),
            _by("by_item", "item", "item", "VARCHAR", "dish"),
            _by("by_day", "order_date", "CAST(created_at AS DATE)", "DATE", "UTC day of orders"),
        ),
        keyed=KEYED,
    ),
    ParquetFlow(
        ORDERS,
        columns=(
            "order_id", "customer_name", "restaurant_name", "item", "amount", "order_status",
            "created_at", "op", "event_time", "sequence", "event_id",
            "topic", "partition", "offset",
        ),
        date="CAST(created_at AS DATE)",
        where="op IN ('c', 'u', 'r')",
        doc="one row per change that leaves an order, by the UTC date of created_at",
    ),
)  # fmt: skip
