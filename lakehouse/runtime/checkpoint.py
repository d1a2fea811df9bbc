"""Spark's checkpoint held against the table: the table says where Kafka stands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from lakehouse.publish.ends import Ends


class Checkpoint:
    """The checkpoint folder of one Kafka flow, on any file system that Spark reads."""

    def __init__(self, spark: SparkSession, uri: str) -> None:
        self.uri = uri
        self._spark = spark

    def offsets(self, batch_id: int) -> dict[str, dict[int, int]]:
        """Topic → partition → end offset that Spark planned for a batch."""
        lines = self._read(f"offsets/{batch_id}").splitlines()
        planned: dict[str, dict[str, int]] = json.loads(lines[2])
        return {t: {int(p): int(o) for p, o in parts.items()} for t, parts in planned.items()}

    def start(self) -> dict[str, dict[int, int]] | None:
        """Where the next batch starts: the newest batch done; None with no batch done yet.

        Raises ValueError or OSError where the folder cannot be understood.
        """
        planned, done = self._numbers("offsets"), self._numbers("commits")
        if planned and (not done or max(done) < max(planned) - 1):
            if min(planned) == 0 and not done:
                return None
            raise ValueError("commits are missing")
        if done and max(done) not in planned:
            raise ValueError("offsets are missing")
        for number in planned:
            self.offsets(number)
        return self.offsets(max(done)) if done else None

    def fits(self, ends: Ends) -> bool:
        """Whether the query can go on from here without leaving out a record."""
        try:
            start = self.start()
            if start is None:
                return not ends.next or not self._numbers("offsets")
        except Exception:  # noqa: BLE001  # a damaged checkpoint, however it fails to be read
            return False
        return ends.reached(start.get(ends.topic, {}))

    def exists(self) -> bool:
        """Whether there is anything in the folder."""
        return bool(self._numbers("offsets")) or self._fs().exists(self._path("metadata"))

    def set_aside(self) -> str:
        """Rename the folder; where it lies now."""
        number = 1
        while self._fs().exists(self._path(f"../{self._name()}.aside-{number}")):
            number += 1
        aside = f"../{self._name()}.aside-{number}"
        self._fs().rename(self._path(""), self._path(aside))
        return f"{self._name()}.aside-{number}"

    def _name(self) -> str:
        return self.uri.rstrip("/").rpartition("/")[2]

    def _read(self, name: str) -> str:
        if "://" not in self.uri:
            return Path(self.uri, name).read_text("utf-8")
        stream = self._fs().open(self._path(name))
        try:
            return str(self._jvm().org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))
        finally:
            stream.close()

    def _numbers(self, folder: str) -> list[int]:
        if not self._fs().exists(self._path(folder)):
            return []
        names = [s.getPath().getName() for s in self._fs().listStatus(self._path(folder))]
        return sorted(int(name) for name in names if name.isdigit())

    def _jvm(self) -> Any:
        return self._spark._jvm

    def _path(self, name: str) -> Any:
        path = self._jvm().org.apache.hadoop.fs.Path
        return path(f"{self.uri}/{name}" if name else self.uri)

    def _fs(self) -> Any:
        configuration = self._spark._jsc.hadoopConfiguration()
        return self._path("").getFileSystem(configuration)


def starting_offsets(ends: Ends, partitions: Mapping[int, Any]) -> str:
    """Spark's ``startingOffsets``: from the ends; partitions without one from the earliest."""
    return json.dumps(
        {ends.topic: {str(p): ends.next.get(p, -2) for p in sorted({*partitions, *ends.next})}}
    )
