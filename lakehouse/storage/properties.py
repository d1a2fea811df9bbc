"""The properties that a table is made with."""

from __future__ import annotations

from datetime import timedelta

from deltalake import DeltaTable

from lakehouse.core.errors import SettingsError
from lakehouse.settings.settings import Settings
from lakehouse.storage.protocol import is_odd

FINGERPRINTED = "lakehouse.fingerprints"
FROM_FIRST_ROW = "from the first row"
"""The property of a table that no row came into but with its fingerprint, and its value."""
INSTEAD_OF = "lakehouse.insteadOf"
"""The property of a table that was recreated: the id of the one whose place it takes."""
RETENTION = ("delta.logRetentionDuration", "delta.deletedFileRetentionDuration")


_NOT_GIVEN = ("delta.minReaderVersion", "delta.minWriterVersion", "delta.feature.", "lakehouse.")
"""Beginnings of properties that are no setting's: the protocol's, and our own."""


def table_properties(settings: Settings) -> dict[str, str | None]:
    """The properties a table is made with: retention, and what [table.properties] adds.

    SettingsError where we could not write such a table.
    """
    for name, value in settings.table_properties.items():
        if is_odd(name, value) or name.startswith(_NOT_GIVEN):
            raise SettingsError(
                f"[table.properties] {name}", f"= {value}: a table like that is not written by "
                "this program, so none is made", "remove the line",
            )  # fmt: skip

    def interval(value: timedelta) -> str:
        return f"interval {int(value.total_seconds())} seconds"

    return {
        "delta.logRetentionDuration": interval(settings.table.log_retention),
        "delta.deletedFileRetentionDuration": interval(settings.table.deleted_file_retention),
        "delta.checkpointInterval": str(settings.table.checkpoint_interval),
        **settings.table_properties,
    }


def is_fingerprinted(table: DeltaTable) -> bool:
    """Whether each row came with its fingerprint; a table of an earlier release does not say so."""
    return table.metadata().configuration.get(FINGERPRINTED) == FROM_FIRST_ROW


def takes_the_place_of(table: DeltaTable) -> str:
    """The id of the table that was there before a flow made this one; empty for none."""
    return str(table.metadata().configuration.get(INSTEAD_OF) or "")
