"""A real Prometheus scrapes a run: each expression of board and alerts, each alert both ways."""

import json
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kafka import KafkaProducer

from lakehouse.audit.run import audit, broker_of
from lakehouse.core.disk import Room
from lakehouse.core.exposition import metric_routes
from lakehouse.core.health import HEALTH
from lakehouse.core.metrics import RESTARTS, SERVICES
from lakehouse.core.serving import served
from lakehouse.explorer import observed
from lakehouse.explorer.measured import Measured
from lakehouse.explorer.observed import Observer
from lakehouse.operations.keep import keep
from lakehouse.runtime.driver import flow, run
from lakehouse.services.folder import free_ports
from tests.conftest import encode, sale
from tests.live.conftest import ROOT, sales_from, settings_of

PROMETHEUS = shutil.which("prometheus")
pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(900),
    pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus here: apt install prometheus"),
]
DEPLOY = ROOT / "deploy"
SHORTER = {
    r"for: \w+": "for: 0s", "15s": "1s", "> 1000000": "> 2", "> 900": "> 1", "> 172800": "> 15",
    r"delta\(([^\[]+)\[15m\]": r"delta(\1[8s]", "> 100$": "> 0", r"\[10m\]": "[8s]",
    r"\[5m\]\)\)\) > 60": "[8s]))) > 0.001",
}  # fmt: skip
"""What a person waits for is waited for in seconds here; nothing else of the rules changes."""
LONGEST = 240.0


class Prometheus:
    """One that scrapes a port each second."""

    def __init__(self, address):
        self.address, self.fired, self.cleared = address, set(), set()

    def asked(self, path, **query):
        url = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url) as answer:
            return json.loads(answer.read())["data"]

    def until(self, is_so):
        """Note which alerts fire, and which no more, until something is so."""
        deadline = time.monotonic() + LONGEST
        while not is_so():
            assert time.monotonic() < deadline, (
                f"fired {self.fired}; and no more: {self.cleared}; now {self.firing()}"
            )
            firing = self.firing()
            self.cleared |= self.fired - firing
            self.fired |= firing
            time.sleep(0.3)

    def firing(self):
        found = self.asked("alerts")["alerts"]
        return {a["labels"]["alertname"] for a in found if a["state"] == "firing"}


@contextmanager
def prometheus(folder, port):
    rules = (DEPLOY / "prometheus/alerts.yml").read_text()
    for long, short in SHORTER.items():
        assert re.search(long, rules, re.MULTILINE) or long == "15s", long
        rules = re.sub(long, short, rules, flags=re.MULTILINE)
    (folder / "alerts.yml").write_text(rules)
    config = (DEPLOY / "prometheus/prometheus.yml").read_text()
    config = config.replace("15s", "1s").replace("127.0.0.1:9464", f"127.0.0.1:{port}")
    (folder / "prometheus.yml").write_text(config)
    own = free_ports(1)[0]
    process = subprocess.Popen(
        [PROMETHEUS, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
         f"--web.listen-address=127.0.0.1:{own}"],
        stderr=(folder / "prometheus.log").open("wb"),
    )  # fmt: skip
    try:
        yield ready(f"http://127.0.0.1:{own}", process, folder / "prometheus.log")
    finally:
        process.terminate()
        process.wait()


def ready(address, process, log):
    """It, once it answers: it opens its port a while after it begins."""
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{address}/-/ready"):
            return Prometheus(address)
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@contextmanager
def running(names, settings, spark):
    """Flows that run beside the test."""
    stop, failed = threading.Event(), []

    def work():
        try:
            run([flow(name) for name in names], settings, lambda: spark, stop=stop)
        except BaseException as error:  # noqa: BLE001  # told below
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert failed == []


class Stage:
    """A lake, its numbers on a port, and who sends to its topic."""

    def __init__(self, settings, port, producer):
        self.settings, self.port, self.topic = settings, port, settings.products["sales"].topic
        self._producer, self._sent, self._served = producer, 0, ExitStack()
        self._observer = Observer(settings, lambda s: s)

    def serve(self):
        self._served.enter_context(served(self.port, metric_routes(Measured(self._observer))))

    def hush(self):
        self._served.close()

    def send(self, count, *bad):
        events = [sale(event_id=f"e{self._sent + n}") for n in range(count)]
        self._sent += count
        for value in (*encode(*events), *bad):
            self._producer.send(self.topic, value)
        self._producer.flush()

    def prove(self, wrong=False):
        """Keep an audit; a wrong one says that a table of silver differs."""
        broker = broker_of(self.settings, "sales")
        found = audit("sales", self.settings, broker, datetime.now(UTC), lambda _: None)
        if wrong:
            differs = found.tables[0].__class__("silver.sales_by_client", fault="two rows differ")
            found = found.__class__(**{**vars(found), "tables": (differs,)})
        keep(found, self.settings)
        return found.verdict.value

    def close(self):
        self.hush()
        self._observer.close()


@pytest.fixture
def stage(kafka, tmp_path):
    environment = sales_from(kafka, f"prometheus-{tmp_path.name}")
    settings = settings_of(environment).with_root(tmp_path / "lake")
    for service in (*SERVICES, "other"):  # another test of this process may have waited in vain
        HEALTH.back(service)
    with closing(KafkaProducer(bootstrap_servers=kafka)) as producer:
        stage = Stage(settings, free_ports(1)[0], producer)
        stage.serve()
        yield stage
        stage.close()


def expressions():
    """Every expression of the board, then of the alerts without what they are compared with."""
    board = json.loads((DEPLOY / "grafana/lakehouse.json").read_text())
    for panel in board["panels"]:
        yield from (
            target["expr"].replace("$__rate_interval", "30s") for target in panel["targets"]
        )
    for line in (DEPLOY / "prometheus/alerts.yml").read_text().splitlines():
        if found := re.match(r"\s+expr: (.*?)( [<>=]=? ?[\d.]+)?$", line):
            yield found[1]


def test_every_expression_has_data_and_every_alert_fires_and_clears(
    stage, spark, tmp_path, monkeypatch
):
    subprocess.run(["promtool", "check", "rules", DEPLOY / "prometheus/alerts.yml"], check=True)
    RESTARTS.labels("the flows")
    with prometheus(tmp_path, stage.port) as seen:
        with running(["sales.bronze", "sales.silver"], stage.settings, spark):
            for n in range(3):
                stage.send(20, b"{")
                seen.until(lambda n=n: _rows(seen) >= 20 * (n + 1))
            assert stage.prove() == "PROVEN"
            seen.until(lambda: [e for e in expressions() if not _data(seen, e)] == [])
            stage.send(5, b"{", b"[]")
            seen.until(lambda: {"LakehouseOldEvents", "LakehouseQuarantineGrows"} <= seen.fired)
        with running(["sales.bronze"], stage.settings, spark):
            stage.send(4)
            seen.until(lambda: "LakehouseFollowerBehind" in seen.fired)
        stage.send(9)
        HEALTH.away("Kafka at nowhere", "no answer")
        RESTARTS.labels("the flows").inc(5)
        monkeypatch.setattr(observed, "room", lambda folder: Room(folder, 1, 100))
        damaged = _newest(Path(stage.settings.lake.root, "silver/sales_trends/_delta_log"))
        whole = damaged.read_bytes()
        damaged.write_bytes(b"{")
        assert stage.prove(wrong=True) == "NOT PROVEN"
        seen.until(lambda: _all_but_down() <= seen.fired)
        monkeypatch.undo()
        damaged.write_bytes(whole)
        HEALTH.back("Kafka at nowhere")
        with running(["sales.bronze", "sales.silver"], stage.settings, spark):
            seen.until(lambda: _waiting(seen) == 0)
            seen.until(lambda: _is_proven_again(stage, seen))
            seen.until(lambda: _all_but_down() <= seen.cleared)
            stage.hush()
            seen.until(lambda: "LakehouseDown" in seen.fired)
            stage.serve()
            seen.until(lambda: "LakehouseDown" in seen.cleared)


def _is_proven_again(stage, seen):
    """Whether an audit is no older than the alert takes: on a busy machine one takes seconds."""
    assert stage.prove() == "PROVEN"
    return "LakehouseAuditOld" in seen.cleared


def _all_but_down():
    named = re.findall(r"alert: (\w+)", (DEPLOY / "prometheus/alerts.yml").read_text())
    return {*named} - {"LakehouseDown"}


def _data(seen, expression):
    return seen.asked("query", query=expression)["result"]


def _number(seen, expression):
    found = _data(seen, expression)
    return float(found[0]["value"][1]) if found else None


def _rows(seen):
    return _number(seen, 'sum(lakehouse_table_rows{table="bronze.sales"})') or 0


def _waiting(seen):
    return _number(seen, "sum(lakehouse_partition_lag_records)")


def _newest(log):
    return max(log.glob("*.json"))
