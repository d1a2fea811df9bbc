"""A fresh table on a topic whose history has expired: a batch is as large as what is left of it."""

import json

import pytest
from deltalake import DeltaTable
from kafka import KafkaProducer, TopicPartition

from tests.conftest import encode, sale
from tests.live.conftest import make_topic, sales_from

pytestmark = pytest.mark.live


def test_a_small_batch_after_a_long_history_is_landed_by_the_driver(kafka, admin, land, tmp_path):
    topic, root = f"expired-{tmp_path.name}", tmp_path / "lake"
    environment = sales_from(kafka, topic, LAKEHOUSE_LAKE_ROOT=str(root))
    make_topic(environment)
    with KafkaProducer(bootstrap_servers=kafka) as producer:
        for n, value in enumerate(encode(*[sale(event_id=f"e{n}") for n in range(400)])):
            producer.send(topic, value, partition=n % 2)
    admin.delete_records({TopicPartition(topic, partition): 190 for partition in (0, 1)})
    land(["sales.bronze"], environment, root)
    table = DeltaTable(str(root / "bronze" / "sales"))
    landed = [c for c in table.history() if "ends" in json.loads(c.get("userMetadata") or "{}")]
    assert [commit["operation"] for commit in landed] == ["WRITE"]
    assert "Spark" not in landed[0]["engineInfo"]
    assert table.to_pyarrow_dataset().count_rows() == 20
