"""An archive of Spark's classes, parsed once: each later JVM maps it and starts seconds sooner.

It is a class-data-sharing archive, made once for each Java, PySpark and set of jars by a small
Spark session that does what a flow does. A JVM that cannot use it runs without it.
``-XX:+AutoCreateSharedArchive`` would do this without our code, but needs JDK 19; we support 17.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyspark
from pyspark.sql import DataFrame, SparkSession

from lakehouse.core.files import distrust
from lakehouse.core.lock import one_at_a_time
from lakehouse.core.processes import finished, own_environment, python
from lakehouse.products.registry import contracts, load_settings
from lakehouse.runtime.session import Engine, session

_OF_EVERY_JVM = {"JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS"}
"""A JVM that is told to map one archive does not write another."""
KEPT = 3
"""How many archives of other environments are kept."""
LIMIT_SECONDS = 180
_QUIET = ("-Xlog:cds=off", "-Xlog:cds+dynamic=off")
_KAFKA = (
    "org.apache.kafka.clients.consumer.KafkaConsumer",
    "org.apache.kafka.clients.admin.KafkaAdminClient",
    "org.apache.kafka.common.protocol.ApiKeys",
)


def with_archive(engine: Engine, cache: Path, say: Callable[[str], None]) -> Engine:
    """The engine with the option that makes its JVM use the archive in ``cache``; made if missing.

    The engine is unchanged if the archive cannot be made, or another process is making it. A
    failed attempt is not repeated; an archive that was cut short is made again.
    """
    folder = cache / "archives"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if fault := distrust(cache.stat()) or distrust(folder.stat()):
            say(f"{folder}: {fault}: Spark starts without an archive of its classes")
            return engine
        path = _whole(folder, _key(engine))
        if path is None:
            with one_at_a_time(folder / "lock", wait=False) as alone:
                if not alone:
                    return engine
                say("preparing Spark's classes, once, so that it starts sooner (half a minute)")
                path = _make(engine, folder)
        if path.stat().st_size == 0:
            return engine
        os.utime(path)
    except OSError:
        return engine
    return replace(
        engine, java_options=(*engine.java_options, f"-XX:SharedArchiveFile={path}", *_QUIET)
    )


def _whole(folder: Path, key: str) -> Path | None:
    """The archive of this key, if it is complete: its name has its size, which no JVM checks.

    One that another user can write to is none: what is mapped into a JVM runs.
    """
    found = ((path, path.lstat()) for path in folder.glob(f"spark-{key}-*.jsa"))
    return next((path for path, at in found if _is_whole(path, at) and not distrust(at)), None)


def _is_whole(path: Path, at: os.stat_result) -> bool:
    return stat.S_ISREG(at.st_mode) and path.stem.rpartition("-")[2] == str(at.st_size)


def _key(engine: Engine) -> str:
    """What the archive depends on: a JVM refuses it if a jar, or a jar's time, has changed."""
    spec = find_spec("pyspark")
    jars = Path(spec.origin).parent / "jars" if spec and spec.origin else Path()
    release = engine.java_home / "release"
    parts = [str(engine.java_home), release.read_text("utf-8") if release.is_file() else ""]
    parts += [pyspark.__version__, str(jars), str(jars.stat().st_mtime_ns)]
    parts += [f"{jar}:{jar.stat().st_mtime_ns}" for jar in engine.jars]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _make(engine: Engine, folder: Path) -> Path:
    """Run the training in a process of its own; leaves an empty file if it failed."""
    for left in folder.glob("part-*"):
        shutil.rmtree(left, ignore_errors=True)
    for old in sorted(folder.glob("*.jsa"), key=lambda p: p.stat().st_mtime)[:-KEPT]:
        old.unlink()
    kept = {
        name: value for name, value in os.environ.items()
        if not name.startswith("LAKEHOUSE_") and name not in _OF_EVERY_JVM
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=folder, prefix="part-") as part:
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
        return made.rename(folder / f"spark-{_key(engine)}-{made.stat().st_size}.jsa")


def train(java_home: Path, archive: Path, folder: Path, jars: list[Path]) -> None:
    """Do what a flow does, in a JVM that writes an archive of its classes when it ends."""
    options = (f"-XX:ArchiveClassesAtExit={archive}", "-XX:TieredStopAtLevel=1", *_QUIET)
    defaults = folder / "config.ini"
    defaults.write_text("".join(f"[{name}]\ntopic = {name}\n" for name in contracts()))
    settings = load_settings(defaults)
    spark = session(settings, "archive", Engine(java_home, jars, options))
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
