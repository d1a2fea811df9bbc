"""What becomes of customers' records: a prediction of each that keeps the contract, else a letter.

A dead letter is the record as it came, with the headers by which Kafka Connect says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from lakehouse.ingest.decode import decode_batch
from lakehouse.ingest.verdict import TimeRules
from lakehouse.products.churn.contract import CUSTOMERS, PREDICTIONS, Prediction
from lakehouse.products.churn.model.scoring import Scorer, Scores

NAMED = (("contract", f"{PREDICTIONS.name}/{PREDICTIONS.version}".encode()),)
"""The header of a prediction, as producers send one."""
TOLD = 3
"""Contributions that a prediction tells."""
ERRORS = "__connect.errors."
_ALIKE = (
    ("connector.name", "lakehouse-churn-score"),
    ("task.id", "0"),
    ("stage", "VALUE_CONVERTER"),
    ("class.name", "lakehouse.ingest.decode"),
    ("exception.class.name", "BrokenContract"),
)
_SHARES = [Decimal(n).scaleb(-4) for n in range(10_001)]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Letter(msgspec.Struct, frozen=True, gc=False):
    """A record that cannot be scored, and its headers."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | str | None]]


@dataclass(frozen=True)
class Outcomes:
    """One for each record."""

    predictions: list[Prediction]
    letters: list[Letter]


@dataclass
class Scored:
    """What became of records, counted."""

    predictions: int = 0
    dead_letters: int = 0
    transactions: int = 0

    def add(self, outcomes: Outcomes) -> None:
        """Count what is committed."""
        self.predictions += len(outcomes.predictions)
        self.dead_letters += len(outcomes.letters)
        self.transactions += 1


def outcomes_of(
    records: pa.RecordBatch, scorer: Scorer, rules: TimeRules, now: datetime
) -> Outcomes:
    """The outcomes of Kafka rows, judged as bronze judges them."""
    predictions: list[Prediction] = []
    letters: list[Letter] = []
    for decoded in decode_batch(records, CUSTOMERS, rules):
        if decoded.column("verdict").null_count:
            predictions += predictions_of(decoded, scorer, now)
        else:
            letters += letters_of(decoded)
    return Outcomes(predictions, letters)


def predictions_of(rows: pa.RecordBatch, scorer: Scorer, now: datetime) -> list[Prediction]:
    """The predictions of customers, who have the contract's columns and an address."""
    scores = scorer.score(rows)
    card = scorer.card
    threshold = round(card.threshold * 10_000)
    least, ms = _SHARES[threshold], Decimal(round(1e7 * scores.seconds / max(1, len(rows))))
    ms, version = ms.scaleb(-4), card.version
    names = ("event_id", "customerID", "topic", "partition", "offset", "Contract", "tenure",
             "PaymentMethod", "MonthlyCharges", "Churn")  # fmt: skip
    columns = (rows.column(name).to_pylist() for name in names)
    cells = zip(_times(rows.column("event_time")), *columns, strict=True)
    told = zip(cells, scores.rounded().tolist(), contributions(rows, scores, scorer), strict=True)
    return [
        Prediction(
            event_id=f"{event_id}@{version}", event_time=event_time, customerID=customer,
            input_event_id=event_id, input_topic=topic, input_partition=partition,
            input_offset=offset, prediction="Yes" if share >= threshold else "No",
            probability=_SHARES[share], threshold=least, model_version=version,
            contributions=given, Contract=term, tenure=tenure, PaymentMethod=method,
            MonthlyCharges=charges, Churn=churn, scored_at=now, inference_ms=ms,
        )
        for (event_time, event_id, customer, topic, partition, offset, term, tenure, method,
             charges, churn), share, given in told
    ]  # fmt: skip


def _times(column: pa.Array) -> list[datetime]:
    """The times of a column; Arrow's own conversion takes several times as long."""
    return [_EPOCH + timedelta(microseconds=n) for n in column.cast(pa.int64()).to_pylist()]


def contributions(rows: pa.RecordBatch, scores: Scores, scorer: Scorer) -> Iterator[str]:
    """Of each row the features that say most, their values and shares, as JSON text."""
    features = [feature.name for feature in scorer.card.features]
    columns = [rows.column(name).to_pylist() for name in features]
    begun: list[dict[Any, str]] = [{} for _ in features]
    top = scores.top(TOLD)
    shares = np.take_along_axis(scores.contributions, top, 1).tolist()
    for row, (places, given) in enumerate(zip(top.tolist(), shares, strict=True)):
        told = []
        for place, share in zip(places, given, strict=True):
            value = columns[place][row]
            begin = begun[place].get(value)
            if begin is None:
                begin = begun[place][value] = _begin(features[place], value)
            told.append(f"{begin}{share:.4f}}}")
        yield f"[{','.join(told)}]"


def _begin(feature: str, value: Any) -> str:
    """A contribution as JSON text, up to its share."""
    known = _encode({"feature": feature, "value": value}).decode()
    return f'{known[:-1]},"contribution":'


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


def value_of(prediction: Prediction) -> bytes:
    """A prediction as a record's value."""
    return PREDICTIONS.encode(prediction)
