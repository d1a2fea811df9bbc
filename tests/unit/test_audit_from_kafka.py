"""The audit recomputes some windows and sessions from Kafka's own records."""

import pytest

from lakehouse.audit.extent import Content
from lakehouse.audit.from_kafka import NAME, USERS, WINDOWS
from lakehouse.audit.run import Broker, audit
from lakehouse.ingest.topic import Topic
from tests.conftest import NOW
from tests.support import content
from tests.support.activity import Lake, did

EVENTS = [
    [did("09:00"), did("09:00:20", "bob"), did("09:01", "eve", event_id="e"), did("09:03", "bob")],
    [did("09:20", "eve", "click"), did("09:20:01", "eve", page="/b"), did("09:00", "bob")],
    [did("09:21", "eve", page="/b", event_id="e"), did("09:40"), did("09:41", "kim"), b"{"],
]


@pytest.fixture
def lake(settings):
    made = Lake(settings)
    for batch in EVENTS:
        made.land(*batch)
    made.silver.persist()
    return made


def asked(lake, *, values=None, beginning=0, how=Content.SAMPLE):
    """What the check says of a topic with these values, those from ``beginning`` on kept."""
    values = values or [value for batch in EVENTS for value in batch]
    kafka = content.Topic(values, beginning=beginning)
    topic = Topic("user_activity", "t1", {0: (beginning, len(values))})
    broker = Broker(lambda: topic, kafka.judge, kafka.records, lambda: False)
    proof = audit("activity", lake.settings, broker, NOW, lambda _: None, how)
    return next(check for check in proof.checks if check.name == NAME)


def test_windows_and_sessions_are_what_the_records_say(lake):
    found = asked(lake)
    assert (found.faults, found.doubts, found.first) == ((), (), ())
    # a copy and a late event count in none
    assert found.counts == {WINDOWS: 6 + 19, USERS: 4}
    assert asked(lake, how=Content.NONE).counts == {}


def test_records_that_say_something_else_are_named(lake):
    values = [value for batch in EVENTS for value in batch]
    values[3] = did("09:03", "mallory", page="/x")
    found = asked(lake, values=values)
    assert [fault.partition(":")[0] for fault in found.faults if "active" not in fault] == [
        "silver.activity_page_view_counts", "silver.activity_user_sessions",
    ]  # fmt: skip
    held = {row["held"] for row in found.first if row["column"] == "session_end"}
    assert [moment.strftime("%H:%M") for moment in held] == ["09:03"]


def test_what_expired_in_kafka_is_not_drawn(lake):
    found = asked(lake, beginning=4)
    assert found.faults == ()
    assert found.counts[USERS] == 1  # kim: of the others a record is gone
    assert 0 < found.counts[WINDOWS] < 25
