"""The reader of one machine: a process that reads a topic ahead of the plan, and decodes it.

Spark plans ranges of offsets; the rows never pass through its JVM. The reader follows the
partitions from bronze's ends on and sends decoded Arrow batches through a pipe. It holds
back when the driver has enough of them, and ends when the driver does.

What travels, to the reader: a pickled :class:`Start`, then one JSON line a command:
``{"assign": {partition: offset}, "turn": n}`` (start there; earlier turns are void),
``{"room": bytes}`` (so much was taken), ``{"only": [partition, ...]}`` (go on with these
though there is no room: the planned range needs them; empty: all again).

To the driver: frames, each a :data:`HEAD` and its payload. A frame with a partition says
that all of it below ``next`` was sent; without rows the payload is empty. A frame of
partition :data:`FAULT` holds a :class:`Fault` as JSON.

Worked example. Bronze ends at 10, and Spark plans up to 20. Before: the reader has sent the
rows 10 to 15, and 16 to 24 are on their way. It is killed. The driver starts another one,
from 16 on, in a new turn: frames of the old turn that are still in the pipe are dropped.
After: rows 10 to 19 are committed once, and 20 to 24 wait for the next range.

A compressed batch is a claim on memory. Of most the C client unpacks a gigabyte, and as many
batches as an answer holds. One that it refuses Python unpacks, a record at a time
(:mod:`lakehouse.ingest.unpacked`); where it asks for more memory than a reader may have the
system refuses, the reader ends, and the next one reads by Python until that lies behind.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from lakehouse.ingest.verdict import TimeRules
from lakehouse.model.contract import Contract

HEAD = struct.Struct("<iiqqq")
"""Turn, partition, next offset, bytes of the records, bytes of the payload."""
FAULT = -1
EXPIRED = "expired"
"""A fault: Kafka no longer has the offset to go on with, or never had it."""
REFUSED = "refused"
"""A fault that waiting does not mend: rights, or a topic that is gone."""
BUSY = "busy"
"""No fault: nothing comes yet, but the client is at work on what it fetched."""
AWAY = "away"
"""A fault that may pass: the client goes on trying."""


@dataclass(frozen=True)
class Start:
    """What a reader is started with."""

    kafka: Mapping[str, Any]
    """librdkafka's options: where, and how protected."""
    settings: bytes
    """The same as settings, pickled: unpacked where the C client does not do."""
    topic: str
    contract: Contract
    rules: TimeRules
    largest: int
    """Bytes of a record; of a larger one only its size and a hash are sent."""
    ahead: int
    """Bytes that may be sent before the driver takes them."""
    is_careful: bool = False
    """Python alone reads, for a while: a reader before this one died, perhaps of a batch."""


class Fault(msgspec.Struct):
    """What the client met."""

    kind: str
    text: str
    partition: int = FAULT
