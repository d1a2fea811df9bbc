"""How many workers `make test` has, and which runs what: tests that wait run beside others.

Half of the workers start a broker and a database for theirs, and one a session of tests/spark.
The others do so too where many such files are left when theirs are done.
"""

from __future__ import annotations

import os
from typing import Any

import psutil
import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

WORKER_BYTES = 3 * 2**30
"""Memory that a worker takes at most, with its broker, database and JVM."""
OF_A_BROKER = (
    "tests/live/", "tests/hostile/test_hostile_names.py", "tests/hostile/test_hostile_paths.py",
)  # fmt: skip
SPARK = "tests/spark/"
SECURED = "tests/live/test_sec"
TOGETHER = (SPARK, "tests/unit/test_churn", SECURED)
"""Files that share what takes longest to make: a session, trained models, a secured broker."""
LONGEST = (
    SPARK, "tests/live/test_away.py", "tests/hostile/test_unpacked.py",
    "tests/live/test_jobs.py", "tests/live/test_recovery.py", "tests/live/test_demo.py",
    SECURED, "tests/live/test_bombs.py", "tests/live/test_prometheus.py",
    "tests/live/test_unpacked_topic.py",
    "tests/live/test_capture_faults.py", "tests/live/test_capture_killed.py",
    "tests/live/test_orders.py", "tests/unit/test_churn", "tests/unit/test_quarantine.py",
    "tests/unit/test_erase.py", "tests/unit/test_terminal_app.py", "tests/unit/test_recovery.py",
    "tests/unit/test_repair.py", "tests/live/test_kafka_sink.py", "tests/live/test_churn_demo.py",
    "tests/live/test_capture_history.py", "tests/live/test_capture_promises.py",
    "tests/live/test_services.py", "tests/hostile/test_hostile_names.py",
    "tests/live/test_capture.py", "tests/live/test_reader.py", "tests/live/test_producer.py",
    "tests/live/test_activity_sinks.py", "tests/live/test_your_own_product.py",
    "tests/live/test_matrix.py", "tests/live/test_broker_killed.py", "tests/unit/test_audit.py",
    "tests/unit/test_replay_marks.py", "tests/live/test_stop.py",
    "tests/hostile/test_large_logs.py",
    "tests/live/test_capture_begins.py", "tests/live/test_reader_hunted.py",
    "tests/live/test_postgres.py", "tests/unit/test_silver_state.py", "tests/unit/test_windows.py",
    "tests/unit/test_audit_content.py", "tests/unit/test_went_back_after.py",
    "tests/hostile/test_hostile_paths.py", "tests/live/test_large_records.py",
    "tests/unit/test_fingerprints_lost.py", "tests/unit/test_start_over.py",
    "tests/unit/test_sessions.py", "tests/hostile/test_fuzz.py", "tests/unit/test_other_tables.py",
)  # fmt: skip
"""Given out first: one of them that is left for the end has the other cores wait."""

FEW = 10
"""So many files of a broker take less time than it takes to start another, with all beside it."""


def workers() -> int:
    """Two for each core, of which one waits for Kafka or Postgres; fewer where memory is short."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(2, min(2 * (cores or 1), psutil.virtual_memory().available // WORKER_BYTES))


class Apart(LoadFileScheduling):
    """Gives files to workers, the longest first: to half of them those of a broker first.

    The others take those when nothing else is left, and not the last FEW. Files of TOGETHER go
    to one worker.
    """

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        self._with_broker: list[WorkerController] = []

    def _split_scope(self, nodeid: str) -> str:
        first = (start for start in TOGETHER if nodeid.startswith(start))
        return next(first, super()._split_scope(nodeid))

    def _assign_work_unit(self, node: WorkerController) -> None:
        self._with_broker = self._with_broker or self.nodes[: -(-len(self.nodes) // 2)]
        left, has_broker = self.workqueue, node in self._with_broker
        in_order = [*(s for s in LONGEST if s in left), *(s for s in left if s not in LONGEST)]
        mine = (scope for scope in in_order if scope.startswith(OF_A_BROKER) is has_broker)
        first = next(mine, in_order[0])
        if first.startswith(OF_A_BROKER) and not has_broker:
            self._with_broker.append(node)
        left.move_to_end(first, last=False)
        super()._assign_work_unit(node)

    def _reschedule(self, node: WorkerController) -> None:
        if self._is_for_others(node) and not node.shutting_down:
            node.shutdown()  # after what it has
        else:
            super()._reschedule(node)

    def _is_for_others(self, node: WorkerController) -> bool:
        """Whether what is left is too little for a worker without a broker to start one."""
        going_on = [n for n in self.nodes if n in self._with_broker and not n.shutting_down]
        is_little = len(self.workqueue) < FEW
        return (
            bool(going_on)
            and node not in going_on
            and is_little
            and all(scope.startswith(OF_A_BROKER) for scope in self.workqueue)
        )
