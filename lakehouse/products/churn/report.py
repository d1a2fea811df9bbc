"""The report of churn: who is about to leave, whether the model was right, drift and latency."""

from __future__ import annotations

from pathlib import Path

from lakehouse.core.errors import LakehouseError
from lakehouse.core.paths import Lake
from lakehouse.core.sql import text
from lakehouse.explorer.report import LookUp, Series, quality
from lakehouse.products.churn.settings import churn_of
from lakehouse.products.churn.views import broken, drift, latency, training
from lakehouse.settings.settings import Settings

_SUMS = (
    "CAST(sum(customers) AS BIGINT) AS customers, CAST(sum(leaving) AS BIGINT) AS leaving, "
    "round(sum(probability) / sum(customers), 4) AS risk, "
    "CAST(sum(charges) AS DECIMAL(38,2)) AS charges, "
    "CAST(sum(at_risk) AS DECIMAL(38,2)) AS at_risk"
)
_BY = " UNION ALL ".join(
    f'SELECT {place} AS part, {text(name)} AS "by", CAST({name} AS VARCHAR) AS value, {_SUMS} '
    f"FROM silver.churn_predictions_risk GROUP BY {name}"
    for place, name in enumerate(("contract", "tenure_band", "payment_method", "month"))
)
RISK = f"""
    SELECT "by", value, customers, leaving, risk, charges, at_risk FROM ({_BY})
    ORDER BY part, value"""
"""Customers by their latest prediction; charges are a month's."""

LEAVING = """
    SELECT customerID, probability, Contract, tenure, PaymentMethod, MonthlyCharges, known_at,
        model_version
    FROM silver.churn_predictions_current WHERE prediction = 'Yes'
    ORDER BY probability DESC, customerID LIMIT 10"""

OUTCOMES = """
    WITH told AS (SELECT model_version, CAST(sum(predictions) AS BIGINT) AS predictions,
        CAST(coalesce(sum(predictions) FILTER (known <> 'unknown'), 0) AS BIGINT) AS known,
        CAST(coalesce(sum(predictions) FILTER (prediction = 'Yes' AND known = 'Yes'), 0) AS BIGINT)
            AS left_as_told,
        CAST(coalesce(sum(predictions) FILTER (prediction = 'Yes' AND known = 'No'), 0) AS BIGINT)
            AS stayed_after_all,
        CAST(coalesce(sum(predictions) FILTER (prediction = 'No' AND known = 'Yes'), 0) AS BIGINT)
            AS left_untold,
        CAST(coalesce(sum(predictions) FILTER (prediction = 'No' AND known = 'No'), 0) AS BIGINT)
            AS stayed_as_told
        FROM silver.churn_predictions_scores GROUP BY model_version)
    SELECT *, round((left_as_told + stayed_as_told) / nullif(known, 0), 4) AS accuracy,
        round(left_as_told / nullif(left_as_told + stayed_after_all, 0), 4) AS "precision",
        round(left_as_told / nullif(left_as_told + left_untold, 0), 4) AS recall
    FROM told ORDER BY model_version"""

CALIBRATION = """
    SELECT model_version, score, CAST(sum(predictions) AS BIGINT) AS predictions,
        round(sum(probability) / sum(predictions), 4) AS predicted,
        round(coalesce(sum(predictions) FILTER (known = 'Yes'), 0) / sum(predictions), 4) AS left
    FROM silver.churn_predictions_scores WHERE known <> 'unknown'
    GROUP BY ALL ORDER BY model_version, predicted"""

DRIFT = """
    SELECT day, feature, records, psi, verdict, most_in_bin FROM churn_drift
    WHERE day = (SELECT coalesce(max(day) FILTER (verdict <> 'too few'), max(day)) FROM churn_drift)
    ORDER BY psi DESC, feature LIMIT 10"""
"""The newest day of which there are enough records, where there is one."""

LATENCY = "FROM churn_latency ORDER BY day DESC, model_version LIMIT 10"

REPORT = {
    "churn_risk": RISK,
    "churn_leaving": LEAVING,
    "churn_outcomes": OUTCOMES,
    "churn_calibration": CALIBRATION,
    "churn_drift": DRIFT,
    "churn_latency": LATENCY,
    **quality("churn", "churn_"),
    **quality("churn_predictions", "churn_predictions_"),
}
"""Section → SELECT, in order."""
TITLES = {
    "churn_risk": "churn: risk by contract, tenure, payment method and month",
    "churn_leaving": "churn: customers most likely to leave",
    "churn_outcomes": "churn: predicted against known, by model",
    "churn_calibration": "churn: predicted share against the share that left",
    "churn_drift": "churn: drift against training, the last day",
    "churn_latency": "churn: latency of predictions, and breaches of the limit",
}
"""Section → its title."""
LOOK_UPS = {
    "customer": LookUp(
        "one customer of churn, field by field",
        "SELECT * FROM silver.churn_predictions_current WHERE customerID = {0}",
        "customerID",
    )
}

_OF_RISK = "FROM silver.churn_predictions_risk"
FIGURES = {
    "about to leave": f"""
        SELECT CAST(sum(leaving) AS BIGINT) AS value,
            'of ' || CAST(sum(customers) AS BIGINT) || ' customers' AS moment
        {_OF_RISK} HAVING count(*) > 0""",
    "their charges": f"""
        SELECT CAST(sum(at_risk) AS DECIMAL(38,2)) AS value,
            'a month, of ' || CAST(sum(charges) AS DECIMAL(38,2)) AS moment
        {_OF_RISK} HAVING count(*) > 0""",
}
SERIES = {
    "predictions_by_day": Series(
        "predictions by day, and those that say: leaves",
        "SELECT day, CAST(sum(predictions) AS BIGINT) AS predictions, "
        "CAST(coalesce(sum(predictions) FILTER (prediction = 'Yes'), 0) AS BIGINT) AS leaving "
        "FROM silver.churn_predictions_scores GROUP BY day ORDER BY day",
        "day", ("predictions", "leaving"),
    ),
}  # fmt: skip
"""Name → picture over time."""


def views_of(settings: Settings) -> dict[str, str]:
    """``churn_training``, ``churn_drift`` and ``churn_latency``, by the promoted model's card.

    Without a model training and drift are empty; of a damaged one they say so when asked.
    """
    try:
        trained = _training(settings)
    except LakehouseError as error:
        trained = broken(f"{error.place}: {error.fault}")
    return {
        "churn_training": trained,
        "churn_drift": drift(trained),
        "churn_latency": latency(churn_of(settings).sla_ms),
    }


def _training(settings: Settings) -> str:
    """The view of what the promoted model was trained on; none is loaded where there is none."""
    if not Path(Lake(settings.lake.root).join("models", "churn")).is_dir():
        return training("", {})
    from lakehouse.products.churn.model.store import Models  # noqa: PLC0415  # loads Arrow's parts

    models = Models(settings.lake.root)
    promoted = models.promoted()
    if promoted is None:
        return training("", {})
    return training(promoted.version, models.card(promoted.version).histograms)
