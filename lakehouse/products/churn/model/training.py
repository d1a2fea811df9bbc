"""A model is trained: cross-validated, its threshold chosen, and measured on customers unseen."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version
from typing import Any
from zipfile import ZIP_DEFLATED

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.inspection import permutation_importance
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    precision_recall_curve,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from lakehouse.core.errors import UsageError
from lakehouse.core.progress import Counted
from lakehouse.products.churn.bins import bin_of
from lakehouse.products.churn.contract import CUSTOMERS, FEATURES
from lakehouse.products.churn.model.card import Calibrated, Card, Data, Quality
from lakehouse.products.churn.model.compiled import base_of, compiled
from lakehouse.products.churn.model.customers import Customers
from lakehouse.products.churn.model.encoding import Encoding, Feature, is_text, numbers
from lakehouse.products.churn.model.scoring import Scorer

PARAMETERS = {
    "n_estimators": 100, "max_depth": 2, "learning_rate": 0.1, "subsample": 0.5,
    "min_samples_leaf": 20, "max_features": 0.3,
}  # fmt: skip
FOLDS, _HELD_OUT, _REPEATS = 5, 0.2, 5
_LEAST = 50
"""Customers who left, and who stayed, below which nothing is measured well."""
MOST_DIFFERENCE = 1e-6
_POINTS = 101
Labels = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trained:
    """A version that can be saved."""

    card: Card
    pipeline: bytes
    """The pipeline of scikit-learn, as skops keeps it."""
    graph: bytes
    """The same trees in ONNX."""


def train(customers: Customers, *, seed: int, now: datetime) -> Trained:
    """A model of the customers whose churn is known; UsageError where they are too few.

    The kept model has not seen the fifth that is held out; its threshold is chosen on the others,
    by predictions of models that had not seen the customer.
    """
    rows, left = _labelled(customers)
    frame, steps = as_frame(rows), Counted("training", 4, "steps")
    folds = _folds_of(frame, left, seed)
    steps.add(1)
    learn, held = train_test_split(
        np.arange(len(left)), test_size=_HELD_OUT, random_state=seed, stratify=left
    )
    threshold = _threshold(left[learn], _unseen(frame.iloc[learn], left[learn], seed))
    steps.add(1)
    pipeline = untrained(seed).fit(frame.iloc[learn], left[learn])
    found: Shares = pipeline.predict_proba(frame)[:, 1]
    features, graph, base = _compiled(pipeline)
    steps.add(1)
    card = Card(
        version=f"{now:%Y%m%dT%H%M%SZ}-{sha256(graph).hexdigest()[:8]}",
        created_at=now,
        contract_version=CUSTOMERS.version,
        features=features,
        base=base,
        threshold=threshold,
        data=Data(
            customers.source, customers.sha256, len(left), int(left.sum()),
            customers.broken + customers.rows.num_rows - len(left),
        ),
        seed=seed,
        parameters=PARAMETERS,
        folds=folds,
        held_out=_quality(left[held], found[held], threshold),
        calibration=_calibration(left[held], found[held]),
        roc=_roc(left[held], found[held]),
        importance=_importance(pipeline, frame.iloc[held], left[held], seed),
        histograms=_histograms(rows, found),
        greatest_difference=0.0,
        packages=_packages(),
        files={},
    )  # fmt: skip
    steps.add(1)
    difference = check_equal(Scorer(card, graph, "the compiled model"), rows, found)
    card = msgspec.structs.replace(card, greatest_difference=difference)
    return Trained(card, skops.io.dumps(pipeline, compression=ZIP_DEFLATED), graph)


def untrained(seed: int) -> Pipeline:
    """The pipeline over :func:`as_frame`: a column for each value of a text, then the trees."""
    texts, others = ([n for n in FEATURES if is_text(n) is kind] for kind in (True, False))
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("texts", one_hot, texts), ("numbers", "passthrough", others)])
    trees = GradientBoostingClassifier(**PARAMETERS, random_state=seed)
    return Pipeline([("columns", columns), ("trees", trees)])


def as_frame(rows: pa.RecordBatch) -> pd.DataFrame:
    """The features as the pipeline takes them: text, and numbers, 0 where there is none."""
    return pd.DataFrame(
        {
            name: rows.column(name).to_pylist() if is_text(name) else numbers(rows.column(name))
            for name in FEATURES
        }
    )


def check_equal(scorer: Scorer, rows: pa.RecordBatch, trained: Shares) -> float:
    """The greatest difference of a compiled model's probabilities from the trained one's.

    AssertionError where it is more than 1e-6: then ``compiled`` is wrong.
    """
    difference = float(np.abs(scorer.score(rows).probability - trained).max())
    if not difference <= MOST_DIFFERENCE:
        raise AssertionError(f"the compiled model differs by {difference} from the trained one")
    return difference


def _labelled(customers: Customers) -> tuple[pa.RecordBatch, Labels]:
    """The customers whose churn is known, and whether they left."""
    table = customers.rows.filter(customers.rows.column("Churn").is_valid()).combine_chunks()
    left = np.array([cell == "Yes" for cell in table.column("Churn").to_pylist()], np.int64)
    if min(left.sum(), len(left) - left.sum()) < _LEAST:
        also = f"; the first fault: {customers.example}" if customers.broken else ""
        raise UsageError(
            customers.source, f"has {len(left):,} customers who keep the contract and whose churn "
            f"is known, {left.sum():,} of whom left; {customers.broken:,} broke it{also}",
            f"give {_LEAST} or more who left, and as many who stayed",
        )  # fmt: skip
    return table.to_batches()[0], left


def _compiled(pipeline: Pipeline) -> tuple[tuple[Feature, ...], bytes, float]:
    """The features, the graph and the base of a fitted pipeline."""
    columns, trees = pipeline["columns"], pipeline["trees"]
    texts, others = columns.transformers_[0][2], columns.transformers_[1][2]
    values = dict(zip(texts, columns.named_transformers_["texts"].categories_, strict=True))
    features = tuple(Feature(n, tuple(map(str, values.get(n, ())))) for n in (*texts, *others))
    encoding = Encoding(features)
    return features, compiled(trees, encoding.groups, encoding.width), base_of(trees)


def _folds(seed: int) -> StratifiedKFold:
    return StratifiedKFold(FOLDS, shuffle=True, random_state=seed)


def _unseen(frame: pd.DataFrame, left: Labels, seed: int) -> Shares:
    """For each customer the probability by a model that had not seen him."""
    found = cross_val_predict(untrained(seed), frame, left, cv=_folds(seed), method="predict_proba")
    shares: Shares = found[:, 1]
    return shares


def _folds_of(frame: pd.DataFrame, left: Labels, seed: int) -> tuple[float, ...]:
    """AUC of each fold."""
    found = _unseen(frame, left, seed)
    return tuple(
        float(roc_auc_score(left[fold], found[fold])) for _, fold in _folds(seed).split(frame, left)
    )


def _threshold(left: Labels, unseen: Shares) -> float:
    """The threshold of the best F1, to 4 digits: as much for finding them as for being right."""
    precision, recall, thresholds = precision_recall_curve(left, unseen)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return round(float(thresholds[np.argmax(f1[:-1])]), 4)


def _quality(left: Labels, found: Shares, threshold: float) -> Quality:
    told = np.round(found, 4) >= threshold
    return Quality(
        auc=float(roc_auc_score(left, found)),
        accuracy=float(accuracy_score(left, told)),
        precision=float(precision_score(left, told)),
        recall=float(recall_score(left, told)),
        brier=float(brier_score_loss(left, found)),
    )


def _calibration(left: Labels, found: Shares) -> tuple[Calibrated, ...]:
    """Tenths of the probability; those without customers are left out."""
    tenths = np.minimum((found * 10).astype(int), 9)
    return tuple(
        Calibrated(int(those.sum()), float(found[those].mean()), float(left[those].mean()))
        for tenth in range(10)
        if (those := tenths == tenth).any()
    )


def _roc(left: Labels, found: Shares) -> tuple[tuple[float, float], ...]:
    false, true, _ = roc_curve(left, found)
    places = np.unique(np.linspace(0, len(false) - 1, _POINTS).astype(int))
    return tuple((round(float(false[n]), 5), round(float(true[n]), 5)) for n in places)


def _importance(
    pipeline: Pipeline, frame: pd.DataFrame, left: Labels, seed: int
) -> Mapping[str, float]:
    found = permutation_importance(
        pipeline, frame, left, scoring="roc_auc", n_repeats=_REPEATS, random_state=seed
    )
    told = zip(frame.columns, map(float, found.importances_mean), strict=True)
    return dict(sorted(told, key=lambda one: -one[1]))


def _histograms(rows: pa.RecordBatch, found: Shares) -> Mapping[str, Mapping[str, int]]:
    columns: dict[str, list[Any]] = {name: rows.column(name).to_pylist() for name in FEATURES}
    columns["probability"] = np.round(found, 4).tolist()
    return {
        name: dict(sorted(Counter(bin_of(name, cell) for cell in cells).items()))
        for name, cells in columns.items()
    }


def _packages() -> Mapping[str, str]:
    names = ("scikit-learn", "skops", "onnx", "onnxruntime", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in names}
