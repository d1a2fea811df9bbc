"""Customers of a real topic scored: one outcome each, whatever is killed, swapped or taken over."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime

import pytest
from confluent_kafka import Producer

from lakehouse.core.errors import ServiceAway, TableLocked, TableMissing
from lakehouse.core.signals import Stop
from lakehouse.products.churn.model import reading
from lakehouse.products.churn.model.span import Span
from lakehouse.products.churn.model.stream import ScoringService
from lakehouse.products.churn.settings import churn_of
from lakehouse.services.jars import default_cache, kafka_jars
from lakehouse.services.java import find_java
from lakehouse.services.kafka import EmbeddedKafka
from tests.live.conftest import ROOT
from tests.support.churn import customer, value
from tests.support.models import small
from tests.support.record_batches import Repeated, batch, produce
from tests.support.scored import BROKEN, Topics, until

pytestmark = pytest.mark.live


@pytest.fixture
def topics(tmp_path, kafka):
    made = Topics(tmp_path / "lake", kafka, tmp_path.name)
    made.models.promote(made.models.save(small()).version)
    return made


def in_thread(service):
    failed = []

    def work():
        try:
            service.run()
        except BaseException as error:  # noqa: BLE001  # looked at by the test
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, failed


def scoring(topics, count):
    """A service in a thread, once it has scored so many customers; what stops it, and its end."""
    service = ScoringService(topics.settings, stop := Stop())
    topics.send(*topics.customers(count))
    ended = in_thread(service)
    until(lambda: service.scored.predictions == count)
    return service, stop, *ended


def test_each_record_has_a_prediction_or_a_dead_letter(topics):
    topics.send(
        *topics.customers(300), *BROKEN, value(customer(event_id="odd", customerID='"Ω"\n'))
    )
    scored = topics.score()
    assert (scored.predictions, scored.dead_letters) == (301, len(BROKEN))
    topics.all_once()
    assert topics.score().transactions == 0
    topics.send(*topics.customers(5))
    assert topics.score().predictions == 5
    topics.all_once()


def test_a_prediction_says_what_it_was_made_of_and_why(topics):
    topics.send(value(customer(event_id="one", customerID='"Ω"\n', TotalCharges=" ")))
    topics.score()
    [told] = topics.predictions()
    card = small().card
    assert told["event_id"] == f"one@{card.version}"
    assert (told["input_event_id"], told["customerID"]) == ("one", '"Ω"\n')
    assert (told["input_topic"], told["input_offset"]) == (churn_of(topics.settings).topic, 0)
    assert told["threshold"] == card.threshold
    assert told["prediction"] == ("Yes" if told["probability"] >= card.threshold else "No")
    why = json.loads(told["contributions"])
    assert len(why) == 3
    shares = [abs(one["contribution"]) for one in why]
    assert shares == sorted(shares, reverse=True)
    assert all(customer()[one["feature"]] == one["value"] for one in why if one["value"])


def test_a_dead_letter_is_the_record_with_the_headers_of_kafka_connect(topics):
    topics.send(value(customer(tenure=-1)))
    topics.score()
    [letter] = topics.letters()
    assert (letter.key(), letter.value()) == (b"k1", value(customer(tenure=-1)))
    headers = dict(letter.headers())
    assert headers["mine"] == b"\x00"
    assert headers["__connect.errors.topic"].decode() == churn_of(topics.settings).topic
    assert headers["__connect.errors.offset"] == b"0"
    assert headers["verdict"] == headers["__connect.errors.exception.message"]
    assert headers["verdict"] == b"'tenure' is out of range: -1"


_CHILD = """
import sys
from lakehouse.products.churn.model import reading
from lakehouse.cli.app import main
reading.AT_ONCE = 40
sys.argv = ["lakehouse", "churn", "score", "--batch", "--root", sys.argv[1]]
main()
"""


def _killed_at(topics, root, step):
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(root)], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, **topics.environment, "LAKEHOUSE_FAILPOINT": step},
        timeout=300, check=False,
    )  # fmt: skip
    return done.returncode


@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=pytest.mark.long)])
def test_killed_again_and_again_each_record_still_has_one_outcome(topics, tmp_path, kills):
    for number in range(kills):
        topics.send(*topics.customers(100), *BROKEN[: number % 6])
        step = ("kafka-sent", "kafka-committed")[number % 2]
        assert _killed_at(topics, tmp_path / "lake", f"{step}:{1 + number % 3}") == -9
        assert max(topics.addresses().values(), default=1) == 1
    assert topics.score().predictions > 0
    topics.all_once()


def test_a_promoted_model_is_taken_up_and_a_damaged_one_is_not(topics):
    _, stop, thread, failed = scoring(topics, 10)
    second = topics.models.save(small(2)).version
    topics.models.promote(second)

    def scores():
        """Which model scores a record that is sent now."""
        topics.send(*topics.customers(1))
        until(lambda: len(topics.predictions()) == topics.count)
        (said,) = (
            one for one in topics.predictions() if one["input_event_id"] == f"e{topics.count - 1}"
        )
        return said["model_version"]

    until(lambda: scores() == second)
    assert topics.models.rollback().version == small().card.version
    until(lambda: scores() == small().card.version)
    (topics.models.folder / second / "model.onnx").write_bytes(b"damaged")
    (topics.models.folder / "promoted.json").write_text(json.dumps({"version": second}))
    time.sleep(1.5)
    assert scores() == small().card.version
    stop.set()
    thread.join()
    assert not failed
    topics.all_once()


def test_a_second_scorer_takes_over_and_the_first_ends_in_words(topics):
    first, second = (ScoringService(topics.settings, Stop()) for _ in range(2))
    thread, failed = in_thread(first)
    topics.send(*topics.customers(10))
    until(lambda: first.scored.predictions == 10)
    other, failed_too = in_thread(second)
    until(lambda: second._kafka.is_open)
    until(lambda: topics.send(*topics.customers(5)) or failed)
    assert isinstance(failed[0], TableLocked)
    second._stop.set()
    for one in (thread, other):
        one.join()
    assert not failed_too
    topics.score()
    topics.all_once()


def test_a_batch_that_the_c_client_does_not_unpack_is_scored_too(topics):
    topics.send(*topics.customers(30))
    servers, topic = topics.settings.kafka.bootstrap_servers, churn_of(topics.settings).topic
    packed = [(b"k", value(customer(event_id=f"p{n}")), []) for n in range(20)]
    huge = (b"k", Repeated(b"x", 1200 * 2**20), [("mine", b"")])
    produce(servers, topic, batch([*packed, huge], "gzip"), 1)
    topics.send(*topics.customers(30))
    scored = topics.score()
    assert (scored.predictions, scored.dead_letters) == (80, 1)
    assert max(topics.addresses().values()) == 1
    [letter] = topics.letters()
    assert letter.value() is None
    assert b"larger than" in dict(letter.headers())["verdict"]


def test_a_partition_that_a_topic_gets_is_scored_too(topics, admin, monkeypatch):
    monkeypatch.setattr(reading, "LOOK", 0.5)
    service, stop, thread, failed = scoring(topics, 3)
    topic = churn_of(topics.settings).topic
    admin.create_partitions({topic: 4})
    until(lambda: len(admin.describe_topics([topic])[0]["partitions"]) == 4)
    producer = Producer({"bootstrap.servers": topics.settings.kafka.bootstrap_servers})
    producer.produce(topic, value(customer(event_id="fourth")), partition=3)
    assert producer.flush(60) == 0
    until(lambda: service.scored.predictions == 4 or failed)
    stop.set()
    thread.join()
    assert not failed


def test_a_topic_that_was_rebuilt_is_scored_from_its_beginning(topics, admin):
    topics.send(*topics.customers(30))
    topics.score()
    admin.delete_topics([churn_of(topics.settings).topic])
    until(lambda: churn_of(topics.settings).topic not in admin.list_topics())
    topics.count = 0
    topics.send(*topics.customers(60))
    assert topics.score().predictions == 60


def test_a_topic_that_is_rebuilt_while_it_scores_is_scored_from_its_beginning(
    topics, admin, monkeypatch
):
    monkeypatch.setattr(reading, "LOOK", 0.5)
    _, stop, thread, failed = scoring(topics, 30)
    topic = churn_of(topics.settings).topic
    admin.delete_topics([topic])
    until(lambda: topic not in admin.list_topics())
    topics.send(*topics.customers(300))  # more than the former one had, at once
    sent = {f"e{n}" for n in range(330)}
    until(lambda: failed or {one["input_event_id"] for one in topics.predictions()} == sent)
    stop.set()
    thread.join()
    assert not failed


def test_without_a_model_it_waits_and_without_a_broker_it_says_so(tmp_path, kafka):
    topics = Topics(tmp_path / "lake", kafka, tmp_path.name)
    topics.send(*topics.customers(3))
    with pytest.raises(TableMissing, match="no version is promoted"):
        topics.score()
    service = ScoringService(topics.settings, stop := Stop())
    thread, failed = in_thread(service)
    topics.models.promote(topics.models.save(small()).version)
    until(lambda: service.scored.predictions == 3)
    stop.set()
    thread.join()
    assert not failed
    away = topics.settings.with_kafka("127.0.0.1:9")
    away = away.changed(services={"patience": away.services.patience * 0})
    with pytest.raises(ServiceAway):
        ScoringService(away, Stop()).run()


def test_a_span_is_scored_again_by_another_model_and_resumed(topics):
    topics.send(*topics.customers(100), *BROKEN)
    topics.score()
    until = datetime.now(UTC)
    time.sleep(0.01)
    topics.send(*topics.customers(50))
    topics.score()
    other = topics.models.save(small(2)).version
    span = Span(until=until, model=other)
    assert ScoringService(topics.settings, Stop(), span).run().predictions == 100
    assert ScoringService(topics.settings, Stop(), span).run().transactions == 0
    rest = Span(since=until, model=other)
    assert ScoringService(topics.settings, Stop(), rest).run().predictions == 50
    topics.settle()
    by = Counter(one["model_version"] for one in topics.predictions())
    assert by == {small().card.version: 150, other: 150}
    assert len(topics.letters()) == len(BROKEN)
    assert max(Counter(one["event_id"] for one in topics.predictions()).values()) == 1


def test_a_broker_that_is_killed_is_waited_for(tmp_path):
    cache = default_cache()
    java = find_java(cache)
    jars = kafka_jars(cache, java, print)
    with EmbeddedKafka.start(tmp_path / "broker", java=java, jars=jars) as broker:
        topics = Topics(tmp_path / "lake", broker.bootstrap_servers, tmp_path.name)
        topics.models.promote(topics.models.save(small()).version)
        service, stop, thread, failed = scoring(topics, 100)
        os.kill(broker.pid, signal.SIGKILL)
        until(lambda: not service._kafka.is_open)
        with EmbeddedKafka.start(tmp_path / "broker", java=java, jars=jars) as again:
            assert again.bootstrap_servers == broker.bootstrap_servers
            topics.send(*topics.customers(100))
            until(lambda: service.scored.predictions == 200 or failed)
            stop.set()
            thread.join()
            assert not failed
            topics.all_once()
