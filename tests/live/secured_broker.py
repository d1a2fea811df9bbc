"""A real broker that lets nobody in unproven: TLS, SCRAM, PLAIN and client certificates."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lakehouse.services.broker_classes import Classes
from lakehouse.services.broker_files import new_cluster_id
from lakehouse.services.folder import HOST, free_ports
from lakehouse.services.jars import default_cache, kafka_jars
from lakehouse.services.java import find_java

USER = "anna"
READY_SECONDS = 200
LISTENERS = ("SCRAM", "PLAIN", "MTLS", "INTERNAL", "CONTROLLER")


@dataclass(frozen=True)
class SecuredBroker:
    """Its process, its folder with the certificates, and a port for each way in."""

    pid: int
    folder: Path
    password: str
    ports: dict[str, int]

    def address(self, listener: str) -> str:
        """host:port of ``SCRAM`` (SASL_SSL), ``PLAIN`` (SASL_PLAINTEXT) or ``MTLS`` (SSL)."""
        return f"{HOST}:{self.ports[listener]}"

    def scram(self, **changes: str) -> dict[str, str]:
        """The environment of a client that gets in by SASL_SSL, with changes by key."""
        kafka = {
            "bootstrap_servers": self.address("SCRAM"),
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": USER,
            "sasl_password": self.password,
            "ssl_cafile": str(self.folder / "ca.pem"),
        }
        return variables({**kafka, **changes})

    def plain(self, **changes: str) -> dict[str, str]:
        """The environment of a client that gets in by SASL_PLAINTEXT and PLAIN."""
        kafka = {
            "bootstrap_servers": self.address("PLAIN"),
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_username": USER,
            "sasl_password": self.password,
        }
        return variables({**kafka, **changes})

    def mutual_tls(self, **changes: str) -> dict[str, str]:
        """The environment of a client that gets in by its certificate."""
        kafka = {
            "bootstrap_servers": self.address("MTLS"),
            "security_protocol": "SSL",
            "ssl_cafile": str(self.folder / "ca.pem"),
            "ssl_certfile": str(self.folder / "client.pem"),
            "ssl_keyfile": str(self.folder / "client.key"),
        }
        return variables({**kafka, **changes})


def variables(kafka: dict[str, str]) -> dict[str, str]:
    """[kafka] keys as environment variables; an empty password is no password."""
    return {f"LAKEHOUSE_KAFKA_{key.upper()}": value for key, value in kafka.items()}


@contextmanager
def secured_broker(folder: Path, password: str) -> Iterator[SecuredBroker]:
    """The broker, which listens on loopback only; ended and reaped at the end."""
    java, cache = find_java(default_cache()), default_cache()
    jars = kafka_jars(cache, java, print)
    make_certificates(folder)
    ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
    config = folder / "server.properties"
    config.write_text("".join(f"{k}={v}\n" for k, v in _settings(ports, password).items()))
    mapped = Classes.of(java, jars).mapped
    program = [java.command, "-Xmx384m", *mapped, "-cp", os.pathsep.join(map(str, jars))]
    subprocess.run(
        [*program, "kafka.tools.StorageTool", "format", "--standalone", "-t", new_cluster_id(),
         "-c", str(config), "--add-scram", f"SCRAM-SHA-512=[name={USER},password={password}]"],
        cwd=folder, capture_output=True, check=True, timeout=200,
    )  # fmt: skip
    with (folder / "broker.out").open("wb") as out:
        process = subprocess.Popen(
            [*program, "kafka.Kafka", str(config)],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        _wait_listening(process, ports.values(), folder)
        yield SecuredBroker(process.pid, folder, password, ports)
    finally:
        process.kill()  # its data goes with the test
        process.wait()


def make_certificates(folder: Path) -> None:
    """An authority; by it the broker's certificate for localhost and a client's; and a stranger.

    ``ca.pem``, ``server.pem`` (certificate and key), ``client.pem``, ``client.key`` (PKCS#8),
    ``client.rsa`` (the same key, PKCS#1) and ``stranger.pem``, an authority that signed nothing.
    """
    if shutil.which("openssl") is None:
        pytest.skip("no openssl program: certificates cannot be made")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, capture_output=True, check=True)

    for name in ("ca", "stranger"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key",
                "-out", f"{name}.pem", "-subj", f"/CN={name} of a test", "-days", "2")  # fmt: skip
    (folder / "names").write_text(f"subjectAltName=DNS:localhost,IP:{HOST}\n")
    for name in ("server", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key",
                "-out", f"{name}.csr", "-subj", f"/CN={name}")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-out", f"{name}.pem", "-days", "2",
                "-extfile", "names")  # fmt: skip
    with (folder / "server.pem").open("a") as chain:
        chain.write((folder / "server.key").read_text())
    openssl("rsa", "-in", "client.key", "-traditional", "-out", "client.rsa")


def _settings(ports: dict[str, int], password: str) -> dict[str, str]:
    addresses = ",".join(f"{name}://{HOST}:{port}" for name, port in ports.items())
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": f"{HOST}:{ports['CONTROLLER']}",
        "listeners": addresses,
        "advertised.listeners": addresses,
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "INTERNAL",
        "listener.security.protocol.map": "SCRAM:SASL_SSL,PLAIN:SASL_PLAINTEXT,MTLS:SSL,"
        "INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": "server.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": "ca.pem",
        "listener.name.mtls.ssl.client.auth": "required",
        "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.scram.scram-sha-512.sasl.jaas.config": f"{scram} required;",
        "listener.name.plain.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.plain.plain.sasl.jaas.config": f'{plain} required user_{USER}="{password}";',
        "log.dirs": "data",
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
        "metadata.max.idle.interval.ms": "5000",
    }


def _wait_listening(process: subprocess.Popen[bytes], ports: object, folder: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    for port in ports:  # type: ignore[attr-defined]  # any iterable of ports
        while True:
            said = (folder / "broker.out").read_text(errors="replace")
            assert process.poll() is None, said[-2000:]
            assert time.monotonic() < deadline, said[-2000:]
            try:
                socket.create_connection((HOST, port), timeout=2).close()
                break
            except OSError:
                time.sleep(0.05)
