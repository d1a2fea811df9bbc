"""Bronze's customers scored in the driver, by any version, for comparison and backfills.

``silver.churn_predictions`` has a row for each record of ``bronze.churn`` and each version that
was asked for. It says the record's address, and nothing of the customer: an erasure leaves nothing
of a person here, and a query joins bronze. Each version follows bronze by itself: a commit says
which version of bronze each has applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakehouse.core.paths import Lake
from lakehouse.products.churn.contract import CUSTOMERS, FEATURES
from lakehouse.products.churn.model.scoring import SHARE, Scorer, decimals
from lakehouse.settings.settings import Settings
from lakehouse.storage.follower import Applied, Follower
from lakehouse.storage.increments import Increment
from lakehouse.storage.rows import DataFile, data_files
from lakehouse.storage.table import Table
from lakehouse.storage.upkeep import Upkeep

TABLE = "silver.churn_predictions"
_TIME = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        pa.field("topic", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("batch_id", pa.int64()),
        pa.field("prediction", pa.string(), nullable=False),
        pa.field("probability", SHARE, nullable=False),
        pa.field("threshold", SHARE, nullable=False),
        pa.field("scored_at", _TIME, nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
    ]
)
_ADDRESS = ("topic", "partition", "offset", "batch_id")
_AT_ONCE = 50_000
_NOTE = "models"


class LakeScorer(Follower):
    """One version's rows of the table; the caller holds the table's lock."""

    def __init__(self, settings: Settings, scorer: Scorer) -> None:
        most = settings.silver.max_rows_per_fold
        super().__init__("churn.scored", CUSTOMERS.name, settings, most)
        self._scorer, self.version_name = scorer, scorer.card.version
        self.table = Table.open(
            Lake(settings.lake.root).table(TABLE), SCHEMA, settings,
            partition_by=["model_version"],
            description="what each version of the model says of each record of bronze.churn",
        )  # fmt: skip
        self._upkeep = Upkeep(self.table)
        self.scored = 0
        """Records since it was made."""
        self.applied = {self.version_name: Applied.read(self._known().get(self.version_name))}

    def _known(self) -> dict[str, Any]:
        """What each version has applied, as the newest commit says."""
        return dict(self.table.last_note(_NOTE) or {})

    def note(self, applied: Applied) -> dict[str, Any]:
        """As every follower's, and what each version has applied."""
        told = super().note(applied)
        return {**told, _NOTE: {**self._known(), self.version_name: told["source"]}}

    def has_rows(self) -> bool:
        """Whether the table has rows of this version."""
        return bool(self._files())

    def apply(self, step: Increment) -> None:
        """Score an increment's rows in one commit that says so."""
        applied = self.at(step.version)
        rows = pa.concat_tables([SCHEMA.empty_table(), *self._scored(step.files)])
        self.table.append(rows, self.note(applied))
        self.applied = {self.version_name: applied}

    def start_over(self, target: int) -> None:
        """Replace this version's rows by all of bronze, scored, in one commit."""
        applied, gone = self.at(target), [file.removal() for file in self._files()]
        parts = (rows for step in self.whole(target) for rows in self._scored(step.files))
        self.table.exchange(parts, gone, self.note(applied))
        self.applied = {self.version_name: applied}

    def maintain(self) -> None:
        """Compact and remove old files, as settings say."""
        self._upkeep.run()

    def _files(self) -> list[DataFile]:
        """The table's files of this version."""
        found = data_files(self.table.dt, self.table.uri)
        return [f for f in found if f.values.get("model_version") == self.version_name]

    def _scored(self, files: tuple[str, ...]) -> Iterator[pa.Table]:
        for file in files:
            with pq.ParquetFile(file) as opened:
                for rows in opened.iter_batches(_AT_ONCE, columns=[*_ADDRESS, *FEATURES]):
                    yield self._told(rows)

    def _told(self, rows: pa.RecordBatch) -> pa.Table:
        card, size = self._scorer.card, rows.num_rows
        self.scored += size
        threshold = round(card.threshold * 10_000)
        shares = self._scorer.score(rows).rounded()
        columns = {
            **{name: rows.column(name) for name in _ADDRESS},
            "prediction": pc.if_else(pa.array(shares >= threshold), "Yes", "No"),
            "probability": decimals(shares),
            "threshold": decimals(np.full(size, threshold)),
            "scored_at": pa.repeat(pa.scalar(datetime.now(UTC), _TIME), size),
            "model_version": pa.repeat(card.version, size),
        }  # fmt: skip
        return pa.table([columns[name] for name in SCHEMA.names], SCHEMA)
