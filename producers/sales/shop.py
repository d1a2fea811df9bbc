"""A realistic shop made from a seed: its catalogue, its clients, and when they buy."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt
from faker import Faker

COUNTRIES = {
    "United Kingdom": ("GBP", "en_GB", 0.36), "Germany": ("EUR", "de_DE", 0.15),
    "France": ("EUR", "fr_FR", 0.12), "Netherlands": ("EUR", "nl_NL", 0.06),
    "Spain": ("EUR", "es_ES", 0.06), "Poland": ("PLN", "pl_PL", 0.05),
    "Sweden": ("SEK", "sv_SE", 0.04), "Switzerland": ("CHF", "de_CH", 0.04),
    "Czechia": ("CZK", "cs_CZ", 0.03), "Japan": ("JPY", "ja_JP", 0.03),
    "United States": ("USD", "en_US", 0.06),
}  # fmt: skip
"""Country → currency, locale of its names, share of clients."""
EXCHANGE = {
    code: Decimal(rate)
    for code, rate in {
        "GBP": "1", "EUR": "1.15", "USD": "1.30", "CHF": "1.10",
        "PLN": "4.90", "SEK": "12.80", "CZK": "28.50", "JPY": "190",
    }.items()
}  # fmt: skip
"""Currency → roughly what a pound is worth in it; list prices are in pounds."""
CHANNELS = (("web", 0.55), ("app", 0.25), ("store", 0.15), ("phone", 0.05))
_ADJECTIVES = ("red", "white", "blue", "vintage", "small", "large", "wooden", "glass", "jumbo")
_THINGS = (
    "lantern", "mug", "cushion", "notebook", "café tray", "bag", "clock", "frame", "candle",
    "jar", "tea set", "doormat", "sign", "lunch box", "blanket", "crème brûlée dish",
)  # fmt: skip
HOURS = np.array(
    [1, 1, 1, 1, 1, 2, 4, 8, 14, 20, 24, 26, 28, 26, 24, 22, 20, 20, 22, 24, 20, 12, 6, 3], float
)
"""How busy each hour of the day is, from 0 to 23."""
WEEKDAYS = np.array([1.0, 1.05, 1.05, 1.1, 1.2, 0.8, 0.6])
MONTHS = np.array([0.8, 0.75, 0.85, 0.9, 0.95, 0.95, 0.9, 0.9, 1.05, 1.15, 1.6, 1.7])


@dataclass(frozen=True)
class Product:
    """An article with its list price; some have no name."""

    id: str
    name: str | None
    price: Decimal


@dataclass(frozen=True)
class Client:
    """A buyer; a guest has no client id."""

    id: str | None
    name: str
    country: str
    currency: str
    segment: str


@dataclass(frozen=True)
class Shop:
    """Catalogue and clients. Weights are running sums of how often each is drawn (Zipf's law)."""

    products: list[Product]
    product_weights: npt.NDArray[np.float64]
    clients: list[Client]
    client_weights: npt.NDArray[np.float64]


def make_shop(seed: int, clients: int, products: int) -> Shop:
    """Make a shop; the same seed makes the same shop."""
    draw = np.random.default_rng(seed)
    names = {c: _names(locale, seed) for c, (_, locale, _) in COUNTRIES.items()}
    shares = np.array([share for _, _, share in COUNTRIES.values()])
    homes = draw.choice(list(COUNTRIES), size=clients, p=shares / shares.sum())
    business = draw.random(clients) < 0.2
    people = [
        Client(
            id=f"C{number:06}",
            name=names[home][number % len(names[home])],
            country=str(home),
            currency=COUNTRIES[home][0],
            segment="B2B" if business[number] else "B2C",
        )
        for number, home in enumerate(homes)
    ]
    prices = np.clip(np.round(draw.lognormal(1.6, 0.9, products), 2), 0.19, 999)
    nameless = draw.random(products) < 0.01
    catalogue = [
        Product(
            id=f"P{number:05}",
            name=None if nameless[number] else _product_name(number),
            price=Decimal(f"{prices[number]:.2f}"),
        )
        for number in range(products)
    ]
    return Shop(catalogue, _zipf(products, 0.9), people, _zipf(clients, 0.7))


def busyness(hours: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Relative sales of each hour, given as hours since 1970-01-01 UTC."""
    days = hours // 24
    months = (days.astype("datetime64[D]").astype("datetime64[M]").astype(int)) % 12
    weight: npt.NDArray[np.float64] = HOURS[hours % 24] * WEEKDAYS[(days + 3) % 7] * MONTHS[months]
    return weight


def _names(locale: str, seed: int) -> list[str]:
    fake = Faker(locale)
    fake.seed_instance(seed)
    return [fake.name() for _ in range(20)]


def _product_name(number: int) -> str:
    adjective = _ADJECTIVES[number % len(_ADJECTIVES)]
    thing = _THINGS[(number // len(_ADJECTIVES)) % len(_THINGS)]
    return f"{adjective} {thing} no. {number}"


def _zipf(size: int, exponent: float) -> npt.NDArray[np.float64]:
    """Running sums of Zipf weights, ending at 1."""
    weights = 1.0 / np.arange(1, size + 1) ** exponent
    return np.asarray(np.cumsum(weights / weights.sum()), dtype=np.float64)
