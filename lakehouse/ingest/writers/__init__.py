"""The two writers of bronze, one protocol: which one is chosen once, when a flow starts.

Quarantine commits first, then bronze, whose ends alone count; a table may be written by
either writer from run to run.

Worked example. Bronze's ends say offset 10, and a batch brings 10 (bad), 11 and 12 (good).
Before: quarantine and bronze end below 10. Quarantine commits 10. Crash here. After: the
batch is planned again from bronze's ends, 10 is found in quarantine by its address and left
out, and bronze commits 11 and 12 with the ends 13. A crash after that finds the ends at 13,
and a batch that is run again is cut at them: nothing is left of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol, TypeVar

from lakehouse.ingest.landing import Landed

Rows_contra = TypeVar("Rows_contra", contravariant=True)


def no_check() -> None:
    """For rows that need none before they are committed."""


class BronzeWriter(Protocol[Rows_contra]):
    """Commits decoded batches to quarantine and bronze, each exactly once."""

    def publish(
        self,
        decoded: Rows_contra,
        ends: Mapping[int, int],
        now: datetime,
        check: Callable[[], None] = no_check,
    ) -> Landed:
        """Commit one decoded batch that brings the table to ``ends``.

        ``decoded`` has the columns of :func:`lakehouse.ingest.decode.decoded_schema`.
        ``check`` is called once the rows are read and before anything is committed.
        """
