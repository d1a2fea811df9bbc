"""Generates realistic sales events, fast; the same seed gives the same events."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from lakehouse.products.sales.contract import SALES, Sale
from producers.message import Message
from producers.sales.faults import FAULTS
from producers.sales.shop import CHANNELS, EXCHANGE, Client, Product, Shop, busyness

RETURN_SHARE = 0.08
"""Share of orders that return one earlier line: about 2% of lines."""
GUEST_SHARE = 0.2
WEEKEND_REST = 0.7
"""Chance at the weekend that another client replaces a business."""
COPY_PACE = 0.2
"""Chance, at each order, that the oldest waiting copy is sent."""
LATE_MARK = "-late"
"""Suffix of the event_id of a deliberately late event."""
CENT = Decimal("0.01")
_FAULT_NAMES = list(FAULTS)


@dataclass(frozen=True)
class Shares:
    """Fractions of events that are late, sent twice or broken."""

    late: float = 0.0
    duplicates: float = 0.0
    corrupt: float = 0.0


class SalesGenerator:
    """Generates orders, one message per line.

    Every event id and order id begins with ``run_id``: two runs with the same one generate
    the same ids.
    """

    def __init__(self, shop: Shop, seed: int, run_id: str, shares: Shares) -> None:
        self._shop, self._run, self._shares = shop, run_id, shares
        self._draw = np.random.default_rng([seed, 1])
        self._order = self._line = 0
        self._sold: deque[Sale] = deque(maxlen=500)
        self._held: list[Message] = []
        self._copies: deque[Message] = deque()
        self._prices: dict[tuple[str, str, str], Decimal] = {}

    def history(self, count: int, end: datetime, days: int) -> Iterator[Message]:
        """``count`` events over the ``days`` before ``end``, in order of time except for faults.

        Late events happen in the first half and are sent in the last quarter, far behind any
        watermark. Duplicates come on top of ``count``, some orders later.
        """
        times = self._times(count, end, days)
        share = min(1.0, 2 * self._shares.late)
        made = 0
        while made < count:
            late = share if made < count / 2 else 0.0
            when = _moment(times[made])
            for message in self._order_messages(when, count - made, late):
                made += 1
                if message.kind == "late":
                    self._held.append(message)
                else:
                    yield message
                    self._copy(message)
            yield from self._due_copies()
            if self._held and made >= count * 3 / 4:
                yield self._held.pop()
        yield from self._held
        yield from self._copies
        self._held, self._copies = [], deque()

    def order_now(self, now: datetime) -> list[Message]:
        """One order placed now; a late line happened up to two hours ago."""
        late = self._hits(self._shares.late)
        when = now - timedelta(minutes=float(self._draw.uniform(15, 120))) if late else now
        messages = self._order_messages(when, 1_000, float(late))
        for message in messages:
            self._copy(message)
        return [*messages, *self._due_copies()]

    def _copy(self, message: Message) -> None:
        """Perhaps keep a duplicate, to be sent some orders later."""
        if message.kind == "good" and self._hits(self._shares.duplicates):
            self._copies.append(
                Message(message.key, message.value, "duplicate", message.group, message.event_time)
            )

    def _due_copies(self) -> list[Message]:
        """Now and then the oldest waiting duplicate; if many wait, all but the newest few."""
        due = [self._copies.popleft() for _ in range(len(self._copies) - 50)]
        if self._copies and self._hits(COPY_PACE):
            due.append(self._copies.popleft())
        return due

    def _hits(self, share: float) -> bool:
        return share > 0 and bool(self._draw.random() < share)

    def _times(self, count: int, end: datetime, days: int) -> npt.NDArray[np.int64]:
        """Microseconds since 1970 in rising order, more in busy hours."""
        last = int(end.timestamp() // 3600)
        hours = np.arange(last - days * 24, last, dtype=np.int64)
        weights = busyness(hours)
        chosen = np.sort(self._draw.choice(hours, size=count, p=weights / weights.sum()))
        within = self._draw.integers(0, 3_600_000_000, count)
        return np.sort(chosen * 3_600_000_000 + within)

    def _order_messages(self, when: datetime, most: int, late: float) -> list[Message]:
        """The lines of one order, or of one return; ``late`` is the share of late lines."""
        draw, shop = self._draw, self._shop
        self._order += 1
        if self._sold and draw.random() < RETURN_SHARE:
            return [self._returned(when)]
        client = self._buyer(when)
        channel = CHANNELS[self._pick(_CHANNEL_WEIGHTS)][0]
        lines = min(most, 1 + int(draw.geometric(0.3)))
        mean = 12 if client.segment == "B2B" else 2
        guest = client.segment == "B2C" and draw.random() < GUEST_SHARE
        order = f"{self._run}-O{self._order}"
        messages = []
        for _ in range(lines):
            product = shop.products[self._pick(shop.product_weights)]
            quantity = 1 + int(draw.poisson(mean - 1))
            sale = self._sale(when, order, client, product, quantity, channel, guest)
            message = self._message(sale, late=self._hits(late))
            if message.kind == "good":
                self._sold.append(sale)
            messages.append(message)
        return messages

    def _buyer(self, when: datetime) -> Client:
        """Draw who orders; businesses mostly rest at the weekend."""
        clients, weights = self._shop.clients, self._shop.client_weights
        client = clients[self._pick(weights)]
        if when.weekday() >= 5 and client.segment == "B2B" and self._hits(WEEKEND_REST):
            client = clients[self._pick(weights)]
        return client

    def _pick(self, cumulative: npt.NDArray[np.float64]) -> int:
        """Draw an index, by running sums of weights that end at 1."""
        place = int(np.searchsorted(cumulative, self._draw.random()))
        return min(place, len(cumulative) - 1)

    def _sale(
        self,
        when: datetime,
        order: str,
        client: Client,
        product: Product,
        quantity: int,
        channel: str,
        guest: bool,
    ) -> Sale:
        self._line += 1
        return Sale(
            event_id=f"{self._run}-{self._line}",
            event_time=when,
            order_id=order,
            client_id=None if guest else client.id,
            country=client.country,
            segment="B2B" if client.segment == "B2B" else "B2C",
            product_id=product.id,
            product_name=product.name,
            quantity=quantity,
            unit_price=self._price(product, client),
            currency=client.currency,  # type: ignore[arg-type]  # a code of the shop's list
            channel=channel,
        )

    def _price(self, product: Product, client: Client) -> Decimal:
        """The product's price in the client's currency, less the discount of a business."""
        key = product.id, client.currency, client.segment
        if key not in self._prices:
            discount = Decimal("0.9") if client.segment == "B2B" else Decimal(1)
            price = product.price * discount * EXCHANGE[client.currency]
            self._prices[key] = max(price, CENT).quantize(CENT)
        return self._prices[key]

    def _returned(self, when: datetime) -> Message:
        sold = self._sold[int(self._draw.integers(len(self._sold)))]
        self._line += 1
        sale = Sale(
            **{
                **{f: getattr(sold, f) for f in sold.__struct_fields__},
                "event_id": f"{self._run}-{self._line}",
                "event_time": when,
                "order_id": f"R-{self._run}-{self._order}",
                "quantity": -max(1, sold.quantity // 2),
            }
        )
        return self._message(sale)

    def _message(self, sale: Sale, *, late: bool = False) -> Message:
        if late:
            sale.event_id += LATE_MARK
        key, value = sale.order_id.encode(), SALES.encode(sale)
        if self._hits(self._shares.corrupt):
            fault = _FAULT_NAMES[int(self._draw.integers(len(_FAULT_NAMES)))]
            broken = FAULTS[fault](json.loads(value))
            return Message(key, broken, f"corrupt:{fault}", sale.order_id, sale.event_time)
        return Message(
            key, value, "late" if late else "good", sale.order_id, sale.event_time,
            sale.unit_price * sale.quantity, sale.currency,
        )  # fmt: skip


def _moment(micros: np.int64) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(micros))


_CHANNEL_WEIGHTS = np.cumsum([share for _, share in CHANNELS])
