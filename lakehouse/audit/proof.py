"""The verdict: what was found, what is wrong, and what could not be told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from lakehouse.audit.addresses import Account
from lakehouse.audit.flags import Flags
from lakehouse.audit.recompute import Compared
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
    """What kept Kafka's side from being known."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, in words; empty where nothing is."""
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
        """All of it, the verdict first."""
        return {
            "product": self.product,
            "verdict": self.verdict.value,
            "faults": list(self.faults),
            "doubts": list(self.doubts),
            **{k: v for k, v in asdict(self).items() if k not in {"product", "open_questions"}},
        }


def _faults(proof: Proof) -> Iterator[str]:
    account, flags = proof.account, proof.flags
    for partition in account.partitions:
        place = f"partition {partition.partition}"
        if partition.missing:
            yield f"{place}: {partition.missing:,} records of Kafka are in no table"
        if partition.doubled:
            yield f"{place}: {partition.doubled:,} addresses are held more than once"
        if partition.kafka_end is not None and partition.end > partition.kafka_end:
            yield (
                f"{place}: bronze has taken in up to {partition.end}, "
                f"and Kafka ends at {partition.kafka_end}"
            )
    if account.former_doubled:
        yield f"{account.former_doubled:,} addresses of a topic that is gone are held twice"
    if account.above_ends:
        yield f"{account.above_ends:,} rows of bronze lie above the ends that it records"
    if account.other_topics:
        yield f"{account.other_topics:,} rows of bronze are of another topic than {proof.topic}"
    if flags.wrong_late.count:
        yield f"{flags.wrong_late.count:,} events are marked late, or not late, wrongly"
    if flags.wrong_duplicates.count:
        count = flags.wrong_duplicates.count
        yield f"{count:,} events are marked as copies, or as no copies, wrongly"
    for table in proof.tables:
        if table.fault:
            yield f"{table.table}: {table.fault}"
        if table.differing:
            yield f"{table.table}: {table.differing:,} rows are not what bronze gives"


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
        if partition.beginning is not None and partition.beginning > partition.end:
            lost = partition.beginning - partition.end
            yield f"{place}: {lost:,} offsets expired in Kafka before bronze took them"
    if erasing := proof.account.erasing:
        yield (
            f"{erasing:,} addresses are in the ledger of erased ones and in a table: an erasure "
            "or quarantine's retention is at work, or was cut: run `lakehouse erase`, or the "
            "flow, again"
        )
    for table in proof.tables:
        if table.doubt:
            yield f"{table.table}: {table.doubt}"
