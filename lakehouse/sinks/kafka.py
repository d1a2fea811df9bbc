"""Bronze's rows in a Kafka topic, each once: a transaction an increment, its version in it.

Worked example. The topic has version 7 of bronze, and 8 has 300 rows.

- Before: the last marker says 7. The 300 rows are sent in a Kafka transaction.
- The marker 8 is sent in it, and it is committed. Crash before that: the next start's
  ``init_transactions`` aborts it, no reader of committed records ever sees it, the marker is 7.
- Crash after it, or no answer to the commit: the next start reads what became of it: 8, or 7.

The transactional id is the topic and the flow: a second writer, of any lake, fences the first,
which ends with a clear error. Where the versions between cannot be read (bronze went back, rows
were erased or marked again, the markers are lost), or the topic was recreated, the topic's own
addresses are read, and only rows that it lacks are sent: what it has cannot be taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import duckdb
import structlog
from confluent_kafka import KafkaException

from lakehouse.core.errors import LakehouseError, TableDamaged
from lakehouse.model.sink import KafkaSink
from lakehouse.settings.settings import Settings
from lakehouse.silver.handed import Handed, Piece
from lakehouse.sinks.enriched_topic import EnrichedTopic
from lakehouse.sinks.kafka_rows import Rendering, Rows
from lakehouse.sinks.versions import Versions
from lakehouse.storage.follower import NOTHING, Follower, version_of
from lakehouse.storage.increments import Increment

PART = "topic"
_MOST_ROWS = 20_000
log = structlog.get_logger("lakehouse")


class KafkaWriter(Follower):
    """The enriched topic of one product; used by one thread."""

    def __init__(
        self,
        sink: KafkaSink,
        settings: Settings,
        connection: duckdb.DuckDBPyConnection,
        handed: Handed | None = None,
    ) -> None:
        super().__init__(sink.name, sink.product, settings, _MOST_ROWS)
        self._sink, self._duck, self._handed = sink, connection, handed or Handed()
        self.topic = EnrichedTopic(sink, settings)
        root = settings.lake.root
        self._tables = {view: Versions(root, table) for view, table in sink.states.items()}
        self._rows = Rendering(sink)
        self.applied = {PART: None}

    def catch_up(self, upto: int | None = None) -> int:
        """As every follower; ServiceAway where the broker does not answer.

        TableMissing while bronze, or a table that rows are joined with, does not exist.
        """
        try:
            if not self.topic.transactions.is_open:
                self._open()
            self.topic.look_again()
            if upto is None and not self.changed() and self._send_handed():
                return self.version
            target = self._reached() if upto is None else upto
            if target is not None and target <= self.version and not self.changed():
                return self.version
            return super().catch_up(target)
        except KafkaException as error:
            raise self.topic.transactions.told(error.args[0]) from error
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self.open_bronze()
        self.topic.open(self.bronze_id)
        self.applied = {PART: self.topic.applied}

    def _send_handed(self) -> bool:
        """Send what this process has folded since the topic's version; whether that was all.

        The folds read bronze: its log is not looked at again, but for the increments.
        """
        pieces = self._handed_pieces()
        left = [piece.applied.version for piece in pieces.values()]
        target = min([*left, *self._applied(self._tables.keys() - pieces.keys())], default=NOTHING)
        if not pieces or target <= self.version:
            return False
        try:
            for step in self.steps(self.version, target):
                self._send_step(step, {**self._tables, **pieces})
                self.may_go_on(step)
        except (FileNotFoundError, TableDamaged) as error:
            log.debug("silver's tables are waited for", flow=self.name, reason=str(error))
            return False
        return True

    def _handed_pieces(self) -> dict[str, Piece]:
        """What folds left of each table that is wanted, after the topic's version; or nothing."""
        held, pieces = self.applied[PART], {}
        if held is not None and held.bronze == self.bronze_id:
            for view in self._sink.touched:
                if piece := self._handed.after(self._sink.states[view], held, self.name):
                    pieces[view] = piece
        return pieces if len(pieces) == len(self._sink.touched) else {}

    def _applied(self, views: Iterable[str]) -> list[int]:
        """The versions of bronze that joined tables have applied."""
        return [version_of(self._tables[view].newest().applied) for view in views]

    def _reached(self) -> int | None:
        """The version of bronze that every joined table has applied; None: bronze's newest."""
        return min(self._applied(self._tables), default=None)

    def changed(self) -> str:
        """As every follower; a topic that was recreated has nothing of what its markers say."""
        return f"topic {self.topic.name} was recreated" if self.topic.was_recreated else ""

    def has_rows(self) -> bool:
        """Whether the topic has any record, or had one."""
        return self.topic.has_rows()

    def apply(self, step: Increment) -> None:
        """Send an increment's rows and its marker in one transaction."""
        self._send_step(step, self._tables)

    def _send_step(self, step: Increment, states: Mapping[str, Versions | Piece]) -> None:
        with self._duck.cursor() as own:
            self._send(self._rows.of(states, own, step), step.version)

    def _send(self, rows: Iterable[Rows], version: int, *, is_whole: bool = True) -> None:
        self.topic.send(rows, self.at(version), is_whole=is_whole)
        self.applied = {PART: self.topic.applied}

    def refill(self) -> int:
        """Send what the topic lacks of all of bronze; how many records that were."""
        before, target = self.topic.sent, self.catch_up()
        if (reached := self._reached()) is not None and reached < target:
            raise LakehouseError(
                self.name, f"silver has applied version {reached} of bronze, the topic {target}",
                f"run {self._sink.product}.silver first: rows are sent with what it says of them",
            )  # fmt: skip
        try:
            self.start_over(target)
        except KafkaException as error:
            raise self.topic.transactions.told(error.args[0]) from error
        return self.topic.sent - before

    def start_over(self, target: int) -> None:
        """Send what the topic lacks of all of bronze, a part at a time; the last has the marker.

        Cut short, it is begun again, and finds in the topic what it had sent.
        """
        if self.topic.has_sent:  # what it sent last is read only once its transaction is ended
            self.close()
            self._open()
        with self._duck.cursor() as own:
            which = self.topic.lacking(own, self.bronze_id)
            for step in self.whole(target):
                rows = self._rows.of(self._tables, own, step, which)
                self._send(rows, target, is_whole=step.is_last)
                self.may_go_on(step)

    def close(self) -> None:
        """Let go of the topic; a transaction that is open is aborted by the next writer."""
        self.topic.transactions.close()
