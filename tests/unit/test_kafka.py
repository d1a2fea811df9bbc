"""A topic that a slow broker tells of late, and a secret that does not print."""

from datetime import timedelta

import pytest

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.settings import kafka_client as module
from lakehouse.settings.kafka_client import Hidden, ensure_topic
from lakehouse.settings.refusal import refusal


class SlowBroker:
    """An admin client whose broker tells of a new topic only at the n-th question."""

    def __init__(self, tells_at):
        self.tells_at, self.asked, self.made, self.closed = tells_at, 0, [], False

    def describe_topics(self, topics):
        self.asked += 1
        known = self.asked >= self.tells_at
        return [{"name": topics[0], "error_code": 0 if known else 3, "topic_id": "id"}]

    def create_topics(self, topics):
        self.made += topics

    def close(self):
        self.closed = True


@pytest.mark.parametrize(("tells_at", "made"), [(1, 0), (2, 1), (5, 1)])
def test_a_topic_is_waited_for(settings, monkeypatch, tells_at, made):
    broker = SlowBroker(tells_at)
    monkeypatch.setattr(module, "admin", lambda _: broker)
    assert ensure_topic(settings.kafka, settings.product("sales")) == "id"
    assert len(broker.made) == made
    assert broker.closed


def test_a_topic_is_not_waited_for_forever(settings, monkeypatch):
    monkeypatch.setattr(module, "admin", lambda _: SlowBroker(10**9))
    kafka = settings.kafka.model_copy(update={"request_timeout": timedelta(seconds=0.1)})
    with pytest.raises(ServiceUnavailable, match="does not tell of it"):
        ensure_topic(kafka, settings.product("sales"))


def test_a_hidden_password_is_whole_and_prints_as_asterisks():
    hidden = Hidden("canary")
    assert hidden.encode() == b"canary"
    assert "canary" not in f"{ {'sasl_plain_password': hidden} }"


def test_no_refusal_where_waiting_may_help(settings):
    assert refusal(settings.kafka, []) is None
    assert refusal(settings.kafka, ["KafkaConnectionError: 111 ECONNREFUSED"]) is None
