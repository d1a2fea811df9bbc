"""Followers beside bronze, where the machine has no room for their thread."""

import threading
from types import SimpleNamespace

import pyarrow as pa
import pytest

from lakehouse.core.metrics import WAITING
from lakehouse.ingest.landing import Landed
from lakehouse.runtime.following import Following


def test_a_thread_that_does_not_start_is_the_error_and_nothing_waits_for_it(monkeypatch):
    def full(_):
        raise RuntimeError("can't start new thread")

    following = Following([], 10)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        with pytest.raises(RuntimeError, match="can't start"):
            following.take(Landed(1, None, 1, 0, 0, 0, 0.1))
        following.wait()
    following.rest()
    following.wait()
    assert not following._waiting.batches


def test_what_waited_when_a_flow_fell_does_not_stay_in_the_metrics():
    follower, rows = SimpleNamespace(name="of a test"), pa.table({"kafka_time": [0]})
    Following([follower], 10).take(Landed(1, rows, 5, 0, 0, 0, 0.1, more=True))
    assert WAITING.labels("of a test")._value.get() == 5
    Following([follower], 10)  # the next start takes them from bronze
    assert WAITING.labels("of a test")._value.get() == 0
