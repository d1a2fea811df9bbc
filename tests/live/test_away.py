"""Broker, database and JVM killed under `up`, away at the start, and away for good."""

import json
import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager

import psutil
import pytest

from lakehouse.core.errors import Exit
from lakehouse.services.broker_files import BrokerFiles
from lakehouse.services.folder import HOST, free_ports
from lakehouse.services.home import home_of
from lakehouse.services.jars import default_cache, kafka_jars
from lakehouse.services.java import find_java
from lakehouse.services.kafka import EmbeddedKafka
from tests.live.conftest import LAKEHOUSE, ROOT, verb
from tests.support.processes import commands_below
from tests.support.watch import Watch, with_web_page

pytestmark = pytest.mark.live
LONGEST = 180.0
"""Seconds to wait for what a command says: three services and a JVM start on two busy cores."""
JAVA = re.compile(r"^\s+at [\w.$]+\(|Traceback|py4j|Exception in thread|Caused by", re.MULTILINE)


def java_in(said):
    """What was said around a stack, where there is one."""
    found = JAVA.search(said)
    return said[max(0, found.start() - 500) : found.end() + 2_500] if found else ""


class Running:
    """A command of its own, and what it has said."""

    def __init__(self, process, errors):
        self.process, self.errors = process, errors

    def said(self, since=0):
        return self.errors.read_text(errors="replace")[since:]

    def until(self, words, since=0, seconds=LONGEST):
        deadline = time.monotonic() + seconds
        while not all(re.search(word, self.said(since)) for word in words):
            assert self.process.poll() is None, self.said()[-4000:]
            assert time.monotonic() < deadline, (words, self.said(since)[-4000:])
            time.sleep(0.1)
        return len(self.said())


@contextmanager
def running(tmp_path, *words, **environment):
    errors = tmp_path / "stderr"
    with errors.open("wb") as out:
        process = subprocess.Popen(
            [*LAKEHOUSE, *map(str, words)], cwd=ROOT, env={**os.environ, **environment},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=out,
        )  # fmt: skip
    try:
        yield Running(process, errors)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(LONGEST)
            except subprocess.TimeoutExpired:
                for child in (*psutil.Process(process.pid).children(recursive=True), process):
                    child.kill()


def pid_of(root, service, record):
    return json.loads((home_of(root) / service / record).read_text())["pid"]


def landed(product):
    return rf'"flow": "{product}\.bronze".*"batch landed"'


def fell(what):
    return rf'"what": "{what}".*"fell, and is started again"'


WAITING = r'"service": "Kafka at.*"waiting"'


@contextmanager
def watched(pid):
    """Where it and what it starts listen meanwhile."""
    watch = Watch(pid, listens=True)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


def test_up_listens_on_loopback_alone_and_goes_on_after_each_of_its_services_was_killed(tmp_path):
    root = tmp_path / "lake"
    both = [landed("sales"), landed("orders")]
    page = with_web_page(tmp_path, free_ports(1)[0])
    with running(tmp_path, "up", "--rate", "20", "--root", root, **page) as up:
        with watched(up.process.pid) as watch:
            at = up.until(both)
            watch.look_again()
        addresses = {ip.removeprefix("::ffff:") for _, ip in watch.listening}
        assert {name for name, _ in watch.listening} >= {"java"}
        assert addresses <= {"127.0.0.1", "::1"}, watch.listening
        assert len(watch.command_lines) >= 3
        insert = ["orders", "insert", "--count", 20, "--root", root]

        os.kill(pid_of(root, "kafka", "broker.json"), signal.SIGKILL)
        at = up.until([fell("embedded Kafka")], at)
        at = up.until([r"Kafka on "], at)
        verb(*insert)
        at = up.until(both, at)

        os.kill(pid_of(root, "postgres", "server.json"), signal.SIGKILL)
        at = up.until([fell("embedded Postgres"), "Postgres in"], at)
        verb(*insert)
        at = up.until(both, at)

        jvm = next(
            one for one, command in commands_below(psutil.Process(up.process.pid))
            if "java" in command[0] and "SparkSubmit" in " ".join(command)
        )  # fmt: skip
        jvm.kill()
        at = up.until([fell("the flows")], at)
        verb(*insert)
        up.until(both, at)

        up.process.send_signal(signal.SIGTERM)  # Ctrl-C: test_your_own_product
        assert up.process.wait(LONGEST) == Exit.OK, up.said()[-3000:]
        assert not java_in(up.said()), java_in(up.said())
    assert verb("audit", "--root", root, check=False).returncode == Exit.OK


def test_flows_wait_for_a_broker_that_comes_late_and_not_for_ever(tmp_path):
    cache = default_cache()
    java = find_java(cache)
    jars = kafka_jars(cache, java, print)
    folder = tmp_path / "home" / "kafka"
    folder.mkdir(parents=True)
    servers = f"{HOST}:{BrokerFiles(folder).ports()[0]}"  # where it will be
    environment = {
        "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": servers, "LAKEHOUSE_SERVICES_PATIENCE": "60 seconds",
        "LAKEHOUSE_KAFKA_REQUEST_TIMEOUT": "10 seconds",
    }  # fmt: skip
    words = ["run", "sales.bronze", "sales.silver", "--root", tmp_path / "lake"]
    with running(tmp_path, *words, **environment) as flows:
        at = flows.until([WAITING])
        with EmbeddedKafka.start(tmp_path / "home", java=java, jars=jars) as broker:
            assert broker.bootstrap_servers == servers
            at = flows.until(["it is back"], at)
            verb("produce", "--count", 300, **environment)
            at = flows.until([landed("sales")], at)
            psutil.Process(broker.pid).kill()
            flows.until([WAITING], at)
            assert flows.process.wait(LONGEST) == Exit.UNAVAILABLE, flows.said()[-3000:]
    said = flows.said()
    assert said.count('"waiting"') == 2, said
    assert f"Kafka at {servers}" in said.splitlines()[-2]
    assert "fix: start the broker" in said.splitlines()[-1]
    assert not java_in(said), java_in(said)


def test_a_capture_and_a_producer_wait_for_what_is_away_and_say_what(tmp_path):
    environment = {
        "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
        "LAKEHOUSE_POSTGRES_URL": "postgresql://127.0.0.1:9/shop",
        "LAKEHOUSE_SERVICES_PATIENCE": "3 seconds",
        "LAKEHOUSE_LAKE_ROOT": str(tmp_path / "lake"),
    }
    for words, place in (
        (["capture", "orders"], "Postgres at 127.0.0.1:9/shop"),
        (["produce", "--count", "5"], "Kafka at 127.0.0.1:9"),
    ):
        done = verb(*words, check=False, **environment)
        assert done.returncode == Exit.UNAVAILABLE, done.stderr
        assert done.stderr.count('"waiting"') == 1, done.stderr
        assert done.stderr.count(f"{place}: ") == 1, done.stderr
        assert "Traceback" not in done.stderr
