"""Which worker of `make test` runs what: tests that wait for a broker run beside others.

Two workers at most start a broker and a database for theirs, and one a session of tests/spark.
"""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

OF_A_BROKER = ("tests/live/", "tests/hostile/")
SPARK = "tests/spark/"


class Apart(LoadFileScheduling):
    """Gives files to workers in their order: to the first two those of a broker first.

    The others take those when nothing else is left. Spark's files go to one worker.
    """

    def _split_scope(self, nodeid: str) -> str:
        return SPARK if nodeid.startswith(SPARK) else super()._split_scope(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        left, has_broker = self.workqueue, self.nodes.index(node) < 2
        mine = (scope for scope in left if scope.startswith(OF_A_BROKER) is has_broker)
        first = next(mine, next(iter(left)))
        left.move_to_end(first, last=False)
        super()._assign_work_unit(node)
