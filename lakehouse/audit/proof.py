"""The verdict: what was found, what is wrong, and what could not be told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from lakehouse.audit.account import Account, Partition
from lakehouse.audit.check import Check
from lakehouse.audit.compare import Compared
from lakehouse.audit.flags import Flags
from lakehouse.audit.reach import ContentRead, Reach
from lakehouse.core.errors import Exit


class Verdict(StrEnum):
    """Whether the tables are what Kafka's records make them."""

    PROVEN = "PROVEN"
    NOT_PROVEN = "NOT PROVEN"
    CANNOT_TELL = "CANNOT TELL"

    @property
    def exit_code(self) -> Exit:
        """0 proven, 1 not proven, 3 cannot tell."""
        codes = {Verdict.PROVEN: Exit.OK, Verdict.NOT_PROVEN: Exit.FAULT}
        return codes.get(self, Exit.NO_TABLE)


@dataclass(frozen=True)
class Proof:
    """One audit of one product, at versions that it pinned."""

    product: str
    audited_at: datetime
    topic: str
    topic_id: str
    bronze_version: int
    quarantine_version: int | None
    account: Account
    flags: Flags
    tables: tuple[Compared, ...]
    open_questions: tuple[str, ...] = ()
    """What kept Kafka's side, or a step of the audit, from being known."""
    checks: tuple[Check, ...] = ()
    """What was asked besides; each says for itself what is wrong."""
    content: ContentRead | None = None
    is_by_declaration: bool = False
    """Whether silver was held against its own declarations, as the product has no recompute."""

    @property
    def reach(self) -> Reach:
        """How far the audit looked, and how far the tables are."""
        total = self.account.total
        return Reach(
            taken=total("bronze") + total("quarantine") + total("erased") - total("doubled"),
            waiting=total("waiting") if self.account.is_compared else None,
            missing=total("missing"),
            lacking={
                t.table: None if t.rows is None else t.lacking
                for t in self.tables
                if t.lacking or t.rows is None
            },
            content=self.content,
        )

    @property
    def headline(self) -> str:
        """The verdict and how far it goes, in one line."""
        if self.bronze_version < 0:
            return f"{self.verdict.value}: {self.product} cannot be opened"
        so_far = self.verdict is Verdict.PROVEN and self.reach.is_caught_up is False
        return f"{self.verdict.value}{' so far' if so_far else ''}: {self.reach.told()}"

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, a line each; empty where nothing is."""
        return tuple(_faults(self))

    @property
    def doubts(self) -> tuple[str, ...]:
        """What could not be told."""
        return tuple(_doubts(self))

    @property
    def verdict(self) -> Verdict:
        """A fault outweighs a doubt."""
        if self.faults:
            return Verdict.NOT_PROVEN
        return Verdict.CANNOT_TELL if self.doubts else Verdict.PROVEN

    def as_dict(self) -> dict[str, Any]:
        """All of it, the verdict first; null is what was not looked at."""
        return {
            "product": self.product,
            "verdict": self.verdict.value,
            "headline": self.headline,
            "records": self.reach.as_dict(),
            "faults": list(self.faults),
            "doubts": list(self.doubts),
            **{k: v for k, v in asdict(self).items() if k not in _TOLD},
            "account": _account_told(self.account),
            "flags": None if self.flags == Flags.unknown() and self.doubts else asdict(self.flags),
            "tables": [_table_told(table) for table in self.tables],
        }


_TOLD = {"product", "open_questions", "content"}
"""Fields that JSON has under another name."""


_OF_KAFKA = ("missing", "aborted", "markers", "expired", "unread", "waiting", "kept")
"""What a partition has of Kafka's own numbers; ``unknown`` counts what they leave open."""


def _account_told(account: Account) -> dict[str, Any] | None:
    if account == Account.unknown():
        return None
    told = asdict(account)
    if not account.is_compared:
        told["partitions"] = [{**p, **dict.fromkeys(_OF_KAFKA)} for p in told["partitions"]]
    return told


def _table_told(table: Compared) -> dict[str, Any]:
    told = asdict(table)
    if table.doubt or table.fault:
        told["differing"] = None
    if table.rows is None:
        told["lacking"] = None
    return told


def _faults(proof: Proof) -> Iterator[str]:
    account, flags = proof.account, proof.flags
    for partition in account.partitions:
        yield from _partition_faults(partition)
    if account.former_doubled:
        yield f"{account.former_doubled:,} addresses of a topic that is gone are held twice"
    if account.above_ends:
        yield f"{account.above_ends:,} rows of bronze lie above the ends that it records"
    if account.other_topics:
        yield f"{account.other_topics:,} rows of bronze are of another topic than {proof.topic}"
    remedy = f"lakehouse remark {proof.product}"
    if flags.wrong_late.count:
        yield f"{flags.wrong_late.count:,} events are marked late, or not late, wrongly: {remedy}"
    if flags.wrong_duplicates.count:
        count = flags.wrong_duplicates.count
        yield f"{count:,} events are marked as copies, or as no copies, wrongly: {remedy}"
    for table in proof.tables:
        if table.fault:
            yield f"{table.table}: {table.fault}"
        if table.differing:
            yield f"{table.table}: {table.differing:,} rows are not what bronze gives"
    for check in proof.checks:
        yield from check.faults


def _partition_faults(partition: Partition) -> Iterator[str]:
    place = f"partition {partition.partition}"
    if partition.missing:
        yield f"{place}: {partition.missing:,} records of Kafka are in no table"
    if partition.doubled:
        yield f"{place}: {partition.doubled:,} addresses are held more than once"
    if partition.lowest_missing:
        yield (
            f"{place}: bronze has landed offset {partition.first}, the lowest that it ever "
            "took, and no table holds it"
        )
    if partition.kafka_end is not None and partition.end > partition.kafka_end:
        yield (
            f"{place}: bronze has landed up to {partition.end}, "
            f"and Kafka ends at {partition.kafka_end}"
        )


def _doubts(proof: Proof) -> Iterator[str]:
    yield from proof.open_questions
    for partition in proof.account.partitions:
        place = f"partition {partition.partition}"
        if partition.expired:
            yield (
                f"{place}: {partition.expired:,} offsets that no table holds have expired in Kafka"
            )
        if partition.unknown:
            yield f"{place}: {partition.unknown:,} offsets that no table holds could not be read"
        if partition.unread:
            yield f"{place}: {partition.unread:,} offsets expired in Kafka before bronze took them"
        if partition.kafka_end is None and proof.account.is_compared:
            yield f"{place}: bronze has taken it in, and the topic has no such partition"
    if erasing := proof.account.erasing:
        yield (
            f"{erasing:,} addresses are in the ledger of erased ones and in a table: an erasure "
            "or quarantine's retention is at work, or was cut: run `lakehouse erase`, or the "
            "flow, again"
        )
    for table in proof.tables:
        if table.doubt:
            yield f"{table.table}: {table.doubt}"
    for check in proof.checks:
        yield from check.doubts
