"""Predictions with the records that they were made of: what was said, of whom, and where."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from lakehouse.core.errors import LakehouseError, UsageError
from lakehouse.core.sql import identifier, text
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.sql import read
from lakehouse.products.churn.contract import FEATURES
from lakehouse.products.churn.model import need_packages
from lakehouse.products.churn.model.store import Models
from lakehouse.settings.settings import Settings

_ADDRESS = ("topic", "partition", "offset")
_SAID = (
    "prediction", "probability", "threshold", "model_version", "contributions", "scored_at",
    "inference_ms", "event_id", *_ADDRESS,
)  # fmt: skip
_FACTS = ("customerID", *FEATURES, "Churn", "event_time", "event_id", *_ADDRESS)
_TRACED = (
    "SELECT "
    + ", ".join(f"p.{identifier(name)} AS {identifier(f'said_{name}')}" for name in _SAID)
    + ", "
    + ", ".join(f"c.{identifier(name)} AS {identifier(f'in_{name}')}" for name in _FACTS)
    + " FROM bronze.churn_predictions AS p JOIN bronze.churn AS c ON p.input_topic = c.topic "
    'AND p.input_partition = c."partition" AND p.input_offset = c."offset" '
    "AND p.input_event_id = c.event_id "
)


def sample(settings: Settings, count: int) -> list[dict[str, Any]]:
    """The newest predictions, each with its input; fewer where the lake has fewer."""
    order = f'ORDER BY p.scored_at DESC, p."partition", p."offset" DESC LIMIT {count}'
    return _traced(settings, f"{_TRACED} {order}")


def explain(settings: Settings, customer: str) -> dict[str, Any]:
    """All that was said of a customer, the latest facts first, and why the latest was.

    ``why`` has what each feature contributed to the log odds, by the model run again;
    it is a text where that model cannot be run here. UsageError where nothing was said.
    """
    latest = "ORDER BY c.event_time DESC, p.scored_at DESC, p.input_offset DESC LIMIT 20"
    found = _traced(settings, f"{_TRACED} WHERE p.customerID = {text(customer)} {latest}")
    if not found:
        raise UsageError(
            f"customer {customer!r}", "has no prediction in this lake",
            "`lakehouse churn sample` names some; what has just been sent lands with "
            "`lakehouse run churn.bronze churn_predictions.bronze --available-now`",
        )  # fmt: skip
    return {"customerID": customer, "why": _why(settings, found[0]), "predictions": found}


def _why(settings: Settings, latest: dict[str, Any]) -> dict[str, Any] | str:
    """Every feature's share of the latest prediction, the greatest first."""
    import pyarrow as pa  # noqa: PLC0415  # as what follows: a sample does without

    from lakehouse.products.churn.contract import CUSTOMERS  # noqa: PLC0415

    said, facts = latest["prediction"], latest["input"]
    try:
        need_packages()
        scorer = Models(settings.lake.root).scorer(said["model_version"])
    except LakehouseError as error:
        return f"{error.place}: {error.fault}"
    kinds = {name: CUSTOMERS.schema.field(name).type for name in FEATURES}
    columns = [
        pa.array([facts[name]], pa.float64() if pa.types.is_decimal(kind) else kind)
        for name, kind in kinds.items()
    ]
    scores = scorer.score(pa.RecordBatch.from_arrays(columns, [*FEATURES]))
    shares = dict(
        zip((f.name for f in scorer.card.features), scores.contributions[0].tolist(), strict=True)
    )
    ordered = sorted(shares.items(), key=lambda one: -abs(one[1]))
    return {
        "base": round(scorer.card.base, 4),
        "log_odds": round(scorer.card.base + sum(shares.values()), 4),
        "probability": round(float(scores.probability[0]), 4),
        "contributions": [
            {"feature": name, "value": facts[name], "contribution": round(share, 4)}
            for name, share in ordered
        ],
    }


def _traced(settings: Settings, sql: str) -> list[dict[str, Any]]:
    rows = read(Catalogue(settings.lake.root), sql, settings.explorer).to_pylist()
    return [
        {
            "input": {name: _plain(row[f"in_{name}"]) for name in _FACTS},
            "prediction": {name: _plain(row[f"said_{name}"]) for name in _SAID}
            | {"contributions": json.loads(row["said_contributions"])},
        }
        for row in rows
    ]


def _plain(value: Any) -> Any:
    """A decimal of four digits as a number: JSON writes the same digits."""
    return float(value) if isinstance(value, Decimal) else value
