"""What the audit asks of churn besides: one outcome a record, and predictions made again."""

from __future__ import annotations

from lakehouse.audit.check import Check, Scene
from lakehouse.products.churn.contract import CUSTOMERS, PREDICTIONS
from lakehouse.products.churn.proof.again import made_again
from lakehouse.products.churn.proof.outcomes import one_outcome


def outcomes(scene: Scene) -> Check:
    """Asked of customers: each record has one prediction, or one dead letter."""
    return one_outcome(scene) if scene.product == CUSTOMERS.name else Check("outcomes")


def predictions(scene: Scene) -> Check:
    """Asked of predictions: each is what its model says of its input, run again."""
    return made_again(scene) if scene.product == PREDICTIONS.name else Check("predictions")


CHECKS = {"outcomes": outcomes, "predictions": predictions}
