"""One patience for every service, and what is started again when it falls."""

import threading
from datetime import timedelta
from types import SimpleNamespace

import psycopg
import pytest

from lakehouse.core.errors import (
    ServiceAway,
    ServiceRefuses,
    ServiceUnavailable,
    TableDamaged,
    disk_full,
)
from lakehouse.core.metrics import REGISTRY, service_of
from lakehouse.core.patience import Answers, Patience, patiently
from lakehouse.core.restarts import MOST_FALLS, restarted
from lakehouse.core.signals import Stopped
from lakehouse.runtime.faults import in_words
from lakehouse.settings.postgres_client import unavailable

AWAY = ServiceAway("Kafka at x", "no answer", "start it")


@pytest.fixture
def said(monkeypatch):
    """What is told, by its event."""
    found = []

    class Log:
        def warning(self, event, **_):
            found.append(event)

        info = warning

    monkeypatch.setattr("lakehouse.core.patience.log", Log())
    monkeypatch.setattr("lakehouse.core.restarts.log", Log())
    return found


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("lakehouse.core.patience.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("lakehouse.core.restarts.FIRST_PAUSE", 0.01)


@pytest.fixture
def clock(monkeypatch):
    """Patience's clock: it stands still but for what is slept, and what an event is waited for."""

    class Clock(threading.Event):
        now = 1_000.0

        def sleep(self, seconds):
            self.now += seconds

        def wait(self, timeout=None):
            self.sleep(timeout)
            return self.is_set()

    made = Clock()
    known = SimpleNamespace(monotonic=lambda: made.now)
    monkeypatch.setattr("lakehouse.core.patience.time", known)
    return made


def failing(times, error=AWAY):
    """Work that fails so often, then gives how often it was tried."""
    tried = []

    def work():
        tried.append(1)
        if len(tried) <= times:
            raise error
        return len(tried)

    return work


def test_what_is_away_is_waited_for_and_said_once(said, quick):
    assert patiently(failing(4), timedelta(minutes=1), threading.Event()) == 5
    assert said == ["waiting", "it is back: going on"]


def test_what_stays_away_ends_with_its_error(said, clock):
    began = clock.now
    with pytest.raises(ServiceAway, match="no answer"):
        patiently(failing(10**9), timedelta(seconds=30), clock)
    assert clock.now - began == 30
    assert said == ["waiting"]


def test_what_waiting_does_not_mend_is_said_at_once(said):
    refused = ServiceUnavailable("Kafka at x", "refuses user 'u'", "mend it")
    with pytest.raises(ServiceUnavailable, match="refuses"):
        patiently(failing(1, refused), timedelta(minutes=1), threading.Event())
    assert said == []


def test_a_stop_ends_the_wait(said, quick):
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(Stopped):
        patiently(failing(10**9), timedelta(minutes=1), stop)


def test_the_time_begins_again_after_progress_and_not_after_a_mere_answer(said, clock):
    patience = Patience(timedelta(seconds=0.3), clock)
    for _ in range(3):  # it answers, and fails again: no progress
        patience.miss(AWAY)
        patience.back()
        clock.sleep(0.08)
    before = clock.now
    clock.sleep(0.1)
    with pytest.raises(ServiceAway):
        patience.miss(AWAY)
    patience.progress(before)  # of before the last miss
    with pytest.raises(ServiceAway):
        patience.miss(AWAY)
    patience.progress()
    patience.miss(AWAY)


def up(place):
    return REGISTRY.get_sample_value("lakehouse_service_up", {"service": service_of(place)})


def test_each_service_that_was_away_is_up_again(said, clock):
    patience = Patience(timedelta(seconds=0.3), clock)
    base = ServiceAway("Postgres at y", "no answer", "start it")
    patience.miss(AWAY)
    patience.miss(base)
    assert (up(AWAY.place), up(base.place)) == (0, 0)
    patience.progress(clock.now + 1)
    assert (up(AWAY.place), up(base.place)) == (1, 1)


def test_what_is_away_longer_than_it_is_waited_for_is_up_when_it_answers(said, clock):
    patience = Patience(timedelta(seconds=0.3), clock)
    patience.miss(AWAY)
    clock.sleep(0.4)
    with pytest.raises(ServiceAway):
        patience.miss(AWAY)
    patience.once_more()
    patience.progress(clock.now + 1)  # it answers at the first attempt since
    assert up(AWAY.place) == 1
    assert said == ["waiting", "it is back: going on"]


def test_a_client_that_is_not_answered_says_so_and_ends(said, clock, monkeypatch):
    monkeypatch.setattr("lakehouse.core.patience.SILENCE", 0.05)
    patience = Patience(timedelta(seconds=0.2), clock)
    answers = Answers(patience, lambda told: ServiceAway("Kafka at x", told, "start it"))
    answers.look(3, 3)
    clock.sleep(0.1)
    answers.look(10, 3)  # nothing was sent meanwhile: it is not late
    clock.sleep(0.1)
    answers.look(11, 3)
    answers.look(11, 5)
    assert said == ["waiting", "it is back: going on"]
    clock.sleep(0.1)
    answers.look(12, 5)
    clock.sleep(0.25)
    with pytest.raises(ServiceAway, match="nothing acknowledged in"):
        answers.look(12, 5)


def test_what_falls_is_started_again(said, quick):
    work = failing(MOST_FALLS - 1, RuntimeError("fell"))
    restarted("it", work, threading.Event())
    assert said == ["fell, and is started again"] * (MOST_FALLS - 1)


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (RuntimeError("fell"), MOST_FALLS),
        (ServiceUnavailable("Spark", "its JVM has ended", "start again"), MOST_FALLS),
        (AWAY, 1),
        (ServiceRefuses("Postgres at x", "permission denied", "grant it"), 1),
        (disk_full("/lake"), 1),
        (TableDamaged("bronze.sales", "is damaged", "mend it"), 1),
    ],
)
def test_it_ends_with_the_last_error_where_that_is_no_use(said, quick, error, tries):
    with pytest.raises(type(error)) as told:
        restarted("it", failing(10**9, error), threading.Event())
    assert told.value is error
    assert len(said) == tries - 1


@pytest.mark.parametrize(
    ("said_by_java", "place", "words"),
    [
        (
            "STREAM_FAILED: Query terminated\norg.apache.spark.SparkException: Job aborted\n"
            "Caused by: java.lang.OutOfMemoryError: Java heap space\n\tat java.base/x.y(Z.java:1)",
            "memory", "OutOfMemoryError: Java heap space",
        ),
        (
            "[STREAM_FAILED] Query [id = 1] terminated with exception: java.util.concurrent."
            "ExecutionException: org.apache.kafka.common.errors.TimeoutException: Timed out "
            "waiting for a node assignment. Call: describeTopics",
            "Kafka at", "Timed out waiting for a node assignment",
        ),
        ("java.io.IOException: No space left on device", "", "its disk is full"),
    ],
)  # fmt: skip
def test_what_java_says_of_memory_broker_and_disk_is_told_in_words(
    settings, said_by_java, place, words
):
    told = in_words(RuntimeError(said_by_java), settings)
    assert told is not None
    assert place in told.place
    assert words in told.fault
    assert "\tat " not in str(told)
    assert "org.apache" not in str(told)
    assert in_words(RuntimeError("another"), settings) is None


@pytest.mark.parametrize(
    ("said_by_postgres", "is_away"),
    [
        ("SSL SYSCALL error: EOF detected", True),
        ("SSL connection has been closed unexpectedly", True),
        ("connection refused", True),
        ("server does not support SSL, but SSL was required", False),
        ("SSL error: certificate verify failed", False),
        ('FATAL:  password authentication failed for user "x"', False),
    ],
)
def test_a_tls_connection_whose_server_ended_is_waited_for(settings, said_by_postgres, is_away):
    told = unavailable(settings.postgres, psycopg.OperationalError(said_by_postgres))
    assert isinstance(told, ServiceAway) is is_away
