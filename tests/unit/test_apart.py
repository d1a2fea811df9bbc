"""What the scheduler of `make test` names is there, and who is given what."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.apart import FEW, LONGEST, OF_A_BROKER, Apart

ROOT = Path(__file__).parents[2]


class Worker:
    """As the scheduler knows one; it runs a test after the other, and the last when it ends."""

    def __init__(self):
        self.given, self.shutting_down = [], False
        self.gateway = SimpleNamespace(id=id(self))

    def send_runtest_some(self, indices):
        self.given += indices

    def shutdown(self):
        self.shutting_down = True


def files_run(live, other):
    """What four workers ran of so many files of a broker, and of others, of two tests each."""
    names = [f"tests/live/test_{n}.py" for n in range(live)]
    names += [f"tests/unit/test_{n}.py" for n in range(other)]
    tests = [f"{name}::test_{n}" for name in names for n in range(2)]
    scheduler = Apart(
        SimpleNamespace(
            getvalue=lambda _: ["4*popen"], option=SimpleNamespace(loadscopereorder=False)
        ),
        None,
    )
    workers, done = [Worker() for _ in range(4)], [0] * 4
    for worker in workers:
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, tests)
    scheduler.schedule()
    while any(done[n] < len(worker.given) for n, worker in enumerate(workers)):
        for n, worker in enumerate(workers):
            left = len(worker.given) - done[n]
            if left > 1 or (left and worker.shutting_down):
                scheduler.mark_test_complete(worker, worker.given[done[n]])
                done[n] += 1
    ran = [[tests[index].partition("::")[0] for index in worker.given[::2]] for worker in workers]
    assert sorted(name for one in ran for name in one) == sorted(names)
    return [sum(name.startswith("tests/live") for name in one) for one in ran]


@pytest.mark.parametrize(("live", "others_take"), [(2 + FEW, False), (60, True)])
def test_the_last_files_of_a_broker_are_left_to_who_has_one(live, others_take):
    *with_broker, third, fourth = files_run(live, 12)
    assert all(with_broker)
    assert bool(third and fourth) is others_take
    assert bool(third or fourth) is others_take


def test_files_that_are_given_out_first_are_there():
    assert [name for name in (*LONGEST, *OF_A_BROKER) if not [*ROOT.glob(f"{name}*")]] == []
