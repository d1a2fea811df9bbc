"""Which version of the model scores, asked again from time to time."""

from __future__ import annotations

import time

import structlog

from lakehouse.core.errors import LakehouseError
from lakehouse.products.churn.model.scoring import Scorer
from lakehouse.products.churn.model.store import Models

LOOK = 1.0
"""Seconds between two looks."""
log = structlog.get_logger("lakehouse")


class Current:
    """The version that scores: the promoted one, looked for again from time to time, or a named."""

    def __init__(self, models: Models, named: str = "") -> None:
        self._models, self._named = models, named
        self._scorer: Scorer | None = None
        self._looked = -LOOK
        self._refused = ""

    def scorer(self) -> Scorer:
        """The promoted version, or, where that one is refused, the one before; TableMissing."""
        now = time.monotonic()
        if self._scorer is None or now - self._looked >= LOOK:
            self._looked = now
            self._take(self._named or self._models.current())
        assert self._scorer is not None  # noqa: S101  # `_take` raised where there was none
        return self._scorer

    def _take(self, version: str) -> None:
        before = self._scorer.card.version if self._scorer else ""
        if version in {before, self._refused}:
            return
        try:
            self._scorer = self._models.scorer(version)
        except LakehouseError as error:
            if self._scorer is None:
                raise
            self._refused = version
            log.error("the promoted model is refused", version=version, reason=error.fault,
                      fix=error.remedy, scores=before)  # fmt: skip
        else:
            log.info("a model scores", version=version, instead_of=before or None)
