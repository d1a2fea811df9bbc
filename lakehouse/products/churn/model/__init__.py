"""The model of churn: trained, kept by version, and run on customers in three ways.

A version is a folder under ``<root>/models/churn``: the trained pipeline, the same trees compiled,
and a card that says what they are. What scores runs the compiled one; the two are compared when
a version is saved, promoted and audited.
"""

from __future__ import annotations

from importlib.util import find_spec

from lakehouse.core.errors import ServiceUnavailable


def need_packages() -> None:
    """ServiceUnavailable where the packages of the extra ``churn`` are not installed."""
    lacking = [name for name in ("sklearn", "skops", "onnx", "onnxruntime") if not find_spec(name)]
    if lacking:
        raise ServiceUnavailable(
            "the model of churn", f"needs packages that are not here: {', '.join(lacking)}",
            "pip install 'lakehouse[churn]', or in the project's folder: make setup-dev",
        )  # fmt: skip
