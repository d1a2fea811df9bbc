"""What the doctor asks of churn: can it score, and is the version that scores whole."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from lakehouse.core.errors import LakehouseError
from lakehouse.doctor.check import Check
from lakehouse.products.churn.contract import CUSTOMERS
from lakehouse.products.churn.model.store import Models
from lakehouse.settings.settings import Settings

_PACKAGES = ("onnxruntime", "skops", "sklearn")


def checks(settings: Settings) -> Iterator[Check]:
    """Its packages, and the promoted version's files, which are loaded and compared."""
    name, models = CUSTOMERS.name, Models(settings.lake.root)
    if not models.versions():
        yield Check(name, "model", "pass", "none: nothing has been trained here")
        return
    if lacking := [package for package in _PACKAGES if find_spec(package) is None]:
        yield Check(
            name, "packages", "warn", f"{', '.join(lacking)} is not installed: nothing is scored",
            "pip install 'lakehouse[churn]'",
        )  # fmt: skip
        return
    try:
        promoted = models.promoted()
        if promoted is None:
            yield Check(
                name, "model", "warn", "no version is promoted: nothing is scored",
                "lakehouse churn promote VERSION; lakehouse churn models lists them",
            )  # fmt: skip
            return
        models.check(promoted.version)
        auc = models.card(promoted.version).auc
    except LakehouseError as error:
        yield Check(name, "model", "fail", f"{error.place} {error.fault}", error.remedy)
        return
    yield Check(name, "model", "pass", f"{promoted.version} scores, AUC {auc:.3f}")
