"""The dashboard beside `lakehouse up` is started again when it falls, and ends with it."""

import time
import urllib.request

import psutil
import pytest

from lakehouse.cli.serve import with_dashboard
from lakehouse.core import processes, restarts
from lakehouse.services.folder import free_ports

PATIENCE = 200


def eventually(found):
    end = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


@pytest.fixture
def begun(monkeypatch):
    """The processes that are started, in order."""
    real, processes_ = processes.started, []

    def start(*words, **options):
        processes_.append(real(*words, **options))
        return processes_[-1]

    monkeypatch.setattr(processes, "started", start)
    return processes_


@pytest.fixture
def beside(settings, monkeypatch):
    """A lake whose dashboard has a port of its own: the one of settings may be another's."""
    [port] = free_ports(1)
    monkeypatch.setenv("LAKEHOUSE_DASHBOARD_PORT", str(port))
    return settings.changed(dashboard={"port": port})


def answers(lines):
    address = lines[-1].removeprefix("dashboard: ")
    with urllib.request.urlopen(f"{address}/health/live") as answer:
        return answer.status == 200


def test_a_dashboard_that_is_killed_is_started_again(beside, begun):
    """At its port: what it had started ends in the pause, and lets go of it."""
    said = []
    with with_dashboard(beside, None, said.append):
        eventually(lambda: said)
        assert answers(said)
        [serving] = psutil.Process(begun[0].pid).children()
        assert serving.nice() > psutil.Process().nice()  # viewers take nothing of the flows'
        begun[0].kill()
        eventually(lambda: len(said) == 2)
        assert said[0] == said[1]
        assert answers(said)
    assert [process.returncode is not None for process in begun] == [True, True]


def test_one_that_falls_again_and_again_is_given_up_in_words(beside, begun, monkeypatch):
    monkeypatch.setattr(restarts, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(processes, "python", lambda *_: ["false"])
    said = []
    with with_dashboard(beside, None, said.append):
        [line] = eventually(lambda: said)
    assert line.startswith("the dashboard ended with 1, again and again; start one by hand")
    assert len(begun) == restarts.MOST_FALLS
