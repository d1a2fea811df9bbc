"""Believable customers: the shares of IBM's Telco file, and churn that follows from the facts.

Who pays by the month, came lately, has fiber or pays by electronic check leaves more often. The
shares are the file's own; no row of it is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

KNOWN = 4_000
"""Customers who may come again."""
RETURNS = 0.25
"""Share of events that tell new facts of a customer who is known."""
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TERMS = (("Month-to-month", 0.55, 18.0), ("One year", 0.21, 42.0), ("Two year", 0.24, 57.0))
"""Contract → its share, and the months that such a customer has stayed on average."""
_METHODS = (
    ("Electronic check", 0.43, 0.16), ("Mailed check", 0.23, 0.25),
    ("Bank transfer (automatic)", 0.17, 0.30), ("Credit card (automatic)", 0.17, 0.29),
)  # fmt: skip
"""PaymentMethod → its share of customers who pay by the month, and of the others."""
_CARE = ("OnlineSecurity", "OnlineBackup", "DeviceProtection", "TechSupport")
_FILMS = ("StreamingTV", "StreamingMovies")
_SERVICES = dict(zip((*_CARE, *_FILMS), (0.37, 0.44, 0.44, 0.37, 0.49, 0.49), strict=True))
"""Service → the share of those with internet who have it."""
_LEAVES = -3.08
"""Log odds of leaving of a customer without any reason to: the file's 26.5 % left."""
MOST_MONTHS = 72


@dataclass(frozen=True)
class Told:
    """One event's facts, by the file's columns; whether the customer was known before."""

    facts: dict[str, Any]
    is_again: bool


class Customers:
    """Facts about customers, without an end; the same seed tells the same ones."""

    def __init__(self, seed: int) -> None:
        self._draw = np.random.default_rng([seed, 4])
        self._known: list[dict[str, Any]] = []

    def __iter__(self) -> Iterator[Told]:
        while True:
            if self._known and self._is(RETURNS):
                yield Told(self._again(), is_again=True)
                continue
            facts = self._new()
            if len(self._known) < KNOWN:
                self._known.append(facts)
            else:
                self._known[int(self._draw.integers(KNOWN))] = facts
            yield Told(facts, is_again=False)

    def _new(self) -> dict[str, Any]:
        draw = self._draw
        digits = int(draw.integers(10_000))
        letters = "".join(map(_LETTERS.__getitem__, draw.integers(26, size=5).tolist()))
        partner = self._is(0.483)
        term = self._one([(name, share) for name, share, _ in _TERMS])
        by_month = term == "Month-to-month"
        mean = next(months for name, _, months in _TERMS if name == term)
        stayed = draw.exponential(mean) if by_month else draw.normal(mean, 21)
        tenure = int(min(max(1 + stayed, 1), MOST_MONTHS)) * (not self._is(0.0016))
        internet = self._one(
            [("DSL", 0.32), ("Fiber optic", 0.55), ("No", 0.13)] if by_month
            else [("DSL", 0.38), ("Fiber optic", 0.30), ("No", 0.32)]
        )  # fmt: skip
        phone = internet != "DSL" or self._is(0.72)
        lines = self._yes(0.47) if phone else "No phone service"
        has = {
            name: "No internet service" if internet == "No" else self._yes(share)
            for name, share in _SERVICES.items()
        }
        facts = {
            "customerID": f"{digits:04}-{letters}",
            "gender": self._one([("Male", 0.505), ("Female", 0.495)]),
            "SeniorCitizen": int(self._is(0.162)),
            "Partner": "Yes" if partner else "No",
            "Dependents": self._yes(0.52 if partner else 0.09),
            "tenure": tenure,
            "PhoneService": "Yes" if phone else "No",
            "MultipleLines": lines,
            "InternetService": internet,
            **has,
            "Contract": term,
            "PaperlessBilling": self._yes(0.67 if by_month else 0.50),
            "PaymentMethod": self._one([(m, a if by_month else b) for m, a, b in _METHODS]),
        }
        self._priced(facts)
        facts["Churn"] = self._churn(facts)
        return facts

    def _again(self) -> dict[str, Any]:
        """A customer some months later; now and then with another contract or service."""
        facts = self._known[int(self._draw.integers(len(self._known)))]
        facts["tenure"] += 1 + int(self._draw.integers(3))
        if self._is(0.1):
            facts["Contract"] = self._one([(name, share) for name, share, _ in _TERMS])
        if facts["InternetService"] != "No" and self._is(0.2):
            facts[self._one([(name, 1.0) for name in _SERVICES])] = self._yes(0.5)
        self._priced(facts)
        facts["Churn"] = self._churn(facts)
        return facts

    def _priced(self, facts: dict[str, Any]) -> None:
        """What the services cost, and what all months did; nothing yet of who just came."""
        price = {"DSL": 25.0, "Fiber optic": 50.0, "No": 0.0}[facts["InternetService"]]
        price += 20.0 * (facts["PhoneService"] == "Yes") + 5.0 * (facts["MultipleLines"] == "Yes")
        price += 5.0 * sum(facts[name] == "Yes" for name in _CARE)
        price += 10.0 * sum(facts[name] == "Yes" for name in _FILMS)
        monthly = Decimal(round(20 * (price + self._draw.normal(0, 0.5)))) / 20
        facts["MonthlyCharges"] = max(monthly, Decimal("18.25"))
        drifted = 1 + min(max(self._draw.normal(0, 0.03), -0.09), 0.09)
        total = round(20 * facts["tenure"] * float(facts["MonthlyCharges"]) * drifted)
        facts["TotalCharges"] = Decimal(total) / 20 if facts["tenure"] else None

    def _churn(self, facts: dict[str, Any]) -> str:
        odds = _LEAVES
        odds += {"Month-to-month": 1.35, "One year": 0.45, "Two year": -0.7}[facts["Contract"]]
        odds += 0.9 * (facts["InternetService"] == "Fiber optic")
        odds -= 0.8 * (facts["InternetService"] == "No")
        odds += 0.4 * (facts["PaymentMethod"] == "Electronic check")
        odds += 0.35 * (facts["PaperlessBilling"] == "Yes") + 0.25 * facts["SeniorCitizen"]
        odds -= 0.4 * sum(facts[name] == "Yes" for name in ("OnlineSecurity", "TechSupport"))
        odds += 1.3 * float(np.exp(-facts["tenure"] / 12)) - 0.018 * facts["tenure"]
        odds += 0.008 * float(facts["MonthlyCharges"])
        return self._yes(1 / (1 + float(np.exp(-odds))))

    def _is(self, share: float) -> bool:
        return self._draw.random() < share

    def _yes(self, share: float) -> str:
        return "Yes" if self._is(share) else "No"

    def _one(self, weighed: Sequence[tuple[str, float]]) -> str:
        """One of the names, by its weight."""
        at = float(self._draw.random()) * sum(weight for _, weight in weighed)
        for name, weight in weighed:
            at -= weight
            if at < 0:
                return name
        return weighed[-1][0]
