"""A broker's folder: its settings, ports, cluster id, process id and logs, by name.

The broker runs *in* its folder and its settings name files relative to it, so that any
path works, even one with a space, a comma or an umlaut.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from lakehouse.core.files import write_whole
from lakehouse.services.folder import HOST, free_ports, is_free
from lakehouse.services.record import Record

TAIL_LINES = 5


@dataclass(frozen=True)
class BrokerFiles:
    """What lies under ``kafka`` in the home of a lake's services."""

    folder: Path

    @property
    def config(self) -> Path:
        """The broker's settings."""
        return self.folder / "server.properties"

    @property
    def console(self) -> Path:
        """What the JVM itself printed since the last start."""
        return self.folder / "broker.out"

    @property
    def is_formatted(self) -> bool:
        """Whether the data folder is complete: Kafka writes this file last."""
        return (self.folder / "data" / "meta.properties").is_file()

    def cluster_id(self) -> str:
        """The id of the formatted cluster; empty before that."""
        with suppress(OSError):
            for line in (self.folder / "data" / "meta.properties").read_text().splitlines():
                if line.startswith("cluster.id="):
                    return line.removeprefix("cluster.id=")
        return ""

    @property
    def was_killed(self) -> bool:
        """Whether a broker held this data and did not end by itself, as far as files can say."""
        data = self.folder / "data"
        return (data / "__cluster_metadata-0").is_dir() and not (
            data / ".kafka_cleanshutdown"
        ).exists()

    @property
    def fencer(self) -> Path:
        """The settings of a controller that fences a killed broker."""
        return self.folder / "fence.properties"

    @property
    def fencer_said(self) -> Path:
        """What that controller logged last."""
        return self.folder / "fence.log"

    @property
    def words(self) -> list[str]:
        """What a broker on these files ends its command line with."""
        return ["kafka.Kafka", str(self.config)]

    @property
    def record(self) -> Record:
        """Which broker runs on these files."""
        return Record(self.folder / "broker.json", self.words, os.geteuid())

    @property
    def fencing(self) -> Record:
        """Which controller fences a killed broker on these files."""
        return Record(self.folder / "fence.json", ["kafka.Kafka", str(self.fencer)], os.geteuid())

    def ports(self) -> tuple[int, int]:
        """The client's and the controller's port: those of the last run if free, else others."""
        with suppress(OSError, ValueError, TypeError):
            client, controller = json.loads((self.folder / "ports.json").read_text("utf-8"))
            if is_free(client) and is_free(controller):
                return client, controller
        client, controller = free_ports(2)
        write_whole(self.folder / "ports.json", json.dumps([client, controller]).encode())
        return client, controller

    def write_config(self, client: int, controller: int) -> None:
        """Write the settings of one KRaft node, both broker and controller, on loopback only."""
        addresses = f"PLAINTEXT://{HOST}:{client},CONTROLLER://{HOST}:{controller}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"{HOST}:{controller}",
            "listeners": addresses,
            "advertised.listeners": addresses,
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": "data",
            "auto.create.topics.enable": "false",
            "min.insync.replicas": "1",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # after a kill -9 a node can return only when its last session expires: 9 s by default
            "broker.session.timeout.ms": "4000",
            "broker.heartbeat.interval.ms": "1000",
            # a broker with nothing to do writes to its disk so often: each half second by default
            "metadata.max.idle.interval.ms": "5000",
        }
        text = "".join(f"{name}={value}\n" for name, value in settings.items())
        write_whole(self.config, text.encode())
        write_whole(self.folder / "log4j2.properties", _LOG4J.encode())

    def write_fencer(self, controller: int) -> None:
        """Write the settings of the same node as a controller alone."""
        address = f"CONTROLLER://{HOST}:{controller}"
        settings = {
            "process.roles": "controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"{HOST}:{controller}",
            "listeners": address,
            "advertised.listeners": address,
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT",
            "log.dirs": "data",
            "broker.session.timeout.ms": "300",
            "broker.heartbeat.interval.ms": "100",
        }
        text = "".join(f"{name}={value}\n" for name, value in settings.items())
        write_whole(self.fencer, text.encode())
        write_whole(self.folder / "fence.log4j2.properties", _FENCER_LOG4J.encode())

    def logged(self) -> str:
        """The broker's log, of this run and those before it."""
        with suppress(OSError):
            return (self.folder / "broker.log").read_text("utf-8", errors="replace")
        return ""

    def tail(self) -> str:
        """The last lines of the broker's log and of its JVM's output, without stack frames."""
        lines: list[str] = []
        for path in (self.folder / "broker.log", self.console):
            with suppress(OSError):
                said = path.read_text("utf-8", errors="replace").splitlines()
                lines += [line for line in said if not line.startswith("\t")][-TAIL_LINES:]
        return "\n".join(lines)


def new_cluster_id() -> str:
    """An id for a new cluster: 22 characters, which Kafka reads as base64."""
    return uuid4().hex[:22]


_LOG4J = """\
status=error
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName=broker.log
appender.file.filePattern=broker.log.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d %p %c{1} %m%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=10MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=2
rootLogger.level=warn
rootLogger.appenderRef.file.ref=file
"""

_FENCER_LOG4J = """\
status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1} %m%n
logger.fencing.name=org.apache.kafka.controller
logger.fencing.level=info
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
"""
