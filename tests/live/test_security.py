"""A broker that lets nobody in unproven: who gets in, who is told what, and what stays hidden."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from lakehouse.contracts import CONTRACTS
from lakehouse.core.errors import LakehouseError, ServiceUnavailable
from lakehouse.core.kafka import admin, ensure_topic
from lakehouse.core.settings import Settings, load
from lakehouse.doctor import kafka_checks
from lakehouse.services.jars import default_cache, spark_jars
from lakehouse.services.java import find_java
from tests.live.conftest import ROOT, command, rows
from tests.live.secured_broker import SecuredBroker, secured_broker

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]
AWKWARD = "c4n4ry \"\\ ;=,é'"
READ = """
import json, os, sys
from pathlib import Path
from lakehouse.contracts import CONTRACTS
from lakehouse.core.settings import load
from lakehouse.runtime.session import Engine, kafka_options, session
products = {name: contract.settings for name, contract in CONTRACTS.items()}
home, jars, topic, ways = sys.argv[1:]
engine = Engine(Path(home), [Path(jar) for jar in jars.split(",")])
spark = session(load(products), "read", engine)
counts = {}
for way, variables in json.loads(ways).items():
    settings = load(products, environment={**os.environ, **variables})
    options = {**kafka_options(settings.kafka), "subscribe": topic}
    counts[way] = spark.read.format("kafka").options(**options).load().count()
print(json.dumps(counts))
"""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    with secured_broker(tmp_path_factory.mktemp("b"), f"c4n4ry-{secrets.token_hex(8)}") as running:
        yield running


def settings_of(environment: dict[str, str]) -> Settings:
    products = {name: contract.settings for name, contract in CONTRACTS.items()}
    return load(products, ROOT / "config.ini", environment)


def produce(environment: dict[str, str], count: int = 200) -> dict[str, int]:
    done = command("produce", "--count", count, "--corrupt", "0.02", "--json", **environment)
    sent = json.loads(done.stdout)
    assert sent["acknowledged"] == sent["sent"] >= count
    return dict(sent["expected"])


# Who gets in


def test_events_land_over_tls_with_the_password_in_a_file(
    broker: SecuredBroker, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text(broker.password + "\n")
    environment = broker.scram(sasl_password_file=str(tmp_path / "password"), sasl_password="")
    environment["LAKEHOUSE_SALES_TOPIC"] = "from-file"
    expected = produce(environment)
    command("run", "sales.bronze", "sales.silver", "--available-now", "--root", tmp_path / "lake",
            **environment)  # fmt: skip
    assert rows(
        tmp_path / "lake",
        """SELECT (SELECT count(*) FROM bronze.sales) AS bronze,
        (SELECT count(*) FROM bronze.sales WHERE is_duplicate) AS duplicates,
        (SELECT count(*) FROM quarantine.sales) AS quarantine""",
    ) == [expected]


def test_spark_gets_in_by_every_way(broker: SecuredBroker) -> None:
    topic = {"LAKEHOUSE_SALES_TOPIC": "ways"}
    client = admin(settings_of(broker.scram()).kafka)
    client.alter_user_scram_credentials(
        [UserScramCredentialUpsertion("awkward", ScramMechanism.SCRAM_SHA_512, AWKWARD)]
    )
    client.close()
    ways = {
        "scram": broker.scram(),
        "awkward": broker.scram(sasl_username="awkward", sasl_password=AWKWARD),
        "plain": broker.plain(),
        "mutual_tls": broker.mutual_tls(),
    }
    total = 0
    for environment in ways.values():
        expected = produce({**environment, **topic}, 50)
        total += expected["bronze"] + expected["quarantine"]
    java = find_java(default_cache())
    jars = ",".join(map(str, spark_jars(default_cache(), java, print)))
    done = subprocess.run(
        [sys.executable, "-c", READ, str(java.home), jars, "ways", json.dumps(ways)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == dict.fromkeys(ways, total)


def test_a_topic_is_made_and_known_again(broker: SecuredBroker) -> None:
    settings = settings_of({**broker.scram(), "LAKEHOUSE_SALES_TOPIC": "known"})
    made = ensure_topic(settings.kafka, settings.product("sales"))
    assert ensure_topic(settings.kafka, settings.product("sales")) == made
    states = {check.name: check.state for check in kafka_checks(settings)}
    assert states == {"broker": "pass", "topic known": "pass"}


# Who is told what


def failing(broker: SecuredBroker, folder: Path) -> dict[str, tuple[dict[str, str], int, str]]:
    """Wrong settings: what is set, the exit code, and words of the message."""
    nothing = str(folder / "none")
    stranger = str(broker.folder / "stranger.pem")
    rsa = str(broker.folder / "client.rsa")
    scram, plain, tls = broker.scram, broker.plain, broker.mutual_tls
    credentials = "refuses user 'anna'|hangs up while user 'anna'"
    return {
        "wrong password": (scram(sasl_password="wrong"), 5, credentials),
        "wrong password, no TLS": (plain(sasl_password="wrong"), 5, credentials),
        "unknown user": (scram(sasl_username="eve"), 5, "user 'eve'"),
        "unknown authority": (scram(ssl_cafile=stranger), 5, "certificate is not trusted"),
        "no authority": (scram(ssl_cafile=nothing), 2, r"\[kafka\] ssl_cafile: .*No such file"),
        "a key as authority": (scram(ssl_cafile=rsa), 2, "holds no '-----BEGIN CERTIFICATE"),
        "no password file": (
            scram(sasl_password="", sasl_password_file=nothing), 2, "sasl_password_file: .*No such",
        ),
        "no password": (scram(sasl_password=""), 2, "needs sasl_username and a password"),
        "no TLS to a TLS port": (scram(security_protocol="PLAINTEXT"), 5, "speaks? "),
        "TLS to a port without": (plain(security_protocol="SASL_SSL"), 5, "does not speak TLS"),
        "no client certificate": (
            tls(ssl_certfile="", ssl_keyfile=""), 5, "refuses the client's certificate",
        ),
        "a key in PKCS#1": (tls(ssl_keyfile=rsa), 2, "(?s)ssl_keyfile.*openssl pkcs8"),
        "half a certificate": (tls(ssl_keyfile=""), 2, "go together"),
    }  # fmt: skip


def test_a_wrong_setting_is_told_plainly_and_soon(broker: SecuredBroker, tmp_path: Path) -> None:
    cases = failing(broker, tmp_path)

    def attempt(case: str) -> tuple[str, float, subprocess.CompletedProcess[str]]:
        verb = ["run", "sales.bronze"] if len(case) % 2 else ["produce", "--count", "10"]
        environment = {**cases[case][0], "LAKEHOUSE_LAKE_ROOT": str(tmp_path / "lake")}
        started = time.monotonic()
        done = command(*verb, check=False, **environment)
        return case, time.monotonic() - started, done

    with ThreadPoolExecutor(4) as threads:
        for case, seconds, done in threads.map(attempt, cases):
            _, code, words = cases[case]
            said = " ".join(done.stderr.split())
            assert done.returncode == code, (case, said)
            assert re.search(words, said), (case, said)
            assert " fix: " in said, (case, said)
            assert "Traceback" not in said, case
            assert seconds < 30, case
            assert done.stdout == "", case


def test_the_doctor_names_the_same_faults(broker: SecuredBroker, tmp_path: Path) -> None:
    cases = failing(broker, tmp_path)
    for case in ("wrong password", "no authority", "no password file", "no password"):
        environment, code, words = cases[case]
        with pytest.raises(LakehouseError) as caught:
            list(kafka_checks(settings_of(environment)))
        assert caught.value.exit_code == code, case
        assert re.search(words, str(caught.value)), (case, caught.value)


def test_a_topic_that_the_broker_will_not_make(broker: SecuredBroker) -> None:
    environment = {"LAKEHOUSE_SALES_TOPIC": "three", "LAKEHOUSE_SALES_REPLICATION_FACTOR": "3"}
    settings = settings_of({**broker.scram(), **environment})
    with pytest.raises(ServiceUnavailable, match="factor of 3 cannot be reached") as caught:
        ensure_topic(settings.kafka, settings.product("sales"))
    assert "replication_factor" in caught.value.remedy
