"""The sections of config.ini: every key, its type, its default and what it does.

docs/settings.md is generated from these classes, and config.ini is tested
against them, so a key is described here and nowhere else.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, create_model, model_validator

from lakehouse.settings.kinds import (
    Answer,
    Count,
    Duration,
    Memory,
    Optional,
    Port,
    Root,
    SqlName,
    TableName,
    Topic,
    runs_code,
)


class Section(BaseModel):
    """One section of config.ini: frozen, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True,
        defer_build=True,  # help reads no setting
    )


class LakeSettings(Section):
    """[lake]: where the tables are."""

    root: Root = Field("./var/lake", min_length=1, description="folder of the lake: of this machine, or a shared mount")
    access: Literal["private", "group"] = Field("private", description="who may read and write what is made: you, or your group too; lakes hold personal data")


class KafkaSettings(Section):
    """[kafka]: the broker, and how to speak to it."""

    bootstrap_servers: str = Field("", description="host:port, comma-separated; empty starts the embedded broker")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field("PLAINTEXT", description="how the connection is protected")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field("SCRAM-SHA-512", description="how SASL proves the user")
    sasl_username: str = Field("", description="SASL user name")
    sasl_password: Annotated[SecretStr | None, Optional] = Field(None, description="SASL password; only from the environment, never in config.ini")
    sasl_password_file: str = Field("", description="file that holds the SASL password")
    ssl_cafile: str = Field("", description="PEM file of the certificate authority")
    ssl_certfile: str = Field("", description="PEM file of the client certificate")
    ssl_keyfile: str = Field("", description="PEM file of the client key (PKCS#8)")
    client_id: str = Field("lakehouse", description="name that the broker sees")
    request_timeout: Answer = Field(timedelta(seconds=20), description="how long to wait for the broker's answer")
    fail_on_data_loss: bool = Field(True, description="stop when Kafka has expired records that bronze has not landed")

    @model_validator(mode="after")
    def _is_whole(self) -> KafkaSettings:
        if self.security_protocol.startswith("SASL") and not (
            self.sasl_username and (self.sasl_password or self.sasl_password_file)
        ):
            raise ValueError(
                f"security_protocol = {self.security_protocol} needs sasl_username and a password "
                "(LAKEHOUSE_KAFKA_SASL_PASSWORD or sasl_password_file)"
            )
        if bool(self.ssl_certfile) != bool(self.ssl_keyfile):
            raise ValueError("ssl_certfile and ssl_keyfile go together: set both, or neither")
        return self


class PostgresSettings(Section):
    """[postgres]: the database that orders are captured from and sinks write to, and how to speak to it."""

    url: str = Field("", description="postgresql://host:port/database, without a password; empty starts the embedded Postgres")
    user: str = Field("", description="database role; needs the REPLICATION attribute to capture from a slot")
    password: Annotated[SecretStr | None, Optional] = Field(None, description="the role's password; only from the environment, never in config.ini")
    password_file: str = Field("", description="file that holds the password")
    sslmode: Literal["", "disable", "prefer", "require", "verify-ca", "verify-full"] = Field("", description="which TLS is required; empty leaves it to the URL")
    sslrootcert: str = Field("", description="PEM file of the certificate authority")
    sslcert: str = Field("", description="PEM file of the client certificate")
    sslkey: str = Field("", description="PEM file of the client key")
    connect_timeout: Answer = Field(timedelta(seconds=10), description="how long one attempt to connect may take")
    wal_limit_mb: Count = Field(1024, description="doctor and the capture warn when a slot keeps more MB of WAL than this")

    @model_validator(mode="after")
    def _is_a_url(self) -> PostgresSettings:
        try:
            parts = urlsplit(self.url)
            secret = parts.password is not None or "password" in parse_qs(parts.query)
        except ValueError:
            raise ValueError("url is not a URL: write postgresql://host:port/database") from None
        if secret:
            raise ValueError(
                "url holds a password: take it out, and set LAKEHOUSE_POSTGRES_PASSWORD or password_file"
            )
        if self.url and (parts.scheme not in {"postgresql", "postgres"} or not parts.path.strip("/")):
            raise ValueError("url does not name a database: write postgresql://host:port/database")
        return self


class ServicesSettings(Section):
    """[services]: the broker and the database, where they are away."""

    patience: Duration = Field(timedelta(minutes=2), description="how long flows, producers and captures wait for a broker or a database that is away, before they end")


class StreamSettings(Section):
    """[stream]: how micro-batches are made."""

    trigger: Duration = Field(timedelta(0), description="time between batch starts; 0 starts the next as soon as there is data")
    max_records_per_batch: Count = Field(200_000, description="most records of one batch")
    max_mb_per_batch: Count = Field(128, description="a batch with more MB of records, or of decoded rows, than this is landed in several commits")
    poll: Duration = Field(timedelta(milliseconds=100), description="how often a separate silver job looks for new bronze versions")
    stop_timeout: Duration = Field(timedelta(seconds=60), description="how long a stop waits for the current batch")


class BronzeSettings(Section):
    """[bronze]: how records come into bronze; chosen when a flow starts."""

    max_record_mb: Annotated[int, Field(ge=1, le=1024)] = Field(64, description="a record with more MB of key, value and headers (64 bytes more a header), unpacked, is in quarantine by its address, size and hash, without its bytes")
    path: Literal["auto", "local", "cluster"] = Field("auto", description="local: a process on this machine reads ahead and decodes, delta-rs commits; cluster: executors read and decode, Spark's Delta writer commits; auto: by Spark's master")


class PublishSettings(Section):
    """[publish]: how batches are committed."""

    fsync: bool = Field(True, description="sync every commit to disk before the next begins")
    compression: Literal["snappy", "zstd", "lz4"] = Field("snappy", description="Parquet compression of bronze, quarantine and silver")
    lock_timeout: Duration = Field(timedelta(0), description="how long to wait for another writer of a table before refusing")


class SilverSettings(Section):
    """[silver]: how silver follows bronze."""

    finer_persist_rows: Count = Field(1_000_000, description="tables of distinct keys and units are written after this many new rows ...")
    finer_persist_interval: Duration = Field(timedelta(seconds=60), description="... or after this time, up to four times as long where it takes more than a twentieth of it, or when the flow stops; so is the ledger")
    greatest_age: Duration = Field(timedelta(minutes=1), description="large tables are published within a twentieth of the flow's time, but each at the latest when it is this old")
    bucket_rows: Count = Field(50_000, description="most rows in one file (bucket) of a large table; one with more is split in two")
    versions_kept: Duration = Field(timedelta(hours=1), description="how long older versions of silver tables stay for time travel, at most: once those of a table take eight times what it takes, and an eighth of [maintenance] old_mb, the oldest go, but none of the last 20th of this time; an older time or version is folded from bronze")
    max_rows_per_fold: Count = Field(1_000_000, description="a catch-up folds about this many bronze rows at once; a quarter where a table of the flow has the latest change by key")
    engine_memory: Memory = Field("1GB", description="most memory that the aggregation engine takes in the driver")
    engine_threads: Annotated[int, Field(ge=1, le=256)] = Field(1, description="threads of one fold; tables are folded in parallel")


class TableSettings(Section):
    """[table]: properties that a table gets when it is created."""

    log_retention: Duration = Field(timedelta(days=30), description="how long the Delta log keeps history")
    deleted_file_retention: Duration = Field(timedelta(days=1), description="how long removed files stay for time travel; files that compaction replaced, one hour at most; the audit of a table of silver that lags needs them, so not below [silver] greatest_age, nor below four times its finer_persist_interval")
    checkpoint_interval: Count = Field(50, description="commits between two checkpoints of the Delta log")
    target_file_size_mb: Count = Field(128, description="size of file that compaction aims for")


class MaintenanceSettings(Section):
    """[maintenance]: what the writer does between batches."""

    compact_after_commits: Annotated[int, Field(ge=0)] = Field(50, description="merge a table's small files after this many commits, and its larger ones after 16 times as many; 0: never")
    vacuum_interval: Duration = Field(timedelta(hours=1), description="how often files past their retention are removed, and at start; 0: never")
    log_entries: Count = Field(10_000, description="most commits in the log of a table on a local disk, whatever log_retention says: each costs every later commit 2 µs; trimmed every vacuum_interval")
    old_mb: Annotated[int, Field(ge=0)] = Field(12, description="once replaced files and log entries take more MB than this, and more than a twentieth of the table, the oldest are removed before their retention ends, but none of the last ten minutes or not yet applied by a follower; 0: never")
    quarantine_retention: Duration = Field(timedelta(0), description="drop quarantined records older than this, at start and every vacuum_interval; 0: never")


class SparkSettings(Section):
    """[spark]: the session, unless spark-submit says otherwise."""

    master: str = Field("local[*]", description="used by the lakehouse command; a job under spark-submit takes its own", json_schema_extra=runs_code("a cluster's master is sent the job's code, its data and your secrets"))
    driver_memory: str = Field("1g", pattern=r"^\d+[kmgKMG]$", description="heap of the local JVM")
    shuffle_partitions: Count = Field(2, description="tasks after a shuffle; raise it on a cluster")
    log_level: Literal["ERROR", "WARN", "INFO", "DEBUG"] = Field("ERROR", description="Spark's own logging")
    ui: bool = Field(False, description="serve Spark's web UI on loopback")


class ExplorerSettings(Section):
    """[explorer]: limits of reading."""

    timeout: Duration = Field(timedelta(seconds=30), description="longest time of one query")
    row_limit: Count = Field(1_000, description="most rows shown of a query")
    memory_limit: Memory = Field("1GB", description="most memory that a query takes; ten times as much is written to the folder of temporary files")


class MetricsSettings(Section):
    """[metrics]: numbers and health of a process that runs flows, for Prometheus."""

    port: Port = Field(0, description="port on loopback of /metrics, /health/live and /health/ready, while flows run; 0: none")


class LineageSettings(Section):
    """[lineage]: who is told which flow reads and writes what."""

    url: Annotated[str, Field(pattern=r"^(https?://.+)?$")] = Field("", description="address that takes OpenLineage events; empty: nobody is told; needs the extra [lineage]")


class DashboardSettings(Section):
    """[dashboard]: the pages of lakehouse dashboard, and beside lakehouse up."""

    port: Port = Field(8686, description="port on loopback; 0: none beside lakehouse up, and a free one for lakehouse dashboard")
    token: Annotated[SecretStr | None, Optional] = Field(None, description="what a viewer must give, if anything; only from the environment, never in config.ini")
    token_file: str = Field("", description="file that holds the token")


class LoggingSettings(Section):
    """[logging]: the log on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="lowest severity that is shown")
    format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, json elsewhere")


class ProductSettings(Section):
    """A product's section: its topic, and the rules of time."""

    enabled: bool = Field(True, description="whether lakehouse up runs it when no product is named")
    topic: Topic = Field(description="Kafka topic of the product's events")
    partitions: Count = Field(2, description="partitions of the topic, when we create it")
    replication_factor: Annotated[int, Field(ge=1, le=2**15 - 1)] = Field(1, description="replicas of the topic, when we create it")
    topic_retention: Duration = Field(timedelta(days=7), ge=timedelta(minutes=1), description="how long Kafka keeps records, when we create the topic")
    max_message_mb: Annotated[int, Field(ge=1, le=95)] = Field(16, description="largest record, or compressed batch of records, that the topic takes, in MB, when we create it")
    watermark_delay: Duration = Field(timedelta(minutes=10), description="an event older than the newest by more than this is late")
    future_tolerance: Duration = Field(timedelta(minutes=5), description="an event time may be this much later than its Kafka time")
    earliest: date = Field(date(2000, 1, 1), ge=date(2, 1, 1), description="an event before this date breaks the contract")
    deduplication_horizon: Duration = Field(timedelta(hours=1), description="events with the same event_id whose Kafka times are this close count once")

    @classmethod
    def of(cls, topic: str) -> type[ProductSettings]:
        """The section of a product that brings none: its topic has a default."""
        field = Field(topic, description=cls.model_fields["topic"].description)
        return create_model(cls.__name__, __base__=cls, __doc__=cls.__doc__, topic=(Topic, field))

    @property
    def earliest_time(self) -> datetime:
        """Midnight UTC of ``earliest``."""
        return datetime(self.earliest.year, self.earliest.month, self.earliest.day, tzinfo=UTC)


class CapturedSettings(ProductSettings):
    """A product whose events are the changes of a table in [postgres]."""

    table: TableName = Field(description="the table, as schema.table")
    slot: SqlName = Field(description="replication slot; one for each lake that captures the table")
    publication: SqlName = Field(description="publication that names the table; made when it is missing")
    poll_interval: Duration = Field(timedelta(seconds=5), description="with --mode poll: time between two looks")
    oversized: Literal["stop", "quarantine"] = Field("stop", description="what the capture does at a change that the topic is too small for: stop before it; or send a mark of it, which is quarantined, and go on")
