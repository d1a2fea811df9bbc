"""Each prediction is what its model says of its input, run again: from the tables alone.

A prediction is decided by whole ten-thousandths. Where the probability lies within a millionth of
the middle between two of them, either is right: compiled code may differ by that much.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.audit.check import Check, Scene
from lakehouse.core.errors import LakehouseError
from lakehouse.products.churn.contract import FEATURES
from lakehouse.products.churn.model import need_packages
from lakehouse.products.churn.model.store import Models

MOST_DIFFERENCE = 1e-6
"""Between the compiled model and itself on another machine."""
_UNITS = 10_000
_AT_ONCE = 100_000
_FIRST = 5
_CARRIED = ("event_time", "customerID", "Contract", "tenure", "PaymentMethod", "MonthlyCharges")
_CARRIED_ALIKE = " AND ".join(f"p.{name} = c.{name}" for name in _CARRIED)
_JOINED = f"""
SELECT p."partition", p."offset", p.customerID, p.model_version, p.prediction,
    CAST(p.probability * {_UNITS} AS BIGINT) AS probability,
    CAST(p.threshold * {_UNITS} AS BIGINT) AS threshold,
    p.event_id = p.input_event_id || '@' || p.model_version AND {_CARRIED_ALIKE}
        AND p.Churn IS NOT DISTINCT FROM c.Churn AS is_of_input, {{facts}}
FROM bronze AS p JOIN customers AS c
    ON p.input_topic = c.topic AND p.input_partition = c."partition"
    AND p.input_offset = c."offset" AND p.input_event_id = c.event_id
ORDER BY p.model_version
""".format(facts=", ".join(f"c.{name} AS in_{name}" for name in FEATURES))
NAME = "predictions"


def made_again(scene: Scene) -> Check:
    """Every prediction whose input is in bronze; doubts where a model cannot be run here."""
    snapshots = scene.snapshots
    if not snapshots.exists("bronze.churn"):
        return Check(NAME, doubts=("bronze.churn, of which they were made, is not there",))
    need_packages()
    scene.say("running the model again on each input")
    snapshots.pin("customers", "bronze.churn")
    reader = snapshots.connection.sql(_JOINED).to_arrow_reader(_AT_ONCE)
    found = _Found(Models(scene.settings.lake.root))
    for batch in reader:
        for version, rows in _by_version(batch):
            found.add(version, rows)
    return found.check()


def _by_version(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    versions = batch.column("model_version")
    for version in versions.unique().to_pylist():
        yield version, batch.filter(pc.equal(versions, version))


class _Found:
    """What is wrong with predictions, and how many were compared."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._scorers: dict[str, Any] = {}
        self._doubts: dict[str, str] = {}
        self._compared, self._wrong = 0, 0
        self._first: list[dict[str, Any]] = []

    def add(self, version: str, rows: pa.RecordBatch) -> None:
        """Compare predictions of one version with what it says now."""
        if (scorer := self._scorer(version)) is None:
            return
        facts = rows.select([f"in_{name}" for name in FEATURES]).rename_columns([*FEATURES])
        due = scorer.score(facts).probability * _UNITS
        said = _numbers(rows, "probability")
        threshold = _numbers(rows, "threshold")
        is_near = np.abs(due - said) <= 0.5 + MOST_DIFFERENCE * _UNITS
        told_yes = rows.column("prediction").to_numpy(zero_copy_only=False) == "Yes"
        is_right = is_near & (told_yes == (said >= threshold))
        is_right &= threshold == round(scorer.card.threshold * _UNITS)
        is_right &= rows.column("is_of_input").to_numpy(zero_copy_only=False).astype(bool)
        self._compared += len(said)
        wrong = np.flatnonzero(~is_right)
        self._wrong += len(wrong)
        for row in wrong[: _FIRST - len(self._first)].tolist():
            told = rows.slice(row, 1).to_pylist()[0]
            self._first.append(
                {
                    "partition": told["partition"], "offset": told["offset"],
                    "customerID": told["customerID"], "prediction": told["prediction"],
                    "probability": told["probability"] / _UNITS,
                    "again": round(float(due[row]) / _UNITS, 6),
                    "as its input": bool(told["is_of_input"]),
                }
            )  # fmt: skip

    def check(self) -> Check:
        """The answer."""
        fault = f"{self._wrong:,} predictions are not what their model says of their input"
        return Check(
            NAME, (fault,) if self._wrong else (), tuple(self._doubts.values()),
            {"predictions made again": self._compared}, tuple(self._first),
        )  # fmt: skip

    def _scorer(self, version: str) -> Any:
        """The version, its compiled trees being those that were trained; None, and a doubt."""
        if version not in self._scorers:
            try:
                self._models.check(version)
                self._scorers[version] = self._models.scorer(version)
            except LakehouseError as error:
                self._scorers[version] = None
                self._doubts[version] = f"{error.place}: {error.fault}"
        return self._scorers[version]


def _numbers(rows: pa.RecordBatch, name: str) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = rows.column(name).to_numpy(zero_copy_only=False)
    return found
