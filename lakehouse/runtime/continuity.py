"""Whether bronze continues on its topic: the same one, and nothing gone that was not read.

Expired records are given up only if ``[kafka] fail_on_data_loss`` allows it; a topic that was made
again is always an error.
"""

from __future__ import annotations

import structlog

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.ingest.ends import EXPIRED, Lost
from lakehouse.ingest.landing import BronzePublisher
from lakehouse.ingest.topic import Topic, TopicReader
from lakehouse.settings.settings import Settings

log = structlog.get_logger("lakehouse")


class Continuity:
    """A flow's topic against bronze's ends; TableDamaged where it does not go on from them."""

    def __init__(self, publisher: BronzePublisher, settings: Settings, topic: TopicReader) -> None:
        self._position, self._name = publisher.position, publisher.product.topic
        self._allows, self._topic = not settings.kafka.fail_on_data_loss, topic
        self._gone: tuple[Lost, ...] = ()
        """What expired before the next rows, which settings allow: their commit records it."""

    def read(self) -> Topic:
        """The topic as it is now; ServiceUnavailable where it is not there."""
        topic = self._topic.read()
        if topic is None:
            raise ServiceUnavailable(
                f"topic {self._name}",
                "is not there any more",
                "start the flow again: it makes the topic, and says what was lost",
            )
        return topic

    def reconcile(self) -> Topic:
        """The topic as it is now, before the first batch of a start."""
        topic = self.read()
        lost = self._position.reconcile_topic(topic)
        if lost and self._may_lose(lost):
            self._tell(self._position.accept(topic))
            lost = ()
        self._position.refuse(lost)
        return topic

    def lacks(self, topic: Topic) -> None:
        """Take what the topic no longer has: it is refused, or the next commit records it."""
        self._gone = self._position.gaps(topic)
        if not self._may_lose(self._gone):
            self._position.refuse(self._gone)

    def check(self, *, is_told: bool = True) -> None:
        """Before a commit: raise if the records just read may come from another topic.

        ``is_told``: whether the reader tells by :meth:`lacks` what it left out.
        """
        if self._allows and not is_told:
            self._gone = self._position.gaps(self.read())
        elif self._topic.id() != self._position.ends.topic_id:
            self._position.refuse(self._position.gaps(self.read()))
        self._position.refuse(tuple(gap for gap in self._gone if gap.kind != EXPIRED))
        self._position.give_up(self._gone)
        self._tell(self._gone)
        self._gone = ()

    def close(self) -> None:
        """Let go of Kafka."""
        self._topic.close()

    def _may_lose(self, lost: tuple[Lost, ...]) -> bool:
        return self._allows and all(gap.kind == EXPIRED for gap in lost)

    def _tell(self, gaps: tuple[Lost, ...]) -> None:
        for gap in gaps:
            log.warning("given up, as [kafka] fail_on_data_loss allows", gap=gap.told())
