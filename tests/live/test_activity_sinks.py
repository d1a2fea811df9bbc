"""Activity end to end: events in Kafka, windows and sessions in Postgres, an enriched topic."""

import json
from collections import Counter
from contextlib import closing

import psycopg
import pytest

from lakehouse.sinks.kafka_records import messages
from tests.live.conftest import settings_of, verb

pytestmark = pytest.mark.live
FLOWS = ["bronze", "silver", "parquet", "postgres", "enriched"]
TABLES = {"page_view_counts", "active_users", "user_sessions"}


@pytest.fixture
def place(kafka, postgres, tmp_path):
    """A lake, topics and a database of the test's own, as the environment names them."""
    name = f"a{abs(hash(tmp_path)) % 10**10}"
    with closing(psycopg.connect(postgres.url, autocommit=True)) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield {
            "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": kafka,
            "LAKEHOUSE_POSTGRES_URL": postgres.url.replace("/postgres?", f"/{name}?"),
            "LAKEHOUSE_LAKE_ROOT": str(tmp_path / "lake"),
            "LAKEHOUSE_ACTIVITY_TOPIC": name,
            "LAKEHOUSE_ACTIVITY_ENRICHED_TOPIC": f"{name}-enriched",
        }
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def flows_of(place):
    return json.loads(verb("status", "--json", **place).stdout)["flows"]


def test_sinks_agree_and_a_hand_in_them_is_found(place, land, tmp_path):
    words = ["produce", "activity", "--count", "3000", "--late", "0.02", "--corrupt", "0.02",
             "--bootstrap-servers", place["LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS"]]  # fmt: skip
    verb(*words, **place)
    flows = [f"activity.{name}" for name in FLOWS]
    land(flows, place, tmp_path / "lake")
    verb(*words, "--seed", "8", **place)
    [bronze] = [row for row in flows_of(place) if row["flow"] == "activity.bronze"]
    assert bronze["behind"] == 0
    assert bronze["waiting"] >= 3_000, bronze
    land(flows, place, tmp_path / "lake")
    proof = json.loads(verb("audit", "activity", "--caught-up", "--json", **place).stdout)
    tables = {t["table"]: t for t in proof["activity"]["tables"]}
    assert all(tables[f"postgres.{name}"]["rows"] for name in TABLES)
    enriched = place["LAKEHOUSE_ACTIVITY_ENRICHED_TOPIC"]
    settings = settings_of(place)
    sent = [json.loads(m.value()) for part in messages(settings.kafka, enriched) for m in part]
    assert len(sent) == tables[f"kafka.{enriched}"]["rows"] > 5_000
    assert set(Counter((e["partition"], e["offset"]) for e in sent).values()) == {1}
    in_session = [e for e in sent if e["session_start"]]
    assert len(in_session) > 0.4 * len(sent)
    assert all(e["session_start"] <= e["event_time"] for e in in_session)
    rows = [row for row in flows_of(place) if row["flow"].startswith("activity.")]
    found = {row["into"]: row["behind"] for row in rows}
    assert rows[0]["waiting"] == 0
    assert found["postgres.page_view_counts"] == 0
    assert found[f"topic {enriched}"] == 0

    with psycopg.connect(place["LAKEHOUSE_POSTGRES_URL"], autocommit=True) as hand:
        hand.execute("UPDATE page_view_counts SET views = views + 1 WHERE page_url = "
                     "(SELECT min(page_url) FROM page_view_counts)")  # fmt: skip
        hand.execute("TRUNCATE user_sessions")
    audited = verb("audit", "activity", "--json", check=False, **place)
    tables = {t["table"]: t for t in json.loads(audited.stdout)["activity"]["tables"]}
    assert audited.returncode == 1
    assert tables["postgres.page_view_counts"]["first"][0]["key"]["page_url"]
    verb("sink", "refill", "activity", **place)
    verb("audit", "activity", "--caught-up", **place)
    assert verb("sink", "refill", "sales", check=False, **place).returncode == 2
