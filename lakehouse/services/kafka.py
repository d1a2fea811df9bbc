"""A real Kafka broker on this machine: KRaft, one node, loopback only."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from lakehouse.core.disk import room
from lakehouse.core.errors import ServiceUnavailable, disk_full
from lakehouse.core.lock import one_at_a_time
from lakehouse.core.own import make_folder
from lakehouse.core.processes import finished, started
from lakehouse.core.signals import uninterrupted
from lakehouse.core.text import Say
from lakehouse.core.within import rewritten
from lakehouse.services.broker_classes import Classes
from lakehouse.services.broker_files import BrokerFiles, new_cluster_id
from lakehouse.services.embedded import PROBE_SECONDS, READY_SECONDS, Embedded
from lakehouse.services.fencing import fence
from lakehouse.services.folder import HOST
from lakehouse.services.java import Java

TRIES = 3
_NO_ROOM = 1 << 16
"""With fewer free bytes the disk counts as full; the broker may have had no room to log it."""
_KEEPING_SECONDS = 60
"""A broker that writes the archive of its classes as it ends takes some seconds more."""


class EmbeddedKafka(Embedded):
    """The broker of one lake: started here, or adopted if it already runs.

    Its data, log, settings and process id are under ``kafka`` in the home of the lake's services.
    """

    name, log = "embedded Kafka", "broker.log"

    def __init__(
        self,
        files: BrokerFiles,
        bootstrap_servers: str,
        pid: int,
        process: subprocess.Popen[bytes] | None,
        classes: Classes | None = None,
    ) -> None:
        super().__init__(files, bootstrap_servers, pid, process)
        self._files, self.bootstrap_servers = files, bootstrap_servers
        self._classes = classes
        if classes and classes.made:
            self._stop_seconds = _KEEPING_SECONDS

    @classmethod
    def start(
        cls, home: Path, *, java: Java, jars: Sequence[Path], say: Say = lambda _: None
    ) -> EmbeddedKafka:
        """The running broker of this lake, once it has answered a metadata request.

        When two processes start at the same time, one starts the broker and the other adopts
        it. ServiceUnavailable, with the end of the log, if none answers within a minute.
        """
        files = BrokerFiles(home.resolve() / "kafka")
        try:
            make_folder(files.folder)
            with one_at_a_time(files.folder / "start.lock"):
                return cls._adopt(files, say) or cls._launched(files, java, jars, say)
        except OSError as error:
            raise ServiceUnavailable(
                str(files.folder), f"cannot be used: {error}", "mend the folder's rights"
            ) from None

    @classmethod
    def running(cls, home: Path) -> int | None:
        """Process id of this lake's broker, or None if none runs; starts nothing."""
        found = BrokerFiles(home.resolve() / "kafka").record.running()
        return found.pid if found else None

    @classmethod
    def _adopt(cls, files: BrokerFiles, say: Say) -> EmbeddedKafka | None:
        """The broker that already runs here, or None; after a kill -9 it may still be starting."""
        deadline = time.monotonic() + READY_SECONDS
        while (running := files.record.running()) is not None:
            servers = f"{HOST}:{running.port}"
            if _answers(servers, files.cluster_id()):
                say(f"Kafka already runs on {servers}")
                return cls(files, servers, running.pid, None)
            if time.monotonic() > deadline:
                raise ServiceUnavailable(
                    "embedded Kafka",
                    f"process {running.pid} holds {files.folder} and does not answer",
                    f"end it with: kill {running.pid}",
                )
            time.sleep(PROBE_SECONDS)
        return None

    @classmethod
    def _launched(
        cls, files: BrokerFiles, java: Java, jars: Sequence[Path], say: Say
    ) -> EmbeddedKafka:
        """A new broker. If a port is taken before the JVM listens, it starts on other ports."""
        for _ in range(TRIES - 1):
            before = files.logged()
            try:
                return cls._launch(files, java, jars, say)
            except ServiceUnavailable:
                if "Address already in use" not in files.logged()[len(before) :]:
                    raise
        return cls._launch(files, java, jars, say)

    @classmethod
    def _launch(
        cls, files: BrokerFiles, java: Java, jars: Sequence[Path], say: Say
    ) -> EmbeddedKafka:
        began = time.monotonic()
        client, controller = files.ports()
        files.write_config(client, controller)
        classes = Classes.of(java, jars)
        command = [java.command, "-Xms256m", "-Xmx512m", *classes.mapped]
        command += ["-cp", os.pathsep.join(str(jar.absolute()) for jar in jars)]
        fence(files, command, controller)
        command += ["-Dlog4j2.configurationFile=log4j2.properties"]
        if not files.is_formatted:
            _format(files, command)
        servers = f"{HOST}:{client}"
        broker: EmbeddedKafka | None = None
        try:
            with uninterrupted(), rewritten(files.folder, files.console.name) as out:
                process = started(
                    [*command[:1], *classes.made, *command[1:], *files.words],
                    cwd=files.folder, stdin=subprocess.DEVNULL, stdout=out,
                    stderr=subprocess.STDOUT,
                )  # fmt: skip
                broker = cls(files, servers, process.pid, process, classes)
                files.record.remember(process.pid, client)
            broker._wait_ready(process)
            say(f"Kafka on {servers} ({time.monotonic() - began:.1f} s)")
        except BaseException:
            if broker is not None:
                broker.stop()
            raise
        return broker

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not _answers(self.bootstrap_servers, self._files.cluster_id()):
            gone = process.poll() is not None
            if gone or time.monotonic() > deadline:
                raise self.not_ready(is_gone=gone)
            time.sleep(PROBE_SECONDS)

    def stop(self) -> None:
        """As every service's; a broker that ended well leaves its classes to those to come."""
        process = self._process
        super().stop()
        if process is not None and self._classes and process.returncode > 0:
            self._classes.keep()

    def why_ended(self) -> ServiceUnavailable:
        """The error of a broker that ended by itself; a full disk is reported as such."""
        folder = self._files.folder
        if "No space left" in self._files.tail() or room(folder).free < _NO_ROOM:
            return disk_full(str(folder))
        return super().why_ended()


def _format(files: BrokerFiles, command: list[str]) -> None:
    """Make the data folder of a new cluster."""
    words = ["kafka.tools.StorageTool", "format", "--standalone", "-t", new_cluster_id()]
    done = finished([*command, *words, "-c", str(files.config)], cwd=files.folder)
    if done.returncode != 0:
        raise ServiceUnavailable(
            str(files.folder),
            f"cannot be formatted: {(done.stderr or done.stdout)[-400:].strip()}",
            "mend the folder, or remove it to begin with an empty broker",
        )


def _answers(servers: str, cluster_id: str) -> bool:
    """Whether a broker answers at this address, and has this cluster's id."""
    host, port = servers.rsplit(":", 1)
    try:
        # a refused connection costs a microsecond here, but seconds and a warning in the client
        socket.create_connection((host, int(port)), timeout=2).close()
        admin = KafkaAdminClient(
            bootstrap_servers=servers, bootstrap_timeout_ms=2000, request_timeout_ms=5000
        )
    except (KafkaError, OSError, ValueError):
        return False
    try:
        cluster = admin.describe_cluster()
        return bool(cluster["brokers"]) and cluster["cluster_id"] == cluster_id
    except KafkaError:
        return False
    finally:
        admin.close()
