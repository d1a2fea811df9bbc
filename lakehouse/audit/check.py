"""What one check of the audit is given, and what it gives: each check is a file of its own.

:mod:`lakehouse.audit.asked` lists them, with those of products. A check reads and writes nothing;
an error in it is a doubt (:mod:`lakehouse.audit.steps`), not the end of the audit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lakehouse.audit.extent import Content
from lakehouse.audit.pins import Pin, Snapshots
from lakehouse.audit.tellers import Ahead
from lakehouse.audit.topic import Broker
from lakehouse.core.text import Say
from lakehouse.ingest.ends import Ends
from lakehouse.ingest.topic import Topic
from lakehouse.model.recompute import Recomputes
from lakehouse.settings.settings import Settings


@dataclass(frozen=True)
class Scene:
    """The pinned tables and Kafka's side.

    DuckDB has the views ``bronze``, ``quarantine`` (not replayed rows), ``all_quarantine``
    where the table exists, and ``erased``. ``topic`` is None where the topic that
    bronze holds could not be asked.
    """

    snapshots: Snapshots
    product: str
    settings: Settings
    bronze: Pin
    quarantine: Pin | None
    ends: Ends
    topic: Topic | None
    broker: Broker
    recomputes: Recomputes
    content: Content
    say: Say
    ahead: Ahead | None = None
    """What the topic's records say, told beside the other steps where there are many."""


@dataclass(frozen=True)
class Check:
    """One question of the audit and its answer: what is wrong, what cannot be told."""

    name: str
    faults: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    """What was counted, by what it is; shown where it is not 0."""
    first: tuple[dict[str, Any], ...] = ()
    """The first of what is wrong."""
