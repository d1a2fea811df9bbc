"""Customers drawn at random, on which two forms of a model are compared where training is far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from lakehouse.products.churn.contract import CUSTOMERS
from lakehouse.products.churn.model.encoding import TRAIN_AGAIN, Feature, ModelRefused
from lakehouse.products.churn.model.scoring import Scorer
from lakehouse.products.churn.model.training import MOST_DIFFERENCE, as_frame

_COUNT, _SEED = 1000, 7
_MOST = {"SeniorCitizen": 1, "tenure": 100, "MonthlyCharges": 150, "TotalCharges": 10_000}


def drawn(features: Sequence[Feature]) -> pa.RecordBatch:
    """So many customers with every value that the features may have, as the contract has them."""
    dice = np.random.default_rng(_SEED)
    columns = {}
    for feature in features:
        kind = CUSTOMERS.schema.field(feature.name).type
        if feature.values:
            cells = pa.array(dice.choice(feature.values, _COUNT).tolist(), kind)
        else:
            whole = dice.integers(0, _MOST[feature.name], _COUNT, endpoint=True).tolist()
            cells = pa.array([str(number) for number in whole]).cast(kind)
        columns[feature.name] = cells
    return pa.RecordBatch.from_pydict(columns)


def check_same(pipeline: Any, scorer: Scorer, place: str) -> None:
    """ModelRefused where a pipeline and a compiled model do not say the same of any customers."""
    rows = drawn(scorer.card.features)
    try:
        _check_trees(pipeline, scorer.encoding.width)
        trained = pipeline.predict_proba(as_frame(rows))[:, 1]
    except Exception as error:  # noqa: BLE001  # a stranger's pipeline can raise anything
        raise ModelRefused(place, f"cannot score: {str(error)[:200]}", TRAIN_AGAIN) from None
    difference = float(np.abs(scorer.score(rows).probability - trained).max())
    if not difference <= MOST_DIFFERENCE:
        raise ModelRefused(
            place, f"its two files are of different models: they differ by {difference:.2g}",
            TRAIN_AGAIN,
        )  # fmt: skip


def _check_trees(pipeline: Any, width: int) -> None:
    """ValueError where a tree leads out of itself: scikit-learn would read foreign memory.

    A child's number is above its parent's, so that there is no circle either.
    """
    for (tree,) in pipeline["trees"].estimators_:
        inner = tree.tree_
        count, each = inner.node_count, np.arange(inner.node_count)
        is_inner = inner.children_left != -1
        for children in (inner.children_left, inner.children_right):
            within = (children[is_inner] > each[is_inner]) & (children[is_inner] < count)
            if not within.all():
                raise ValueError("a node of a tree has children that are none")
        if not ((inner.feature[is_inner] >= 0) & (inner.feature[is_inner] < width)).all():
            raise ValueError("a node of a tree asks for a column that is not there")
