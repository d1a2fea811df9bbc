"""Orders in the matrix: a table in a Postgres of the try's own, its writer, and its capture."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from lakehouse.services.postgres import EmbeddedPostgres
from producers.cdc.steps import Step
from tests.matrix.driver import ROOT, Failed
from tests.matrix.faults import Act
from tests.matrix.noise import Noise
from tests.matrix.row import Row
from tests.matrix.stage import PATIENCE, Stage

ROUND = 2.0
"""Seconds of one round of the table's writer."""


class OrdersStage(Stage):
    """A try of orders."""

    capture: subprocess.Popen[bytes] | None = None

    def produce(self, seconds: float = 20, failpoint: str = "") -> subprocess.Popen[str]:
        """Write into the table for about so long, while a capture sends its changes."""
        if self.capture is None:
            server = EmbeddedPostgres.start(self.folder / "postgres")
            self.later.callback(server.stop)
            self.environment["LAKEHOUSE_POSTGRES_URL"] = server.url
            self._once("insert", "--count", "1")  # makes the table
            self.follow(failpoint)
        self._noises.append(Noise(self.broker.servers, self.topic, seconds))
        seed = random.Random(self.seed).randrange(10**6)
        rounds = str(max(1, int(seconds / ROUND)))
        return self.producer([__file__, rounds, str(seed)])

    def follow(self, failpoint: str = "") -> subprocess.Popen[bytes]:
        """Start the capture, which ends itself at a failpoint if one is given."""
        self.capture = self.verb("capture", "orders", failpoint=failpoint)
        return self.capture

    def everything_sent(self) -> None:
        """End the capture, then send what it had not come to."""
        assert self.capture is not None, "nothing was produced"
        self.capture.send_signal(signal.SIGTERM)
        self.capture.wait(PATIENCE)
        if code := self.verb("capture", "orders", "--available-now").wait(PATIENCE):
            raise Failed(f"the capture ended with {code}")

    def wrong(self) -> Iterator[str]:
        """What `lakehouse orders verify` finds: the table in Postgres against silver, and all."""
        done = self._once("verify", "--json", check=False)
        for check in json.loads(done.stdout)["checks"]:
            if not check["ok"]:
                yield f"verify, {check['name']}: {check['detail']} {check['first']}"

    def _once(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lakehouse", "orders", *words], cwd=ROOT,
            env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=check,
        )  # fmt: skip


STAGE = OrdersStage


def capture_killed(step: Step, times: range) -> Act:
    """The capture ends itself as kill -9 would, at a step; started again it goes on."""

    def act(stage: Stage) -> None:
        assert isinstance(stage, OrdersStage)
        stage.start()
        stage.produce(failpoint=stage.step(step, times))
        assert stage.capture is not None
        stage.expect_kill(stage.capture, "the capture")
        stage.follow()
        stage.recover()

    return act


ROWS = [
    Row(step.value, f"kill -9 of the capture: {what}", capture_killed(step, times))
    for step, what, times in (
        (Step.SLOT_MADE, "its slot made, nothing sent", range(1, 2)),
        (Step.CHANGE_SENT, "a change handed to Kafka's client", range(20, 600)),
        (Step.CHANGES_TAKEN, "changes acknowledged, the state not told", range(1, 4)),
        (Step.STATE_WRITTEN, "the state told, the slot not advanced", range(1, 4)),
        (Step.SLOT_ADVANCED, "the slot advanced", range(1, 4)),
    )
]


def _write(rounds: int, seed: int) -> None:
    """Insert, move on and delete orders, some of them bad, round by round."""
    for number in range(rounds):
        started = time.monotonic()
        words = ["--count", "120", "--updates", "60", "--deletes", "8", "--bad", "3"]
        subprocess.run(
            [sys.executable, "-m", "lakehouse", "orders", "insert", *words,
             "--seed", str(seed + number)],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(max(0, ROUND - (time.monotonic() - started)))


if __name__ == "__main__":
    _write(int(sys.argv[1]), int(sys.argv[2]))
