"""The Spark session: settings that were measured, overridden by the user's own."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JError
from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from lakehouse.core.processes import SAFE_PATH, own_environment
from lakehouse.runtime.faults import not_started
from lakehouse.runtime.submitted import told_by_file
from lakehouse.settings.kafka_client import password, pem
from lakehouse.settings.sections import KafkaSettings
from lakehouse.settings.settings import Settings

_POLLED = 500
"""Records that one poll of an executor gives, unpacked; 20,000 read no faster."""
_KEYS = "jaas|sasl|ssl[.]key|private key"
_FIXED = {
    # Spark's own patterns plus Kafka's keys: at DEBUG Spark's source would log a client's key
    "spark.redaction.regex": f"(?i)secret|password|token|access[.]?key|{_KEYS}",
    "spark.sql.redaction.options.regex": f"(?i)url|password|{_KEYS}",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.adaptive.enabled": "false",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.streaming.metricsEnabled": "false",
    "spark.hadoop.parquet.page.write-checksum.enabled": "true",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "10000",
    "spark.sql.execution.arrow.maxBytesPerBatch": str(8 * 1024 * 1024),
    "spark.python.daemon.module": "lakehouse.ingest.workers",
    # a worker is run as a module: no json.py of its working folder is one of Python's
    **{f"spark.executorEnv.{name}": value for name, value in SAFE_PATH.items()},
}
_LOCAL = {
    "spark.sql.streaming.checkpointFileManagerClass": "org.apache.spark.sql.execution.streaming."
    "checkpointing.FileSystemBasedCheckpointFileManager",
    "spark.delta.logStore.file.impl": "io.delta.storage.LocalLogStore",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.showConsoleProgress": "false",
}
_JAVA = (
    "-Duser.timezone=UTC",
    "-XX:+UseParallelGC",
    f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties').as_uri()}",
)

_TOLD = (
    "org.apache.spark.sql.execution.streaming.runtime.MicroBatchExecution",
    "org.apache.spark.sql.kafka010.KafkaOffsetReaderAdmin",
)
"""Loggers of faults that end a query: the flow reports them, and they only add Java's stacks."""

_PLANNING = ("-XX:TieredStopAtLevel=1", "-Xms96m", "-Xmn64m")
"""For a JVM that only plans: compiling twice takes a fifth of a drain's CPU, and what it throws
away would fill 150 MB more of memory before it is looked through."""


@dataclass(frozen=True)
class Engine:
    """Where Java and the jars are, for a JVM that we start ourselves."""

    java_home: Path
    jars: Sequence[Path]
    java_options: Sequence[str] = ()


def session(settings: Settings, name: str, engine: Engine | None = None) -> SparkSession:
    """The session of this process; LakehouseError where Spark does not start.

    With an ``engine`` we start a JVM on this machine. Without one we run under spark-submit,
    which decides master, memory and jars.
    """
    options = {"spark.app.name": name, **_FIXED}
    options["spark.sql.shuffle.partitions"] = str(settings.spark.shuffle_partitions)
    if engine is not None:
        os.environ["JAVA_HOME"] = str(engine.java_home)
        os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
        os.environ.pop("SPARK_HOME", None)
        options |= _LOCAL
        options["spark.driver.memory"] = settings.spark.driver_memory
        options["spark.driver.extraClassPath"] = ":".join(str(jar) for jar in engine.jars)
        java_options = (*_JAVA, *engine.java_options)
        if settings.spark.log_level != "ERROR":
            java_options += ("-Dlakehouse.stacks=full",)
        if is_local(settings.bronze.path, settings.spark.master):
            java_options += _PLANNING
        options["spark.driver.extraJavaOptions"] = " ".join(f'"{o}"' for o in java_options)
        options["spark.ui.enabled"] = str(settings.spark.ui).lower()
        options["spark.log.level"] = settings.spark.log_level
        options["spark.master"] = settings.spark.master
        if settings.spark.master.startswith("local"):
            options["spark.executorEnv.PYTHONPATH"] = own_environment()["PYTHONPATH"]
    options |= settings.spark_conf
    quiet_py4j()
    # the session imports these once its JVM is up; it takes a second, spent while the JVM starts
    threading.Thread(target=import_module, args=("pandas",), daemon=True).start()
    interrupt = signal.getsignal(signal.SIGINT)
    if has_ended():
        _forget()
    try:
        if engine is not None and SparkContext._gateway is None:
            with told_by_file(options):
                spark = SparkSession.builder.getOrCreate()
        else:
            spark = _with_options(options)
    except (PySparkException, Py4JError) as error:
        raise not_started(error) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)  # PySpark's own handler would cut a batch short
    spark.sparkContext.setLogLevel(settings.spark.log_level)
    if engine is not None:
        _without_checksum_files(spark)
    if settings.spark.log_level == "ERROR":
        jvm: Any = spark.sparkContext._jvm
        log4j = jvm.org.apache.logging.log4j
        for told in _TOLD:
            log4j.core.config.Configurator.setLevel(told, log4j.Level.OFF)
    return spark


def _without_checksum_files(spark: SparkSession) -> None:
    """Hadoop's files on this machine have no second file each: a process is started for both."""
    jvm: Any = spark.sparkContext._jvm
    java: Any = spark.sparkContext._jsc
    jvm.org.apache.hadoop.fs.FileSystem.getLocal(java.hadoopConfiguration()).setWriteChecksum(False)


def quiet_py4j() -> None:
    """A call that was under way when the JVM ended is reported by us, not as py4j's traceback.

    It logs that by the root logger, which would print it where nobody has set logging up; and by
    its own what a batch raises, which the flow itself tells.
    """
    logging.getLogger().addFilter(_is_not_of_py4j)
    logging.getLogger("py4j").setLevel(logging.CRITICAL)


def _is_not_of_py4j(record: logging.LogRecord) -> bool:
    return Path(record.pathname).parent.name != "py4j"


def expected_master(settings: Settings) -> str:
    """The master that :func:`session` will have; empty where spark-submit decides it."""
    return "" if "PYSPARK_GATEWAY_PORT" in os.environ else settings.spark.master


def has_ended() -> bool:
    """Whether this process started a JVM, and it has ended."""
    process = getattr(SparkContext._gateway, "proc", None)
    return process is not None and process.poll() is not None


def _forget() -> None:
    """PySpark keeps the session of a JVM that has ended, and would give it again."""
    SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None
    SparkSession._instantiatedSession = None


def _with_options(options: Mapping[str, str]) -> SparkSession:
    """The session of a JVM that runs already."""
    builder = SparkSession.builder
    for key, value in options.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def kafka_options(kafka: KafkaSettings) -> dict[str, str]:
    """Options of Spark's Kafka source: servers, security, committed records only."""
    options = {
        "kafka.bootstrap.servers": kafka.bootstrap_servers,
        "kafka.security.protocol": kafka.security_protocol,
        "kafka.isolation.level": "read_committed",
        "kafka.client.id": kafka.client_id,
        "failOnDataLoss": str(kafka.fail_on_data_loss).lower(),
        "includeHeaders": "true",
        "kafka.max.poll.records": str(_POLLED),
        "kafka.max.partition.fetch.bytes": str(8 * 1024 * 1024),
        # a broker that is away ends the query: it is waited for in one place, the driver
        "kafka.default.api.timeout.ms": str(_ms(kafka)),
        "kafka.request.timeout.ms": str(_ms(kafka)),
        "kafkaConsumer.pollTimeoutMs": str(2 * _ms(kafka)),
        "fetchOffset.numRetries": "1",
    }
    if "SASL" in kafka.security_protocol:
        module = (
            "org.apache.kafka.common.security.plain.PlainLoginModule"
            if kafka.sasl_mechanism == "PLAIN"
            else "org.apache.kafka.common.security.scram.ScramLoginModule"
        )
        options["kafka.sasl.mechanism"] = kafka.sasl_mechanism
        options["kafka.sasl.jaas.config"] = (
            f"{module} required username={_quoted(kafka.sasl_username)} "
            f"password={_quoted(password(kafka))};"
        )
    if "SSL" in kafka.security_protocol:  # as text, so that executors need no certificate files
        if kafka.ssl_cafile:
            options["kafka.ssl.truststore.type"] = "PEM"
            options["kafka.ssl.truststore.certificates"] = pem(kafka, "ssl_cafile", "CERTIFICATE")
        if kafka.ssl_certfile:
            chain = pem(kafka, "ssl_certfile", "CERTIFICATE")
            options["kafka.ssl.keystore.type"] = "PEM"
            options["kafka.ssl.keystore.certificate.chain"] = chain
            options["kafka.ssl.keystore.key"] = pem(kafka, "ssl_keyfile", "PRIVATE KEY")
    return options


def _ms(kafka: KafkaSettings) -> int:
    return int(kafka.request_timeout.total_seconds() * 1000)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def is_local(path: str, master: str) -> bool:
    """Whether the driver decodes and commits, as ``[bronze] path`` and Spark's master say."""
    return path == "local" or (path == "auto" and master.startswith("local"))
