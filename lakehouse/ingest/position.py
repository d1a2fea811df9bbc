"""Where a product's bronze stands in its topic: its ends, and what lies between them and Kafka.

Worked example. Bronze's ends say offset 10. Kafka has 12 to 20: 10 and 11 expired. Before:
the flow is refused, and nothing changes. A person accepts the gap: one commit of bronze
says that 10 and 11 are lost, and the ends are 12. A crash before it changes nothing; after
it the same command finds no gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import structlog

from lakehouse.core.errors import TableDamaged
from lakehouse.core.paths import root_option
from lakehouse.ingest.ends import Ends, Lost, gaps
from lakehouse.ingest.tables import BronzeTables
from lakehouse.ingest.topic import Topic
from lakehouse.settings.sections import ProductSettings

log = structlog.get_logger("lakehouse")


class Position:
    """The ends that bronze's next commit starts from, and what the tables hold above them."""

    def __init__(self, tables: BronzeTables, product: ProductSettings, topic_id: str) -> None:
        self.tables, micro = tables, timedelta(microseconds=1)
        self._rule = product.deduplication_horizon // micro, product.watermark_delay // micro
        self.ends = _read_ends(tables, topic_id)
        tables.refuse_another_quarantine(self.ends)
        self.went_back = tables.was_restored()
        """Whether a table is at an older version than when bronze recorded its ends."""
        if (has := tables.quarantine_reaches(self.ends)) is not None:
            self.ends, self.went_back = self.ends.gone_back(has), True
        self.ahead = tables.addresses_above(self.ends)

    def reconcile_topic(self, topic: Topic) -> tuple[Lost, ...]:
        """Continue on the topic's present ranges, or give back its gaps and change nothing.

        A gap does not count where one of the tables holds each of its offsets.
        """
        known = self.ends
        if not self.ends.next:
            self.ends = replace(self.ends, topic_id=topic.id)
        elif not self.ends.topic_id:
            self.ends = self._recognised(topic)
        if self.ends != known:
            self.ahead = self.tables.addresses_above(self.ends)
        found = self.gaps(topic)
        if any(gap.offsets != 0 for gap in found):
            return found
        self.ends = self.ends.past(found, topic)
        return ()

    def _recognised(self, topic: Topic) -> Ends:
        """The ends, their topic's id found where no commit in the log records it.

        Bronze's application transactions name topics that it landed, and quarantine's
        rows the one that they came from. Where neither does it is taken for the topic
        as it is now: what bronze holds is not landed again.
        """
        landed = [f"ends:{topic.id}:{partition}" for partition in topic.ranges]
        marks = [f"since:{topic.id}", *landed]
        id_ = topic.id
        if all(self.tables.bronze.dt.transaction_version(mark) is None for mark in marks):
            id_ = self.tables.quarantined_from() or topic.id
            told = {"topic": topic.name, "bronze": id_, "now": topic.id}
            log.warning("no commit says which topic bronze holds: found by what it holds", **told)
        if self.tables.bronze.last_note("ends") is None:
            return self.tables.ends_from_rows(id_)
        return replace(self.ends, topic_id=id_)

    def gaps(self, topic: Topic) -> tuple[Lost, ...]:
        """Offsets that bronze has not landed and the topic no longer has."""
        return tuple(self._measured(gap) for gap in gaps(self.ends, topic))

    def _measured(self, gap: Lost) -> Lost:
        """The gap less what a table holds, and less what was gone before bronze began."""
        if gap.next is None or gap.topic_id != self.ends.topic_id:
            return gap
        rows = self.ahead.filter(pc.equal(self.ahead["partition"], gap.partition))
        held, first = set(rows["offset"].to_pylist()), gap.first
        if held and gap.partition in self.ends.held:
            first = max(first, min(held))
        inside = sum(1 for offset in held if first <= offset < gap.next)
        return replace(gap, first=first, offsets=max(0, gap.next - first - inside))

    def refuse(self, lost: tuple[Lost, ...]) -> None:
        """Raise TableDamaged with what is lost, and the command that accepts it."""
        if lost:
            listed = "".join(f"\n  {gap.told()}" for gap in lost if gap.offsets != 0)
            raise TableDamaged(
                f"bronze.{self.tables.name}",
                f"Kafka no longer has what topic {self.tables.topic} goes on with:{listed}",
                "give the topic its records back; or accept the gap, which the audit then lists: "
                f"lakehouse accept-gap {self.tables.name} "
                + root_option(self.tables.settings.lake.root),
            )

    def accept(self, topic: Topic) -> tuple[Lost, ...]:
        """Give up what the topic no longer has, in one commit of bronze; gives those gaps.

        Run again after a crash it finds nothing more to accept.
        """
        lost = self.reconcile_topic(topic)
        if not lost:
            return ()
        batch = max([lost[0].batch, self.tables.last_quarantined_batch() + 1])
        lost = tuple(replace(gap, batch=batch) for gap in lost)
        self.ends = self._with_tables(self.ends.past(lost, topic))
        note = {**self.note(0, 0, 0, 0), "accepted": len(lost)}
        mark = {} if topic.id == lost[0].topic_id else {f"since:{topic.id}": batch}
        self.tables.bronze.append(self.tables.bronze.schema.empty_table(), note, mark)
        self.ahead = self.tables.addresses_above(self.ends)
        return lost

    def give_up(self, lost: tuple[Lost, ...]) -> None:
        """Record in the next commit that these offsets are lost."""
        self.ends = replace(self.ends, lost=(*self.ends.lost, *lost))

    def above(self, rows: pa.Table) -> pa.Array:
        """Which rows lie at or above the ends of their partition."""
        above = pa.array([False] * rows.num_rows, pa.bool_())
        for partition in pc.unique(rows["partition"]).to_pylist():
            here = pc.equal(rows["partition"], partition)
            past = pc.greater_equal(rows["offset"], self.ends.next.get(partition, 0))
            above = pc.or_(above, pc.and_(here, past))
        return above

    def new_rows(self, decoded: pa.Table) -> pa.Table:
        """The rows at or above the ends that no table holds already."""
        decoded = decoded.filter(self.above(decoded))
        if not self.ahead.num_rows:
            return decoded
        held = pc.is_in(_key(decoded), _key(self.ahead).combine_chunks())
        return decoded.filter(pc.invert(held))

    def advance(self, newest: datetime | None, ends: Mapping[int, int], batch: int) -> None:
        """The ends that the next bronze commit will carry."""
        horizon, delay = self._rule
        known = [t for t in (newest, self.ends.newest) if t is not None]
        reached = {**self.ends.next, **ends}
        self.ends = replace(
            self._with_tables(self.ends.marked_by(batch, horizon, delay)),
            next=reached,
            newest=max(known) if known else None,
            passed=self.watermark,
            batch=batch,
            held={p: o for p, o in self.ends.held.items() if reached.get(p, 0) < o},
        )

    def _with_tables(self, ends: Ends) -> Ends:
        """These ends, with what the tables beside bronze are now."""
        quarantine = self.tables.quarantine_now()
        return replace(ends, quarantine=quarantine, tables=self.tables.ids(ends))

    def note(self, rows: int, bad: int, late: int, duplicates: int) -> dict[str, Any]:
        """The metadata of a bronze commit: the ends, and what the batch held."""
        return {
            "flow": f"{self.tables.name}.bronze",
            "ends": self.ends.note(),
            "rows": rows,
            "quarantined": bad,
            "late": late,
            "duplicates": duplicates,
        }

    def ends_note(self) -> dict[str, Any]:
        """What a commit says before quarantine's log forgets that it went back or lost files.

        The ends as they are then: what quarantine lacks is read again. Empty where bronze
        says nothing of its ends.
        """
        if not self.ends.next:
            return {}
        return {"ends": self._with_tables(self.ends).note()}

    @property
    def watermark(self) -> datetime | None:
        """The newest event time that bronze has committed, less the delay; it never goes back.

        What was called late, or final, stays so where the delay is raised.
        """
        if self.ends.newest is None:
            return None
        now = self.ends.newest - timedelta(microseconds=self._rule[1])
        return max(now, self.ends.watermark or now)


def _read_ends(tables: BronzeTables, topic_id: str) -> Ends:
    note = tables.bronze.last_note("ends")
    if note is None:
        if tables.bronze.files():
            return tables.ends_from_rows(topic_id)
        return Ends(tables.topic, topic_id)
    ends = Ends.read(note)
    if ends.topic != tables.topic:
        raise TableDamaged(
            f"bronze.{tables.name}",
            f"it holds topic {ends.topic!r}, and the settings name {tables.topic!r}",
            f"set [{tables.name}] topic = {ends.topic}, or give another lake a root",
        )
    return ends


def _key(rows: pa.Table) -> pa.ChunkedArray:
    """One number an address."""
    partition = rows["partition"].cast(pa.int64())
    return pc.add(pc.multiply(partition, 2**48), rows["offset"])
