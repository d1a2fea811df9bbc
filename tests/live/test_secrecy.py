"""What must not be seen: secrets. Who must not be heard beyond loopback: test_away."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import pytest
from deltalake import DeltaTable

from lakehouse.services.folder import free_ports
from tests.conftest import long
from tests.live.conftest import LAKEHOUSE, ROOT, command
from tests.live.secured_broker import SecuredBroker
from tests.support.copies_of_one import copies_of_one
from tests.support.watch import Watch, with_web_page

pytestmark = pytest.mark.live
PAGES = [18, *long(40)]
"""Of Spark's web page: those of one kind, of queries and their stages, differ in numbers."""
LOGGED = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
from lakehouse.products.registry import load_settings
from lakehouse.settings.kafka_client import admin
settings = load_settings()
admin(settings.kafka).close()
print(repr(settings), settings.model_dump())
"""
LOADED = """
import lakehouse.audit.run, lakehouse.cli.explore, lakehouse.doctor.doctor
from lakehouse.cli.app import main
"""
ASKED = [["explore", "--batch"], ["schema", "sales"]]
REFUSED = [["audit"], ["doctor", "--json"]]


@contextmanager
def running(
    words: Sequence[str | Path],
    environment: dict[str, str],
    folder: Path,
) -> Iterator[tuple[Watch, Path]]:
    """A lakehouse command under watch, once it has landed a batch; then SIGTERM, and exit 0."""
    err = folder / "stderr"
    with err.open("wb") as errors, (folder / "stdout").open("wb") as out:
        process = subprocess.Popen(
            [*LAKEHOUSE, *map(str, words)],
            cwd=ROOT, env={**os.environ, **environment}, stdout=out, stderr=errors,
        )  # fmt: skip
        watch = Watch(process.pid)
        watch.start()
        try:
            deadline = time.monotonic() + 300
            while b"batch landed" not in err.read_bytes():
                assert process.poll() is None, err.read_text()[-2000:]
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield watch, err
            process.send_signal(signal.SIGTERM)
            assert process.wait(200) == 0
        finally:
            process.kill()
            process.wait()
            watch.stop()


def watched(
    words: Sequence[str | Path], environment: dict[str, str]
) -> tuple[subprocess.CompletedProcess[str], Watch]:
    """A lakehouse command that ends by itself, run under watch."""
    process = subprocess.Popen(
        [*LAKEHOUSE, *map(str, words)],
        cwd=ROOT, env={**os.environ, **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    watch = Watch(process.pid)
    watch.start()
    out, err = process.communicate(timeout=300)
    watch.stop()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err), watch


def web_pages(port: int, most: int) -> dict[str, str]:
    """Pages of Spark's web page that links lead to, and what its API says, by address."""
    base = f"http://127.0.0.1:{port}"
    application = json.loads(_get(f"{base}/api/v1/applications"))[0]["id"]
    api = f"{base}/api/v1/applications/{application}"
    queue = [f"{api}/{name}" for name in ("environment", "sql?details=true&length=1000", "jobs")]
    queue += [f"{base}/{name}/" for name in ("environment", "SQL", "StreamingQuery", "stages")]
    seen: dict[str, str] = {}
    while queue and len(seen) < most:
        address = queue.pop(0)
        if address in seen:
            continue
        seen[address] = _get(address)
        links = re.findall(r'href="([^"#]+)', seen[address])
        found = [urljoin(address, link.replace("&amp;", "&")) for link in links]
        queue += [
            a for a in found if a.startswith(base) and "/static/" not in a and "kill" not in a
        ]
    return seen


def _get(address: str) -> str:
    try:
        with urllib.request.urlopen(address, timeout=100) as answer:
            return str(answer.read().decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        return error.read().decode("utf-8", "replace")


@pytest.mark.parametrize("pages", PAGES)
def test_secrets_are_nowhere_to_be_seen(secured: SecuredBroker, tmp_path: Path, pages: int) -> None:
    root, port = tmp_path / "lake", free_ports(1)[0]
    key = (secured.folder / "client.key").read_text().splitlines()[3]
    certificate = {
        "ssl_certfile": str(secured.folder / "client.pem"),
        "ssl_keyfile": str(secured.folder / "client.key"),
    }
    environment = {
        **secured.scram(**certificate),
        **with_web_page(tmp_path, port),
        "LAKEHOUSE_LAKE_ROOT": str(root),
        "LAKEHOUSE_LOGGING_LEVEL": "debug",
        "LAKEHOUSE_SPARK_LOG_LEVEL": "DEBUG",
    }
    wrong = {**environment, "LAKEHOUSE_KAFKA_SSL_CAFILE": str(secured.folder / "stranger.pem")}
    logged = [sys.executable, "-c", LOGGED]
    sent = command("produce", "--count", 200, "--json", **environment)
    said = {"produce": sent.stdout + sent.stderr}
    with running(["run", "sales.bronze", "sales.silver"], environment, tmp_path) as (watch, err):
        said |= web_pages(port, pages)
    audit, audit_watch = watched(["audit", "--keep", "--json"], environment)
    said |= {"audit": audit.stdout + audit.stderr}
    said |= {"audit's processes": "\n".join(audit_watch.command_lines)}
    with ThreadPoolExecutor(3) as threads:
        jobs = {
            "asked": threads.submit(copies_of_one, LOADED, "main()", ASKED, **environment),
            "refused": threads.submit(copies_of_one, LOADED, "main()", REFUSED, **wrong),
            "wrong": threads.submit(command, "run", "sales.bronze", check=False, **wrong),
            "logged": threads.submit(
                subprocess.run, logged, cwd=ROOT, env={**os.environ, **environment},
                capture_output=True, text=True, check=True,
            ),
        }  # fmt: skip
        done = {name: job.result() for name, job in jobs.items()}
    done |= zip(("explore", "schema"), done.pop("asked"), strict=True)
    done |= zip(("refused audit", "doctor"), done.pop("refused"), strict=True)
    assert (done["explore"].returncode, done["schema"].returncode) == (0, 0)
    said |= {name: process.stdout + process.stderr for name, process in done.items()}
    said |= {"command lines": "\n".join(watch.command_lines)}
    said |= {"run": err.read_text(errors="replace") + (tmp_path / "stdout").read_text()}
    said |= {str(p): p.read_bytes().decode("latin-1") for p in root.rglob("*") if p.is_file()}

    landed = DeltaTable(root / "bronze" / "sales").to_pyarrow_table(columns=["offset"]).num_rows
    assert landed == json.loads(sent.stdout)["expected"]["bronze"]
    assert (done["doctor"].returncode, done["wrong"].returncode) == (1, 5)
    assert (audit.returncode, done["refused audit"].returncode) == (0, 3), audit.stdout
    assert json.loads(audit.stdout)["sales"]["verdict"] == "PROVEN"
    assert "certificate is not trusted" in " ".join(said["refused audit"].split())
    assert any("audit" in line for line in audit_watch.command_lines)
    assert "certificate is not trusted" in said["doctor"]
    assert "Starting KafkaAdminClient with configuration" in said["logged"]
    assert "Admin params" in said["run"]
    assert any("spark.sql.extensions" in said[a] for a in said if a.endswith("/environment"))
    assert len(watch.command_lines) >= 2
    for secret in (secured.password, key):
        assert [place for place, text in said.items() if secret in text] == []
