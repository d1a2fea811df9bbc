"""Writes orders of a delivery service into the table: inserts, updates, deletes, faulty rows."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from faker import Faker

from lakehouse.core.errors import UsageError
from lakehouse.settings.postgres_client import connect
from lakehouse.settings.sections import PostgresSettings

SCRIPT = Path(__file__).parents[2] / "db" / "orders.sql"
ROWS_A_TRANSACTION = 500
NEXT = {"placed": "preparing", "preparing": "on_the_way", "on_the_way": "delivered"}
KITCHENS = {
    "Trattoria": {"Margherita": 9, "Tagliatelle al ragù": 12, "Tiramisù": 6, "Burrata": 11},
    "Ramen Bar": {"Tonkotsu ramen": 14, "Gyoza": 7, "Chicken karaage": 9, "Miso soup": 4},
    "Taquería": {"Tacos al pastor": 10, "Burrito": 11, "Elote": 5, "Churros": 6},
    "Curry House": {"Chicken tikka": 13, "Dal makhani": 10, "Garlic naan": 3, "Lamb biryani": 15},
    "Grill": {"Cheeseburger": 12, "Half chicken": 13, "Fries": 4, "Coleslaw": 4},
    "Mezze": {"Mixed mezze": 17, "Falafel wrap": 8, "Hummus": 6, "Baklava": 5},
}
"""Kind of restaurant → its dishes with typical prices."""
RESTAURANTS = 24
WRONG: tuple[dict[str, Any], ...] = (
    {"amount": Decimal("-4.20")},
    {"order_status": "teleported"},
    {"amount": None},
    {"amount": Decimal("NaN")},
    {"customer_name": None},
    {"created_at": None},
)
"""Column values that make a row break the contract."""
COLUMNS = ("customer_name", "restaurant_name", "item", "amount", "order_status", "created_at")


def make_table(connection: Any) -> None:
    """Run db/orders.sql: the table, its trigger and ten rows; harmless if they exist."""
    with connection.cursor() as cursor:
        cursor.execute(SCRIPT.read_text("utf-8"))


def is_made(connection: Any, table: str) -> bool:
    """Whether the table exists."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (table,))
        return bool(cursor.fetchone()[0])


def load(
    postgres: PostgresSettings,
    table: str,
    *,
    count: int,
    updates: int,
    deletes: int,
    bad: int,
    seed: int,
    now: datetime,
) -> dict[str, int]:
    """Insert, update and delete orders; gives how many of each. A seed makes the same orders.

    Of the ``count`` inserted orders ``bad`` break the contract. Orders to update or delete are
    drawn from the whole table; an update of a delivered order cancels it.
    """
    if bad > count:
        raise UsageError("--bad", f"{bad} of {count} orders cannot be bad", "raise --count")
    draw = random.Random(seed)  # noqa: S311  # no secret
    done = Counter[str]()
    with closing(connect(postgres)) as connection, connection.cursor() as cursor:
        connection.autocommit = False
        names, places = ", ".join(COLUMNS), ", ".join(["%s"] * len(COLUMNS))
        rows = list(_orders(draw, seed, count, bad, now))
        for start in range(0, count, ROWS_A_TRANSACTION):
            part = rows[start : start + ROWS_A_TRANSACTION]
            cursor.executemany(
                f"INSERT INTO {table} ({names}) VALUES ({places})",
                [[row[column] for column in COLUMNS] for row in part],
            )
            connection.commit()
            done["inserted"] += len(part)
        cursor.execute(f"SELECT order_id, order_status FROM {table} ORDER BY order_id")
        there = cursor.fetchall()
        draw.shuffle(there)
        for order_id, status in there[:updates]:
            after = NEXT.get(status, "cancelled")
            cursor.execute(
                f"UPDATE {table} SET order_status = %s WHERE order_id = %s", (after, order_id)
            )
            connection.commit()
            done["updated"] += cursor.rowcount
        for order_id, _ in there[updates:][:deletes]:
            cursor.execute(f"DELETE FROM {table} WHERE order_id = %s", (order_id,))
            connection.commit()
            done["deleted"] += cursor.rowcount
    return {**{name: done[name] for name in ("inserted", "updated", "deleted")}, "bad": bad}


def _orders(
    draw: random.Random, seed: int, count: int, bad: int, now: datetime
) -> Iterator[dict[str, Any]]:
    """Rows of new orders placed in the last minutes, the bad ones scattered among them."""
    faker = Faker(["en_GB", "de_DE", "es_ES", "tr_TR", "pl_PL"])
    faker.seed_instance(seed)
    kinds = list(KITCHENS)
    places = [(f"{faker.last_name()} {kind}", kind) for kind in draw.choices(kinds, k=RESTAURANTS)]
    wrong = set(draw.sample(range(count), bad))
    for number in range(count):
        name, kind = draw.choice(places)
        dish, price = draw.choice(list(KITCHENS[kind].items()))
        portions = draw.choices((1, 2, 3), (80, 15, 5))[0]
        cents = portions * price * 100 + draw.randrange(-50, 150)
        row = {
            "customer_name": faker.name(),
            "restaurant_name": name,
            "item": dish if portions == 1 else f"{portions} × {dish}",
            "amount": Decimal(cents) / 100,
            "order_status": "placed",
            "created_at": now - timedelta(seconds=draw.uniform(0, 120)),
        }
        yield {**row, **draw.choice(WRONG)} if number in wrong else row
