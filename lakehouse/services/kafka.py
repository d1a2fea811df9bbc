"""A real Kafka broker on this machine: KRaft, one node, loopback only."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

import psutil
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.services.java import Java

READY_SECONDS = 60
STOP_SECONDS = 15
Say = Callable[[str], None]


class EmbeddedKafka:
    """The broker of one lake: started, or adopted when it already runs.

    Its data, log and process id are under ``<root>/kafka``. One that we started
    is stopped and reaped by :meth:`stop`; an adopted one is left running.
    """

    def __init__(self, folder: Path, bootstrap_servers: str, process: Any, pid: int) -> None:
        self.folder, self.bootstrap_servers, self.pid = folder, bootstrap_servers, pid
        self._process: subprocess.Popen[bytes] | None = process

    @property
    def adopted(self) -> bool:
        """Whether another process started it."""
        return self._process is None

    @classmethod
    def start(
        cls, root: Path, *, java: Java, jars: Sequence[Path], say: Say = lambda _: None
    ) -> EmbeddedKafka:
        """The running broker of this lake, ready to answer."""
        folder = root.absolute() / "kafka"
        folder.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(folder):
            running = _running(folder)
            if running is not None:
                say(f"Kafka already runs on {running[1]}")
                return cls(folder, running[1], None, running[0])
            return cls._launch(folder, java, jars, say)

    @classmethod
    def _launch(cls, folder: Path, java: Java, jars: Sequence[Path], say: Say) -> EmbeddedKafka:
        client, controller = _ports(folder)
        config = _write_config(folder, client, controller)
        classpath = ":".join(str(jar) for jar in jars)
        log = _write_log_config(folder)
        base = [java.command, "-Xms256m", "-Xmx512m", log, "-cp", classpath]
        if not (folder / "data" / "meta.properties").is_file():
            done = subprocess.run(
                [*base, "kafka.tools.StorageTool", "format", "--standalone",
                 "-t", _cluster_id(folder), "-c", str(config)],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode != 0:
                raise ServiceUnavailable(
                    str(folder), f"cannot be formatted: {(done.stderr or done.stdout)[-400:]}",
                    "mend the folder, or remove it to begin with an empty broker",
                )  # fmt: skip
        with (folder / "broker.out").open("wb") as out:
            process = subprocess.Popen(
                [*base, "kafka.Kafka", str(config)],
                stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        broker = cls(folder, f"127.0.0.1:{client}", process, process.pid)
        started = time.monotonic()
        try:
            broker._wait_ready()
        except BaseException:
            broker.stop()
            raise
        state = {"pid": process.pid, "bootstrap_servers": broker.bootstrap_servers}
        (folder / "broker.json").write_text(json.dumps(state), encoding="utf-8")
        say(f"Kafka on {broker.bootstrap_servers} ({time.monotonic() - started:.1f} s)")
        return broker

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not _answers(self.bootstrap_servers):
            gone = self._process is not None and self._process.poll() is not None
            if gone or time.monotonic() > deadline:
                raise ServiceUnavailable(
                    "embedded Kafka",
                    "ended while starting" if gone else f"no answer in {READY_SECONDS} s",
                    f"read {self.folder}/broker.out; its end:\n{_tail(self.folder)}",
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """End the broker that we started, and reap it; leave an adopted one."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        (self.folder / "broker.json").unlink(missing_ok=True)
        self._process = None

    def __enter__(self) -> EmbeddedKafka:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _running(folder: Path) -> tuple[int, str] | None:
    """Process id and address of this folder's broker, if it lives and answers."""
    try:
        state = json.loads((folder / "broker.json").read_text("utf-8"))
        process = psutil.Process(state["pid"])
        if str(folder / "server.properties") not in process.cmdline():
            return None
    except (OSError, ValueError, KeyError, psutil.Error):
        return None
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        if _answers(state["bootstrap_servers"]):
            return state["pid"], state["bootstrap_servers"]
        time.sleep(0.3)
    raise ServiceUnavailable(
        "embedded Kafka",
        f"process {state['pid']} holds {folder} and does not answer",
        f"end it with: kill {state['pid']}",
    )


def _answers(bootstrap_servers: str) -> bool:
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=bootstrap_servers,
            bootstrap_timeout_ms=2000,
            request_timeout_ms=5000,
        )
    except (KafkaError, OSError, ValueError):
        return False
    try:
        return bool(admin.describe_cluster()["brokers"])
    except KafkaError:
        return False
    finally:
        admin.close()


def _ports(folder: Path) -> tuple[int, int]:
    """The ports of the last run where they are free, else free ones."""
    with suppress(OSError, ValueError):
        kept = json.loads((folder / "ports.json").read_text("utf-8"))
        if all(_is_free(port) for port in kept):
            return kept[0], kept[1]
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        ports = one.getsockname()[1], two.getsockname()[1]
    (folder / "ports.json").write_text(json.dumps(ports), encoding="utf-8")
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _cluster_id(folder: Path) -> str:
    path = folder / "cluster.id"
    if not path.is_file():
        path.write_text(uuid4().hex[:22], encoding="utf-8")
    return path.read_text("utf-8")


def _write_config(folder: Path, client: int, controller: int) -> Path:
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{client},"
        f"CONTROLLER://127.0.0.1:{controller}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(folder / "data"),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "min.insync.replicas": "1",
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.num.partitions": "1",
    }
    path = folder / "server.properties"
    path.write_text("".join(f"{k}={v}\n" for k, v in settings.items()), encoding="utf-8")
    return path


def _write_log_config(folder: Path) -> str:
    """Broker narration to its own output file, warnings and worse."""
    path = folder / "log4j2.properties"
    path.write_text(
        "status=error\nappender.out.type=Console\nappender.out.name=out\n"
        "appender.out.layout.type=PatternLayout\n"
        "appender.out.layout.pattern=%d %p %c{1} %m%n\n"
        "rootLogger.level=warn\nrootLogger.appenderRef.out.ref=out\n",
        encoding="utf-8",
    )
    return f"-Dlog4j2.configurationFile={path}"


def _tail(folder: Path) -> str:
    lines = (folder / "broker.out").read_text("utf-8", errors="replace").splitlines()
    return "\n".join(lines[-5:])


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / "start.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
