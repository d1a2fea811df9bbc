"""Where every record that the producer sent ended: in each table that takes it."""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse.explorer.accounted import Line
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.sql import read
from lakehouse.products.churn.contract import FEATURES
from lakehouse.products.churn.proof.outcomes import dead_letters
from lakehouse.settings.settings import Settings

_FOUND = """
SELECT (SELECT count(*) FROM bronze.churn) AS customers,
    (SELECT count(DISTINCT customerID) FROM bronze.churn) AS persons,
    (SELECT count(*) FROM quarantine.churn) AS broken,
    (SELECT count(*) FROM bronze.churn_predictions) AS predictions,
    (SELECT count(DISTINCT (input_partition, input_offset)) FROM bronze.churn_predictions)
        AS inputs,
    (SELECT count(*) FROM quarantine.churn_predictions) AS odd,
    (SELECT coalesce(sum(customers), 0) FROM silver.churn_inputs) AS binned,
    (SELECT count(*) FROM silver.churn_predictions_current) AS latest,
    (SELECT coalesce(sum(customers), 0) FROM silver.churn_predictions_risk) AS at_risk,
    (SELECT coalesce(sum(predictions), 0) FROM silver.churn_predictions_scores) AS scores,
    (SELECT coalesce(sum(predictions), 0) FROM silver.churn_predictions_latency) AS timed"""


def account(catalogue: Catalogue, settings: Settings, by_kind: Mapping[str, int]) -> list[Line]:
    """What was sent, by kind, against every table and the topic of dead letters."""
    [row] = read(catalogue, _FOUND, settings.explorer).to_pylist()
    found = {name: int(number) for name, number in row.items()}
    corrupt = sum(n for kind, n in by_kind.items() if kind.startswith("corrupt"))
    kept = sum(by_kind.values()) - corrupt
    letters = sum(1 for _ in dead_letters(settings))
    return [
        Line("keeps the contract", "bronze.churn", kept, found["customers"]),
        Line("breaks the contract", "quarantine.churn", corrupt, found["broken"]),
        Line("breaks the contract", "topic of dead letters", corrupt, letters),
        Line("keeps the contract", "bronze.churn_predictions", kept, found["predictions"]),
        Line("each record once", "bronze.churn_predictions", kept, found["inputs"]),
        Line("odd predictions", "quarantine.churn_predictions", 0, found["odd"]),
        Line("a feature", "churn_inputs", kept * len(FEATURES), found["binned"]),
        Line("a prediction", "churn_predictions_scores", kept, found["scores"]),
        Line("a prediction", "churn_predictions_latency", kept, found["timed"]),
        Line("a customer", "churn_predictions_current", found["persons"], found["latest"]),
        Line("a customer", "churn_predictions_risk", found["persons"], found["at_risk"]),
    ]
