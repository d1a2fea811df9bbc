"""What is done to a try: each gives a function of the stage, which ends with a recovery."""

from __future__ import annotations

import time
from collections.abc import Callable

from lakehouse.core.failpoint import Step
from tests.matrix.stage import Failed, Stage

Act = Callable[[Stage], None]
MID_WRITE = (Step.BRONZE_FILES, Step.COMPACTION_FILES)


def killed_at(step: Step, comings: range) -> Act:
    """The driver ends itself as kill -9 would, at a step, at a coming that is drawn."""

    def act(stage: Stage) -> None:
        stage.produce()
        stage.start(stage.step(step, comings))
        stage.expect_kill(stage.driver.process, "the driver")
        if step in MID_WRITE and not stage.orphans():
            raise Failed(f"no file without a commit is left: {stage.driver.last_words()}")
        stage.recover()

    return act


def killed_at_random(stage: Stage) -> None:
    """kill -9 three times: while it runs, while it starts again, and while it catches up."""
    stage.produce(seconds=30)
    stage.start()
    time.sleep(stage.draw.uniform(9, 14))
    stage.driver.kill()
    stage.start()
    time.sleep(stage.draw.uniform(0.5, 9))
    stage.driver.kill()
    stage.recover()
    time.sleep(stage.draw.uniform(0, 2))
    stage.driver.kill()
    stage.recover()
