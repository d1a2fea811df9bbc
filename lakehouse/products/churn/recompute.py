"""What the silver tables of churn must hold, as SQL over bronze: the audit's own words.

Each statement reads ``counted``, the rows of bronze that are not duplicates.
"""

from __future__ import annotations

from typing import Any

from lakehouse.model.recompute import WHOLE, Recompute, Recomputes
from lakehouse.model.witness import Kind, Raw, Witness, parse_object, whole_value

COUNTED = "SELECT * FROM bronze_then WHERE NOT is_duplicate"

_WORDS = (
    "gender", "SeniorCitizen", "Partner", "Dependents", "PhoneService", "MultipleLines",
    "InternetService", "OnlineSecurity", "OnlineBackup", "DeviceProtection", "TechSupport",
    "StreamingTV", "StreamingMovies", "Contract", "PaperlessBilling", "PaymentMethod",
)  # fmt: skip
_EDGES = {
    "tenure": "[1, 7, 13, 25, 37, 49, 61]",
    "MonthlyCharges": "[20, 30, 40, 50, 60, 70, 80, 90, 100, 110]",
    "TotalCharges": "[100, 250, 500, 1000, 1500, 2500, 4000, 6000]",
}


def _between(value: str, edges: str) -> str:
    """SQL: the words for where a number lies, by how many edges it has reached."""
    reached = f"len(list_filter({edges}, lambda edge: edge <= {value}))"
    return (
        f"CASE {reached} WHEN 0 THEN 'below ' || {edges}[1] "
        f"WHEN len({edges}) THEN 'from ' || {edges}[len({edges})] "
        f"ELSE {edges}[{reached}] || ' to ' || {edges}[{reached} + 1] END"
    )


INPUTS = " UNION ALL ".join(
    [
        f"SELECT CAST(event_time AS DATE) AS day, '{name}' AS feature, "
        f"CAST({name} AS VARCHAR) AS bin, count(*) AS customers FROM counted GROUP BY ALL"
        for name in _WORDS
    ]
    + [
        f"SELECT CAST(event_time AS DATE) AS day, '{name}' AS feature, "
        f"coalesce(CASE WHEN {name} IS NOT NULL THEN {_between(name, edges)} END, 'blank') AS bin, "
        "count(*) AS customers FROM counted GROUP BY ALL"
        for name, edges in _EDGES.items()
    ]
)

_LATEST = """
    SELECT * FROM counted QUALIFY row_number() OVER (
        PARTITION BY customerID ORDER BY event_time DESC, scored_at DESC, input_partition DESC,
            input_offset DESC, model_version DESC) = 1
"""
_PLACE = """
    format('{:020d}-{:020d}-{:020d}-{:020d}-{}', epoch_us(event_time), epoch_us(scored_at),
        input_partition, input_offset, model_version)
"""
_BLOCK = "unicode(substr(md5(customerID), 1, 1)) % 16"
CURRENT = f"""
SELECT customerID, Contract, tenure, PaymentMethod, MonthlyCharges, Churn, prediction,
    probability, threshold, model_version, contributions, event_time AS known_at, scored_at,
    input_topic, input_partition, input_offset, {_PLACE} AS sequence, {_BLOCK} AS block
FROM ({_LATEST})
"""
HISTORY = f"""
WITH placed AS (
    SELECT DISTINCT customerID, prediction, event_time, {_PLACE} AS sequence, {_BLOCK} AS block
    FROM counted
), turned AS (
    SELECT *, coalesce(prediction <> lag(prediction) OVER of_one, true) AS turns
    FROM placed WINDOW of_one AS (PARTITION BY customerID ORDER BY sequence)
), numbered AS (
    SELECT *, count_if(turns) OVER (PARTITION BY customerID ORDER BY sequence) AS number
    FROM turned
), runs AS (
    SELECT customerID, block, prediction, number, min(event_time) AS started_at,
        list({{'sequence': sequence, 'changed_at': event_time}} ORDER BY sequence) AS changes
    FROM numbered GROUP BY ALL
), ended AS (
    SELECT *, lead(started_at) OVER (PARTITION BY customerID ORDER BY number) AS ended_at
    FROM runs
)
SELECT customerID, prediction, started_at, ended_at,
    CAST(epoch(ended_at - started_at) AS DECIMAL(18, 3)) AS duration_seconds, changes, block
FROM ended
"""
# Whole ten-thousandths, divided as whole numbers: half of one is rounded up.
RISK = f"""
WITH now AS ({_LATEST}), sums AS (
    SELECT make_date(year(event_time), month(event_time), 1) AS month, Contract AS contract,
        ['0-12', '13-24', '25-48', '49-60', '61+'][
            1 + len(list_filter([13, 25, 49, 61], lambda least: least <= tenure))] AS tenure_band,
        PaymentMethod AS payment_method, count(*) AS customers,
        count(*) FILTER (prediction = 'Yes') AS leaving,
        CAST(sum(probability) AS DECIMAL(38, 4)) AS probability,
        CAST(sum(MonthlyCharges) AS DECIMAL(38, 4)) AS charges,
        CAST(coalesce(sum(MonthlyCharges) FILTER (prediction = 'Yes'), 0) AS DECIMAL(38, 4))
            AS at_risk
    FROM now GROUP BY ALL
)
SELECT *, CAST(CAST(
    {WHOLE.format("probability")} // customers
    + CASE WHEN 2 * ({WHOLE.format("probability")} % customers) >= customers THEN 1 ELSE 0 END
    AS DECIMAL(38, 0)) * 0.0001 AS DECIMAL(38, 4)) AS risk
FROM sums
"""
_TENTHS = "[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]"
SCORES = f"""
SELECT CAST(event_time AS DATE) AS day, model_version, {_between("probability", _TENTHS)} AS score,
    prediction, ifnull(Churn, 'unknown') AS known, count(*) AS predictions,
    CAST(sum(probability) AS DECIMAL(38, 4)) AS probability
FROM counted GROUP BY ALL
"""
# A number is read as text: its first two digits, one more where others follow, and zeros.
LATENCY = """
WITH timed AS (
    SELECT CAST(scored_at AS DATE) AS day, model_version, inference_ms,
        CAST(CAST(ceil(inference_ms * 1000) AS BIGINT) AS VARCHAR) AS us
    FROM counted
), rounded AS (
    SELECT day, model_version, inference_ms, CASE WHEN length(us) <= 2 THEN CAST(us AS BIGINT)
        ELSE CAST(CAST(CAST(substr(us, 1, 2) AS BIGINT)
            + CASE WHEN replace(substr(us, 3), '0', '') = '' THEN 0 ELSE 1 END AS VARCHAR)
            || repeat('0', length(us) - 2) AS BIGINT) END AS at_most_us
    FROM timed
)
SELECT day, model_version, at_most_us, count(*) AS predictions,
    CAST(sum(inference_ms) AS DECIMAL(38, 4)) AS milliseconds, max(inference_ms) AS slowest_ms
FROM rounded GROUP BY ALL
"""

CUSTOMER_TABLES = (Recompute("inputs", ("day", "feature", "bin"), INPUTS),)
PREDICTION_TABLES = (
    Recompute("risk", ("month", "contract", "tenure_band", "payment_method"), RISK),
    Recompute("scores", ("day", "model_version", "score", "prediction", "known"), SCORES),
    Recompute("latency", ("day", "model_version", "at_most_us"), LATENCY),
    Recompute("history", ("customerID", "started_at"), HISTORY, by="customerID"),
    Recompute("current", ("customerID",), CURRENT, by="customerID"),
)
"""Every silver table of churn."""

_FACTS = {
    "event_id": Kind.TEXT, "event_time": Kind.TIME, "customerID": Kind.TEXT,
    **dict.fromkeys(_WORDS, Kind.TEXT), "SeniorCitizen": Kind.WHOLE, "tenure": Kind.WHOLE,
    "MonthlyCharges": Kind.MONEY, "TotalCharges": Kind.MONEY, "Churn": Kind.TEXT,
}  # fmt: skip
_SAID = {
    "event_id": Kind.TEXT, "event_time": Kind.TIME, "customerID": Kind.TEXT,
    "input_event_id": Kind.TEXT, "input_topic": Kind.TEXT, "input_partition": Kind.WHOLE,
    "input_offset": Kind.WHOLE, "prediction": Kind.TEXT, "probability": Kind.MONEY,
    "threshold": Kind.MONEY, "model_version": Kind.TEXT, "contributions": Kind.TEXT,
    "Contract": Kind.TEXT, "tenure": Kind.WHOLE, "PaymentMethod": Kind.TEXT,
    "MonthlyCharges": Kind.MONEY, "Churn": Kind.TEXT, "scored_at": Kind.TIME,
    "inference_ms": Kind.MONEY,
}  # fmt: skip


def _customer(record: Raw) -> dict[str, Any]:
    """The value; charges that are blank text are none."""
    event = parse_object(record.value)
    total = event.get("TotalCharges")
    if type(total) is str and not total.strip():
        event["TotalCharges"] = None
    return event


RECOMPUTES = {
    "churn": Recomputes(
        COUNTED,
        CUSTOMER_TABLES,
        Witness(_FACTS, frozenset(_FACTS) - {"TotalCharges", "Churn"}, _customer),
    ),
    "churn_predictions": Recomputes(
        COUNTED, PREDICTION_TABLES, Witness(_SAID, frozenset(_SAID) - {"Churn"}, whole_value)
    ),
}
