"""What becomes of customers' records: a prediction of each that keeps the contract, else a letter.

A dead letter is the record as it came, with the headers by which Kafka Connect says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa

from lakehouse.products.churn.contract import PREDICTIONS
from lakehouse.products.churn.model.encoding import coded
from lakehouse.products.churn.model.scoring import Scorer
from lakehouse.products.churn.model.written import written

NAMED = (("contract", f"{PREDICTIONS.name}/{PREDICTIONS.version}".encode()),)
"""The header of a prediction, as producers send one."""
ERRORS = "__connect.errors."
_ALIKE = (
    ("connector.name", "lakehouse-churn-score"),
    ("task.id", "0"),
    ("stage", "VALUE_CONVERTER"),
    ("class.name", "lakehouse.ingest.decode"),
    ("exception.class.name", "BrokenContract"),
)


class Letter(msgspec.Struct, frozen=True, gc=False):
    """A record that cannot be scored, and its headers."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | str | None]]


@dataclass(frozen=True)
class Outcomes:
    """One for each record."""

    keys: list[str]
    """Of each prediction its customer's id."""
    values: list[bytes]
    """Of each the ``Prediction`` as JSON."""
    letters: list[Letter]

    @property
    def predictions(self) -> Iterator[tuple[str, bytes]]:
        """Key and value of each; made while they are asked for, as a hundred thousand are dear."""
        return zip(self.keys, self.values, strict=True)


@dataclass
class Scored:
    """What became of records, counted."""

    predictions: int = 0
    dead_letters: int = 0
    transactions: int = 0

    def add(self, outcomes: Outcomes) -> None:
        """Count what is committed."""
        self.predictions += len(outcomes.values)
        self.dead_letters += len(outcomes.letters)
        self.transactions += 1


def outcomes_of(decoded: Iterable[pa.RecordBatch], scorer: Scorer, now: datetime) -> Outcomes:
    """The outcomes of decoded rows: those with a verdict are dead letters."""
    keys: list[str] = []
    values: list[bytes] = []
    letters: list[Letter] = []
    for rows in decoded:
        good, verdict = rows, rows.column("verdict")
        if verdict.null_count < rows.num_rows:
            good = rows.filter(verdict.is_null())
            letters += letters_of(rows.filter(verdict.is_valid()))
        good = coded(good)
        values += written(good, scorer.score(good), scorer, now)
        keys += good.column("customerID").to_pylist()
    return Outcomes(keys, values, letters)


def letters_of(rows: pa.RecordBatch) -> Iterator[Letter]:
    """The dead letters of rows that have a verdict."""
    names = ("key", "value", "headers", "verdict", "topic", "partition", "offset")
    for key, value, headers, *told in zip(
        *(rows.column(name).to_pylist() for name in names), strict=True
    ):
        own = [(one["key"], one["value"]) for one in headers or ()]
        yield Letter(key, value, [*own, *_why(*told)])


def _why(
    verdict: str, topic: str, partition: int, offset: int
) -> Sequence[tuple[str, bytes | str | None]]:
    """Kafka Connect's headers of a record that it could not take, and our own word for it."""
    place = (("topic", topic), ("partition", str(partition)), ("offset", str(offset)))
    told: Any = (*place, *_ALIKE, ("exception.message", verdict))
    return [*((ERRORS + name, text) for name, text in told), ("verdict", verdict)]
