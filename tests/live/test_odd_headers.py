"""Headers with names and values that are no text: quarantined, and audited against Kafka."""

import json

import pytest
from kafka import KafkaProducer

from tests.conftest import sale
from tests.live.conftest import make_topic, rows, sales_from, verb
from tests.support.headers import Odd

pytestmark = pytest.mark.live
HEADERS = [(Odd("x"), b"\xff"), ("nothing", b""), ("", b""), ("ü", "ü".encode())]


def test_quarantine_with_odd_headers_is_proven(kafka, land, tmp_path):
    topic, root = f"headers-{tmp_path.name}", tmp_path / "lake"
    environment = sales_from(kafka, topic, LAKEHOUSE_LAKE_ROOT=str(root))
    make_topic(environment)
    good = json.dumps(sale(event_time="2026-11-20T11:00:00+00:00")).encode()
    with KafkaProducer(bootstrap_servers=kafka) as producer:
        for value in (b"{", good, b"[", good[:-1], b""):
            for headers in (HEADERS, [("h", b"1")]):
                producer.send(topic, value, headers=headers, partition=0)
    land(["sales.bronze", "sales.silver"], environment, root)
    done = verb("audit", "sales", "--content", "all", check=False, **environment)
    assert done.stdout.startswith("PROVEN: 10 of 10 records, content of all"), done.stdout
    names = rows(root, 'SELECT headers[1].key AS name FROM quarantine.sales ORDER BY "offset"')
    assert [row["name"] for row in names] == ["a\ufffd\ufffdz", "h"] * 4
