"""Spark's daemon of Python workers, with what decoding needs imported before they are forked.

A worker then starts in milliseconds and shares the memory of its imports. Spark
runs it as a module, in the place of ``pyspark.daemon``.
"""

from __future__ import annotations

from pyspark import worker
from pyspark.daemon import manager

from lakehouse.ingest import decode

IMPORTED = (worker, decode)

if __name__ == "__main__":
    manager()
