"""The scorer killed at any moment, and a batch that is read ahead: each record has one outcome."""

import multiprocessing
import os
import random
import signal
import time

import pytest

from lakehouse.core.signals import Stop
from lakehouse.products.churn.model import ahead, reading
from lakehouse.products.churn.model.stream import ScoringService
from tests.conftest import settings_at
from tests.support.models import small
from tests.support.scored import BROKEN, Topics

pytestmark = [pytest.mark.live, pytest.mark.timeout(1_800)]
KILLS = 300
PRELOADED = ["onnxruntime", "confluent_kafka", "lakehouse.products.churn.model.stream", __name__]


@pytest.fixture
def topics(tmp_path, kafka):
    made = Topics(tmp_path / "lake", kafka, tmp_path.name)
    made.models.promote(made.models.save(small()).version)
    return made


def _score(root, environment, is_batch):
    os.environ.update(environment)
    reading.AT_ONCE, reading.MANY, ahead._TAKEN = 40, 1, 20_000
    ScoringService(settings_at(root), Stop(), available_now=is_batch).run()


@pytest.mark.long
def test_killed_at_any_moment_each_record_has_one_outcome(topics, tmp_path):
    """Scorers are copies of a process that has loaded everything: a kill meets them at work."""
    context, draw = multiprocessing.get_context("forkserver"), random.Random(7)
    context.set_forkserver_preload(PRELOADED)
    most, ends = 1.5, []
    for number in range(KILLS):
        topics.send(*topics.customers(60), *BROKEN[: number % 6])
        told = (tmp_path / "lake", topics.environment, number % 2 == 1)
        scorer = context.Process(target=_score, args=told)
        scorer.start()
        time.sleep(draw.uniform(0.1, most))
        scorer.kill()
        scorer.join()
        assert scorer.exitcode in {-signal.SIGKILL, 0}
        before, ends = ends, topics.ends("read_uncommitted")
        most *= 0.8 if before != ends else 1.25  # about each second one has begun to write
    before = topics.addresses()
    assert before.total() > 0
    assert max(before.values()) == 1
    topics.score()
    topics.all_once()


@pytest.fixture
def ahead_of(topics, monkeypatch):
    """Topics whose batches are read ahead, a few records at a time."""
    monkeypatch.setattr(reading, "MANY", 1)
    monkeypatch.setattr(ahead, "_TAKEN", 20_000)
    return topics


def test_a_batch_that_is_read_ahead_says_what_any_other_does(ahead_of):
    ahead_of.send(*ahead_of.customers(300), *BROKEN)
    scored = ahead_of.score()
    assert (scored.predictions, scored.dead_letters) == (300, len(BROKEN))
    assert scored.transactions > 2
    ahead_of.all_once()
    ahead_of.send(*ahead_of.customers(50))
    assert ahead_of.score().predictions == 50
    ahead_of.all_once()


def test_a_batch_that_is_read_ahead_stops_between_two_transactions(ahead_of):
    ahead_of.send(*ahead_of.customers(600))
    service = ScoringService(ahead_of.settings, stop := Stop(), available_now=True)
    committed = service._kafka.commit

    def commit():
        committed()
        stop.set()

    service._kafka.commit = commit
    service.run()
    ahead_of.settle()
    assert 0 < service.scored.predictions < 600
    assert ahead_of.addresses().total() == service.scored.predictions
    ahead_of.score()
    ahead_of.all_once()
