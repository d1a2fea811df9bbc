"""How far an audit looks at content: a choice that the command line offers."""

from __future__ import annotations

from enum import StrEnum


class Content(StrEnum):
    """How many records are read again from Kafka and compared with what landed."""

    NONE = "none"
    SAMPLE = "sample"
    ALL = "all"
