"""The archive of Spark's classes, made once for each Java, PySpark and set of jars.

A small Spark session that does what a flow does makes it; see :mod:`lakehouse.core.archives`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyspark
from pyspark.sql import DataFrame, SparkSession

from lakehouse.core.archives import OF_EVERY_JVM, QUIET, Archives, key_of, options
from lakehouse.core.lock import one_at_a_time
from lakehouse.core.processes import finished, own_environment, python
from lakehouse.core.text import Say
from lakehouse.products.registry import contracts, load_settings
from lakehouse.runtime.session import Engine, session

LIMIT_SECONDS = 180
_KAFKA = (
    "org.apache.kafka.clients.consumer.KafkaConsumer",
    "org.apache.kafka.clients.admin.KafkaAdminClient",
    "org.apache.kafka.common.protocol.ApiKeys",
)


def with_archive(engine: Engine, cache: Path, say: Say) -> Engine:
    """The engine with the option that makes its JVM use the archive in ``cache``; made if missing.

    The engine is unchanged if the archive cannot be made, or another process is making it. A
    failed attempt is not repeated; an archive that was cut short is made again.
    """
    archives = Archives(cache, "spark", _key(engine))
    try:
        if fault := archives.opened():
            say(f"{archives.folder}: {fault}: Spark starts without an archive of its classes")
            return engine
        path = archives.whole()
        if path is None:
            with one_at_a_time(archives.folder / "lock", wait=False) as alone:
                if not alone:
                    return engine
                say("preparing Spark's classes, once, so that it starts sooner (half a minute)")
                path = _make(engine, archives)
        told = options(path)
    except OSError:
        return engine
    return replace(engine, java_options=(*engine.java_options, *told)) if told else engine


def _key(engine: Engine) -> str:
    spec = find_spec("pyspark")
    jars = Path(spec.origin).parent / "jars" if spec and spec.origin else Path()
    own = (pyspark.__version__, str(jars), str(jars.stat().st_mtime_ns))
    return key_of(engine.java_home, engine.jars, *own)


def _make(engine: Engine, archives: Archives) -> Path:
    """Run the training in a process of its own; leaves an empty file if it failed."""
    for left in archives.folder.glob("part-*"):
        shutil.rmtree(left, ignore_errors=True)
    kept = {
        name: value for name, value in os.environ.items()
        if not name.startswith("LAKEHOUSE_") and name not in OF_EVERY_JVM
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=archives.folder, prefix="part-") as part:
        made = Path(part, "archive")
        words = [str(engine.java_home), str(made), part, *map(str, engine.jars)]
        try:
            finished(
                python("-m", __name__, *words), cwd=part, timeout=LIMIT_SECONDS, check=True,
                env=own_environment(kept),
            )  # fmt: skip
        except subprocess.SubprocessError:
            made.unlink(missing_ok=True)
        made.touch()
        return archives.take(made)


def train(java_home: Path, archive: Path, folder: Path, jars: list[Path]) -> None:
    """Do what a flow does, in a JVM that writes an archive of its classes when it ends."""
    told = (f"-XX:ArchiveClassesAtExit={archive}", "-XX:TieredStopAtLevel=1", *QUIET)
    defaults = folder / "config.ini"
    defaults.write_text("".join(f"[{name}]\ntopic = {name}\n" for name in contracts()))
    settings = load_settings(defaults)
    spark = session(settings, "archive", Engine(java_home, jars, told))
    try:
        _work(spark, folder)
    finally:
        jvm: Any = spark.sparkContext._gateway
        process = jvm.proc
        spark.stop()
        process.stdin.close()
        if process.wait(LIMIT_SECONDS):
            raise SystemExit("the JVM could not write its archive")


def _work(spark: SparkSession, folder: Path) -> None:
    table = f"{folder}/table"
    spark.range(10).selectExpr("id", "id % 2 AS part").write.format("delta").partitionBy(
        "part"
    ).save(table)
    spark.read.format("delta").load(table).groupBy("part").count().toArrow()
    jvm: Any = spark._jvm
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    for name in _KAFKA:
        jvm.java.lang.Class.forName(name, True, loader)
    nowhere = {"kafka.bootstrap.servers": "127.0.0.1:1", "subscribe": "none"}
    spark.readStream.format("kafka").options(**nowhere).load()
    ticks = spark.readStream.format("rate-micro-batch")
    landed: list[int] = []
    query = (
        ticks.options(rowsPerBatch="10", numPartitions="2")
        .load()
        .selectExpr("CAST(CAST(value AS string) AS binary) AS rows")
        .mapInArrow(partial(_as_they_are), "rows binary")
        .writeStream.foreachBatch(partial(_land, landed))
        .option("checkpointLocation", f"{folder}/checkpoint")
        .start()
    )
    while len(landed) < 3 and query.isActive:
        time.sleep(0.1)
    query.stop()


def _as_they_are(batches: Iterator[Any]) -> Iterator[Any]:
    return batches


def _land(landed: list[int], rows: DataFrame, batch: int) -> None:
    rows.toArrow()
    landed.append(batch)


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), [Path(p) for p in sys.argv[4:]])
