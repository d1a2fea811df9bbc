"""The card of a model: what it is, how it was made, how good it is, and what it was made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from lakehouse.products.churn.model.encoding import Feature


class Data(msgspec.Struct, frozen=True):
    """What a model was trained on."""

    source: str
    sha256: str
    """Of the file, or of the values of generated customers one after the other."""
    rows: int
    churned: int
    left_out: int
    """Records that broke the contract, or did not say whether the customer left."""


class Quality(msgspec.Struct, frozen=True):
    """Shares from 0 to 1 at the chosen threshold; AUC and Brier score do without one."""

    auc: float
    accuracy: float
    precision: float
    recall: float
    brier: float


class Calibrated(msgspec.Struct, frozen=True):
    """Held-out customers with a similar probability: how many, and what became of them."""

    customers: int
    predicted: float
    observed: float


class Card(msgspec.Struct, frozen=True):
    """A model's card: the JSON file beside it, which what scores reads."""

    version: str
    created_at: datetime
    contract_version: int
    features: tuple[Feature, ...]
    base: float
    """Log odds before anything is known of a customer: contributions are added to it."""
    threshold: float
    """With at most 4 digits: a customer is told to leave from this probability on."""
    data: Data
    seed: int
    parameters: Mapping[str, float]
    folds: tuple[float, ...]
    """AUC of each of the five folds of the cross-validation, over all customers."""
    held_out: Quality
    """On a fifth of the customers, which the model has not seen."""
    calibration: tuple[Calibrated, ...]
    roc: tuple[tuple[float, float], ...]
    """Points of false positives and true positives, on the held-out customers."""
    importance: Mapping[str, float]
    """Feature → how much AUC falls on held-out customers when it is shuffled; greatest first."""
    histograms: Mapping[str, Mapping[str, int]]
    """Feature, or ``probability``, → bin → customers trained on: what drift is measured against."""
    greatest_difference: float
    """Between the probabilities of the trained and of the compiled model."""
    packages: Mapping[str, str]
    files: Mapping[str, str]
    """File → its SHA-256."""

    @property
    def auc(self) -> float:
        """The mean over the folds."""
        return sum(self.folds) / len(self.folds)


_ABOUT = """\
Says which customers of a telephone company are about to leave: gradient boosted trees over {n}
facts of the contract `churn`, version {contract}. It was trained on {source}, which says nothing
of other companies' customers: train it on yours. Contributions are shares of the log odds along
the trees' paths (Saabas); they say what the model used, not what causes anything."""


def markdown(card: Card) -> str:
    """The card for a person."""
    quality = msgspec.structs.asdict(card.held_out)
    data = card.data
    about = _ABOUT.format(n=len(card.features), contract=card.contract_version, source=data.source)
    facts = {
        "trained": f"{card.created_at:%Y-%m-%d %H:%M:%S} UTC, seed {card.seed}",
        "data": f"{data.source}: {data.rows:,} customers, {data.churned:,} of them left; "
        f"{data.left_out:,} records left out",
        "data's SHA-256": data.sha256,
        "parameters": ", ".join(f"{name} {value:g}" for name, value in card.parameters.items()),
        "packages": ", ".join(f"{name} {version}" for name, version in card.packages.items()),
        "compiled": f"differs from scikit-learn by at most {card.greatest_difference:.1e}",
    }
    folds = ", ".join(f"{fold:.4f}" for fold in card.folds)
    return "\n".join(
        [
            f"# Model of churn, version {card.version}\n",
            f"{about}\n",
            *_table(("", ""), facts.items()),
            f"\nFive-fold cross-validation: AUC {card.auc:.4f} ({folds}).\n",
            f"Held-out customers, at the threshold {card.threshold:g}:\n",
            *_table(("measure", "value"), ((k, f"{v:.4f}") for k, v in quality.items())),
            "\nCalibration, on the same:\n",
            *_table(
                ("customers", "predicted to leave", "left"),
                (
                    (c.customers, f"{c.predicted:.3f}", f"{c.observed:.3f}")
                    for c in card.calibration
                ),
            ),
            "\nImportance: how much AUC falls when a feature is shuffled:\n",
            *_table(("feature", "AUC"), ((k, f"{v:.4f}") for k, v in card.importance.items())),
            "",
        ]
    )  # fmt: skip


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    return [f"| {' | '.join(map(str, cells))} |" for cells in (head, ["---"] * len(head), *rows)]
