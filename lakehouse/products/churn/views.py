"""What is derived when it is read: drift against training, and percentiles of latency.

Drift is the population stability index, Σ (now - then) ln (now ÷ then) over the shares of bins
(Siddiqi, Credit Risk Scorecards, 2006): below 0.1 stable, from 0.25 on another population.
"""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse.core.sql import text

Histograms = Mapping[str, Mapping[str, int]]
"""Feature, or ``probability``, → bin → customers that a model was trained on."""
LEAST = 0.0001
"""The share of a bin that has nothing: a logarithm needs one."""
FEW = 200
"""Records of a day below which its drift says nothing: with 10 bins chance alone gives 0.05."""
MOVING, SHIFTED = 0.1, 0.25


def training(version: str, histograms: Histograms) -> str:
    """What the promoted model was trained on: a row a feature and bin, and its share.

    Without a model it has none, and is left out of a lake that has no churn.
    """
    rows = [(feature, bin_, n) for feature, bins in histograms.items() for bin_, n in bins.items()]
    values = ", ".join(f"({text(f)}, {text(b)}, {int(n)})" for f, b, n in rows or [("", "", 0)])
    return (
        f"SELECT {text(version)} AS model_version, feature, bin, "
        "CAST(customers AS BIGINT) AS customers, "
        "customers / sum(customers) OVER (PARTITION BY feature) AS share "
        f"FROM (VALUES {values}) AS t(feature, bin, customers)"
        f"{'' if rows else ' WHERE EXISTS (FROM bronze.churn WHERE false)'}"
    )


def drift(trained: str) -> str:
    """Each day and feature, and the score as ``probability``, against ``trained``."""
    return f"""
        WITH training AS ({trained}), counted AS (
            SELECT day, feature, bin, customers FROM silver.churn_inputs
            UNION ALL
            SELECT day, 'probability', score, CAST(sum(predictions) AS BIGINT)
            FROM silver.churn_predictions_scores SEMI JOIN training USING (model_version)
            GROUP BY ALL),
        totals AS (SELECT day, feature, CAST(sum(customers) AS BIGINT) AS records
            FROM counted GROUP BY ALL),
        bins AS (SELECT feature, bin FROM training UNION SELECT feature, bin FROM counted),
        shares AS (
            SELECT day, feature, records, bin,
                greatest(coalesce(counted.customers, 0) / records, {LEAST}) AS now,
                greatest(coalesce(training.share, 0), {LEAST}) AS was
            FROM totals JOIN bins USING (feature)
                LEFT JOIN counted USING (day, feature, bin)
                LEFT JOIN training USING (feature, bin)
            WHERE feature IN (SELECT feature FROM training)),
        found AS (SELECT day, feature, records, round(sum((now - was) * ln(now / was)), 4) AS psi,
                arg_max(bin, abs((now - was) * ln(now / was))) AS most_in_bin
            FROM shares GROUP BY ALL)
        SELECT day, feature, records, psi,
            CASE WHEN records < {FEW} THEN 'too few' WHEN psi >= {SHIFTED} THEN 'shifted'
                WHEN psi >= {MOVING} THEN 'moving' ELSE 'stable' END AS verdict, most_in_bin
        FROM found"""


def latency(sla_ms: float) -> str:
    """Each day and model: percentiles of inference_ms, to two digits upwards, and breaches."""
    ranked = ", ".join(
        f"min(at_most_us) FILTER (upto >= ceil(0.{n} * predictions)) / 1000 AS p{n}_ms"
        for n in (50, 95, 99)
    )
    return f"""
        WITH summed AS (
            SELECT day, model_version, at_most_us, slowest_ms, milliseconds, predictions AS here,
                CAST(sum(predictions) OVER (of_day ORDER BY at_most_us) AS BIGINT) AS upto,
                CAST(sum(predictions) OVER of_day AS BIGINT) AS predictions
            FROM silver.churn_predictions_latency
            WINDOW of_day AS (PARTITION BY day, model_version))
        SELECT day, model_version, predictions, {ranked}, max(slowest_ms) AS slowest_ms,
            CAST(coalesce(sum(here) FILTER (at_most_us > {sla_ms} * 1000), 0) AS BIGINT)
                AS breaches
        FROM summed GROUP BY day, model_version, predictions"""


def broken(fault: str) -> str:
    """The view in place of ``churn_training`` where the model's card cannot be read."""
    said = text(fault)
    return (
        f"SELECT error({said}) AS model_version, '' AS feature, '' AS bin, 0 AS customers, "
        "0.0 AS share"
    )
