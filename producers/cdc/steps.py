"""Steps of a capture at which the crash matrix ends it: see :mod:`lakehouse.core.failpoint`."""

from enum import StrEnum


class Step(StrEnum):
    """Every step of a capture that has a failpoint, in the order of a capture."""

    SLOT_MADE = "slot-made"
    """A capture has its replication slot; nothing of the snapshot is sent."""
    CHANGE_SENT = "change-sent"
    """A change is handed to Kafka's client; of its transaction, or snapshot, others may be."""
    CHANGES_TAKEN = "changes-taken"
    """Kafka has acknowledged all that was captured; the state does not say so."""
    STATE_WRITTEN = "state-written"
    """The state says so; the slot is not advanced."""
    SLOT_ADVANCED = "slot-advanced"
    """The server is told that the slot may advance."""
