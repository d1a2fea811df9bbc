"""The scorer in the matrix: each record of a customer has one outcome, whatever kills it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any

from kafka.admin import KafkaAdminClient, NewTopic

from lakehouse.core.failpoint import Step
from lakehouse.products.churn.model.store import Models
from tests.matrix.check import Address, read
from tests.matrix.driver import Failed
from tests.matrix.faults import Act
from tests.matrix.row import Row
from tests.matrix.stage import PATIENCE, Stage
from tests.support.models import small

ERRORS = "__connect.errors."


class ChurnStage(Stage):
    """A stage with a model, and a topic for dead letters; a row may start scorers."""

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self.letters = f"{self.topic}-letters"
        self.environment["LAKEHOUSE_CHURN_DEADLETTER_TOPIC"] = self.letters
        models = Models(str(self.root))
        models.promote(models.save(small()).version)
        self.scorer: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Stage:
        """With the topic of predictions: only flows make it, and they may be killed before."""
        topic = self.topics["churn_predictions"]
        configs = {"message.timestamp.type": "LogAppendTime"}
        with closing(KafkaAdminClient(bootstrap_servers=self.broker.servers)) as admin:
            admin.create_topics([NewTopic(topic, 3, 1, topic_configs=configs)])
        return super().__enter__()

    def noisy(self) -> Iterable[str]:
        """Only that of customers: a copy of a prediction would be a second outcome."""
        return [self.topic]

    def score(self, failpoint: str = "") -> subprocess.Popen[bytes]:
        """Start a scorer, the last of which goes on until everything has its outcome."""
        self.scorer = self.verb("churn", "score", failpoint=failpoint)
        return self.scorer

    def everything_sent(self) -> None:
        """The scorer says what it has to say, and stops by itself."""
        if self.scorer is None:
            return
        deadline = time.monotonic() + PATIENCE
        while self.due() - self.outcomes().keys():
            if self.scorer.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"the scorer is not done (ended: {self.scorer.poll()})")
            time.sleep(0.5)
        self.scorer.send_signal(signal.SIGTERM)
        if code := self.scorer.wait(PATIENCE):
            raise Failed(f"the scorer stopped with {code}")

    def due(self) -> set[Address]:
        """The addresses of customers' records."""
        return {address for address, _ in read(self)}

    def outcomes(self) -> Counter[Address]:
        """How often each of them has an outcome, as committed records say it."""
        found: Counter[Address] = Counter()
        for _, record in read(self, self.topics["churn_predictions"]):
            said = json.loads(record.value or b"")
            found[said["input_partition"], said["input_offset"]] += 1
        for _, letter in read(self, self.letters):
            partition, offset = (letter.headers[ERRORS + n] for n in ("partition", "offset"))
            found[int(partition), int(offset)] += 1
        return found

    def wrong(self) -> Iterator[str]:
        """Records without an outcome, or with several."""
        if self.scorer is None:
            return
        outcomes, due = self.outcomes(), self.due()
        if lacking := due - outcomes.keys():
            yield f"{len(lacking)} records have no outcome, such as {min(lacking)}"
        if strange := outcomes.keys() - due:
            yield f"{len(strange)} outcomes are of no record, such as {min(strange)}"
        if several := [one for one, count in outcomes.items() if count > 1]:
            yield f"{len(several)} records have several outcomes, such as {min(several)}"


def killed_at(step: Step) -> Act:
    """The scorer ends itself as kill -9 would, twice, while customers come."""

    def act(stage: Stage) -> None:
        assert isinstance(stage, ChurnStage)
        stage.start()
        for _ in range(2):
            scorer = stage.score(stage.step(step, range(1, 20)))
            stage.produce()
            stage.expect_kill(scorer, "the scorer")
        stage.score()
        stage.recover()

    return act


def killed_at_random(stage: Stage) -> None:
    """kill -9 of the scorer thrice: while it scores, and while it starts again."""
    assert isinstance(stage, ChurnStage)
    stage.produce(25)
    stage.start()
    for most in (12, 3, 3):
        scorer = stage.score()
        time.sleep(stage.draw.uniform(0.5, most))
        scorer.kill()
        scorer.wait()
    stage.score()
    stage.recover()


def fenced(stage: Stage) -> None:
    """A scorer is stopped, and goes on once another one scores: it ends with a clear error."""
    assert isinstance(stage, ChurnStage)
    stage.produce(30)
    stage.start()
    old = stage.score()
    _until_scored(stage)
    old.send_signal(signal.SIGSTOP)
    stage.score()
    stage.recover()
    old.send_signal(signal.SIGCONT)
    try:
        code = old.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        raise Failed("two scorers of one topic go on side by side") from None
    if code in {0, -signal.SIGKILL}:
        raise Failed(f"a scorer that another one replaced ended with {code}")
    stage.recover()


def _until_scored(stage: ChurnStage) -> None:
    deadline = time.monotonic() + PATIENCE
    while not any(stage.offsets(stage.topics["churn_predictions"]).values()):
        if time.monotonic() > deadline:
            raise Failed("the scorer says nothing")
        time.sleep(0.5)


STAGE = ChurnStage
ROWS = [
    Row("scorer-sent", "kill -9 of the scorer: outcomes in an open transaction",
        killed_at(Step.KAFKA_SENT)),
    Row("scorer-committed", "kill -9 of the scorer: a transaction committed",
        killed_at(Step.KAFKA_COMMITTED)),
    Row("scorer-random", "kill -9 of the scorer, at random times", killed_at_random),
    Row("scorer-zombie", "a paused scorer fenced by another", fenced),
]  # fmt: skip
