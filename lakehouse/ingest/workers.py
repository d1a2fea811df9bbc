"""Spark's daemon of Python workers, with what decoding needs imported before they are forked.

A worker then starts in milliseconds and shares the memory of its imports. Spark
runs it as a module, in the place of ``pyspark.daemon``.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder

_FOLDERS = [place for place in sys.path if not place.endswith((".zip", ".jar"))]
if PathFinder.find_spec("pyspark", _FOLDERS):  # Spark's own zips are compiled at each import
    sys.path[:] = _FOLDERS

# E402: what follows is imported from _FOLDERS alone
import pandas  # noqa: E402  # pyarrow asks for it
from pyspark import worker  # noqa: E402
from pyspark.daemon import manager  # noqa: E402

from lakehouse.ingest import decode  # noqa: E402

IMPORTED = (pandas, worker, decode)

if __name__ == "__main__":
    manager()
