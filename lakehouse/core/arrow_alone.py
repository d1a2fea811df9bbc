"""Arrow without pandas, in processes that never use that."""

from __future__ import annotations

import sys

import pyarrow as pa


class _WithoutPandas:
    """Says of pandas that it is not installed."""

    def find_spec(self, name: str, _path: object, _target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def without_pandas() -> None:
    """Let Arrow ask for pandas now, in vain, and never again.

    It would load it with its first array: a quarter of a second and 40 MB, for nothing.
    Whoever imports pandas, or calls Arrow's ``to_pandas``, still gets it.
    """
    finder = _WithoutPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([None])
    finally:
        sys.meta_path.remove(finder)
