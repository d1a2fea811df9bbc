"""A broker that lets nobody in unproven: who gets in, who is told what, and what stays hidden."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion
from pyspark.sql import SparkSession

from lakehouse.core.errors import LakehouseError, ServiceUnavailable
from lakehouse.doctor.doctor import kafka_checks
from lakehouse.products.registry import contracts
from lakehouse.products.sales.contract import SALES
from lakehouse.runtime.session import kafka_options
from lakehouse.settings.kafka_client import admin, ensure_topic
from producers.sales.generator import Shares
from producers.sales.producer import generator
from producers.sending import send
from tests.live.conftest import settings_of, verb
from tests.live.secured_broker import SecuredBroker

pytestmark = pytest.mark.live
AWKWARD = "c4n4ry \"\\ ;=,é'"


def produce(environment: dict[str, str], count: int = 200) -> Counter[str]:
    """Send so many events; how many belong in each place."""
    settings = settings_of(environment)
    shares = Shares(late=0, duplicates=0.02, corrupt=0.02)
    shop = generator(settings, 7, f"s{secrets.token_hex(4)}", shares)
    summary = send(settings, SALES, shop.history(count, datetime.now(UTC), 30))
    assert summary.acknowledged == summary.sent >= count
    return Counter(summary.expected)


# Who gets in


def test_events_land_over_tls_with_the_password_in_a_file(
    secured: SecuredBroker, land: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "password").write_text(secured.password + "\n")
    environment = secured.scram(sasl_password_file=str(tmp_path / "password"), sasl_password="")
    environment["LAKEHOUSE_SALES_TOPIC"] = "from-file"
    expected = produce(environment)
    land(["sales.bronze", "sales.silver"], environment, tmp_path / "lake")
    bronze, quarantine = (
        DeltaTable(tmp_path / "lake" / layer / "sales").to_pyarrow_table()
        for layer in ("bronze", "quarantine")
    )
    duplicates = sum(bronze["is_duplicate"].to_pylist())
    found = {"bronze": len(bronze), "duplicates": duplicates, "quarantine": len(quarantine)}
    assert found == expected


def test_the_audit_gets_in_by_every_way(
    secured: SecuredBroker, land: Callable[..., None], tmp_path: Path
) -> None:
    """Offsets, topic and the records of a gap are asked for as the settings say."""
    root, topic = tmp_path / "lake", {"LAKEHOUSE_SALES_TOPIC": "audited"}
    expected = produce({**secured.scram(), **topic})
    land(["sales.bronze", "sales.silver"], {**secured.scram(), **topic}, root)
    ways = {"scram": secured.scram(), "plain": secured.plain(), "tls": secured.mutual_tls()}
    refused = {"wrong": secured.scram(sasl_password="wrong"), "bare": secured.mutual_tls(
        ssl_certfile="", ssl_keyfile="")}  # fmt: skip

    def audited(way: str) -> tuple[str, int, dict[str, Any]]:
        environment = {**ways, **refused}[way] | topic
        done = verb("audit", "--json", "--root", root, check=False, **environment)
        assert "Traceback" not in done.stderr
        return way, done.returncode, json.loads(done.stdout)["sales"]

    found = [audited(way) for way in (*ways, *refused)]
    assert {way: code for way, code, _ in found} == dict.fromkeys(ways, 0) | dict.fromkeys(
        refused, 3
    )
    said = {way: " ".join(proof["doubts"]) for way, _, proof in found}
    assert re.search("refuses user 'anna'|hangs up while user 'anna'", said["wrong"])
    assert "refuses the client's certificate" in said["bare"]
    DeltaTable(root / "bronze" / "sales").delete('"partition" = 0')
    for way in ways:
        _, code, proof = audited(way)
        assert code == 1
        missing = sum(p["missing"] for p in proof["account"]["partitions"])
        assert 0 < missing < expected["bronze"], "read from Kafka, record by record"
    shown = verb("explore", "--root", root, "--sql", "SELECT count(*) FROM silver.sales_orders",
                 **refused["wrong"])  # fmt: skip
    assert "anna" not in shown.stdout + shown.stderr, "the explorer speaks to no broker"


def test_spark_gets_in_by_every_way(secured: SecuredBroker, spark: SparkSession) -> None:
    topic = {"LAKEHOUSE_SALES_TOPIC": "ways"}
    client = admin(settings_of(secured.scram()).kafka)
    client.alter_user_scram_credentials(
        [UserScramCredentialUpsertion("awkward", ScramMechanism.SCRAM_SHA_512, AWKWARD)]
    )
    client.close()
    ways = {
        "scram": secured.scram(),
        "awkward": secured.scram(sasl_username="awkward", sasl_password=AWKWARD),
        "plain": secured.plain(),
        "mutual_tls": secured.mutual_tls(),
    }
    total = 0
    for environment in ways.values():
        expected = produce({**environment, **topic}, 50)
        total += expected["bronze"] + expected["quarantine"]
    counts = {}
    for way, environment in ways.items():
        options = {**kafka_options(settings_of(environment).kafka), "subscribe": "ways"}
        counts[way] = spark.read.format("kafka").options(**options).load().count()
    assert counts == dict.fromkeys(ways, total)


def test_a_topic_is_made_and_known_again(secured: SecuredBroker) -> None:
    settings = settings_of({**secured.scram(), "LAKEHOUSE_SALES_TOPIC": "known"})
    made = ensure_topic(settings.kafka, settings.product("sales"))
    assert ensure_topic(settings.kafka, settings.product("sales")) == made
    states = {check.name: check.state for check in kafka_checks(settings)}
    others = [settings.product(name).topic for name in contracts() if name != "sales"]
    others = {f"topic {name}": "warn" for name in others}  # not made yet
    assert states == {"broker": "pass", "topic known": "pass", **others}


# Who is told what


BY_COMMAND = {
    "wrong password": "run",
    "unknown authority": "produce",
    "no authority": "run",
    "no password file": "produce",
    "no TLS to a TLS port": "run",
    "no client certificate": "produce",
    "no password": "run",
}


def failing(secured: SecuredBroker, folder: Path) -> dict[str, tuple[dict[str, str], int, str]]:
    """Wrong settings: what is set, the exit code, and words of the message."""
    nothing = str(folder / "none")
    stranger = str(secured.folder / "stranger.pem")
    rsa = str(secured.folder / "client.rsa")
    scram, plain, tls = secured.scram, secured.plain, secured.mutual_tls
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


def test_a_wrong_setting_is_told_plainly_and_soon(secured: SecuredBroker, tmp_path: Path) -> None:
    cases = failing(secured, tmp_path)

    for case, given in BY_COMMAND.items():
        words = ["run", "sales.bronze"] if given == "run" else ["produce", "--count", "9"]
        environment, code, told = cases[case]
        started = time.monotonic()
        root = {"LAKEHOUSE_LAKE_ROOT": str(tmp_path / case)}
        done = verb(*words, check=False, **environment, **root)
        said = " ".join(done.stderr.split())
        assert done.returncode == code, (case, said)
        assert re.search(told, said), (case, said)
        assert " fix: " in said, (case, said)
        assert "Traceback" not in said, case
        assert time.monotonic() - started < 100, case  # it waits for nobody for two minutes
        assert done.stdout == "", case


def test_the_doctor_names_the_same_faults(secured: SecuredBroker, tmp_path: Path) -> None:
    for case, (environment, code, words) in failing(secured, tmp_path).items():
        if code == 5 and case in BY_COMMAND and case != "wrong password":
            continue  # each takes two seconds
        with pytest.raises(LakehouseError) as caught:
            list(kafka_checks(settings_of(environment)))
        assert caught.value.exit_code == code, case
        assert re.search(words, str(caught.value)), (case, caught.value)


def test_a_topic_that_the_broker_will_not_make(secured: SecuredBroker) -> None:
    environment = {"LAKEHOUSE_SALES_TOPIC": "three", "LAKEHOUSE_SALES_REPLICATION_FACTOR": "3"}
    settings = settings_of({**secured.scram(), **environment})
    with pytest.raises(ServiceUnavailable, match="factor of 3 cannot be reached") as caught:
        ensure_topic(settings.kafka, settings.product("sales"))
    assert "replication_factor" in caught.value.remedy
