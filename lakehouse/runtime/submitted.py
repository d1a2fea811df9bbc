"""How a JVM that we start gets its options: by a file that no other user can read."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lakehouse.core.files import write_whole
from lakehouse.core.scratch import scratch_folder

_ARGUMENTS = "PYSPARK_SUBMIT_ARGS"


@contextmanager
def told_by_file(options: Mapping[str, str]) -> Iterator[None]:
    """A Spark session that is made meanwhile starts its JVM with these options.

    PySpark would put them on spark-submit's command line, and `[spark.conf]` holds secrets:
    every user of the machine sees it in `ps`. What SPARK_CONF_DIR says stays in force.
    """
    with scratch_folder("lakehouse-spark-") as folder:
        path = folder / "spark.properties"
        write_whole(path, properties(options).encode("ascii"), 0o600)
        before = os.environ.get(_ARGUMENTS)
        words = ["--properties-file", shlex.quote(str(path)), "--load-spark-defaults"]
        os.environ[_ARGUMENTS] = " ".join([*words, before or "pyspark-shell"])
        try:
            yield
        finally:
            if before is None:
                del os.environ[_ARGUMENTS]
            else:
                os.environ[_ARGUMENTS] = before


def properties(options: Mapping[str, str]) -> str:
    """Options as Java's properties, in ASCII: what could mean anything there is written out."""
    return "".join(f"{_written(key)}={_written(value)}\n" for key, value in options.items())


def _written(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9./_-]", _escape, text)


def _escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
