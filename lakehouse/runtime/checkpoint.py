"""Spark's checkpoint: a working folder of one run. The table says where Kafka stands.

Each start makes it anew and begins at bronze's ends, so it does not matter what
became of the last one: lost, cut, rolled back, or ahead of a table that was restored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.publish.ends import Ends


class Checkpoint:
    """The checkpoint folder of one Kafka flow, on any file system that Spark reads."""

    def __init__(self, spark: SparkSession, uri: str) -> None:
        self.uri = uri
        self._spark = spark

    def clear(self) -> None:
        """Remove what an earlier run left; ServiceUnavailable where that cannot be done."""
        try:
            files = self._path("").getFileSystem(self._spark._jsc.hadoopConfiguration())
            if files.exists(self._path("")) and not files.delete(self._path(""), True):
                raise self._unusable("it cannot be removed")
        except Py4JJavaError as error:
            raise self._unusable(str(error.java_exception.getMessage())) from None

    def _unusable(self, reason: str) -> ServiceUnavailable:
        remedy = "mend the folder's rights, or remove it: the flow goes on from bronze's ends"
        return ServiceUnavailable(f"checkpoint {self.uri}", reason, remedy)

    def offsets(self, batch_id: int) -> dict[str, dict[int, int]]:
        """Topic → partition → end offset that Spark planned for a batch of this run."""
        lines = self._read(f"offsets/{batch_id}").splitlines()
        planned: dict[str, dict[str, int]] = json.loads(lines[2])
        return {t: {int(p): int(o) for p, o in parts.items()} for t, parts in planned.items()}

    def _read(self, name: str) -> str:
        if "://" not in self.uri:
            return Path(self.uri, name).read_text("utf-8")
        files = self._path("").getFileSystem(self._spark._jsc.hadoopConfiguration())
        stream = files.open(self._path(name))
        try:
            return str(self._jvm().org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))
        finally:
            stream.close()

    def _jvm(self) -> Any:
        return self._spark._jvm

    def _path(self, name: str) -> Any:
        path = self._jvm().org.apache.hadoop.fs.Path
        return path(f"{self.uri}/{name}" if name else self.uri)


def starting_offsets(ends: Ends, partitions: Iterable[int]) -> str:
    """Spark's ``startingOffsets`` for every partition: from the ends, or else the earliest."""
    return json.dumps({ends.topic: {str(p): ends.next.get(p, -2) for p in sorted(partitions)}})
