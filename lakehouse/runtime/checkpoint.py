"""Spark's checkpoint: a working folder of one run, because the table records Kafka's offsets.

Each start deletes it and begins at bronze's ends. So it does not matter if the last one was
lost, cut short, rolled back, or ahead of a table that was restored.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.ingest.ends import Ends


class Checkpoint:
    """The checkpoint folder of one Kafka flow."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def clear(self) -> None:
        """Remove what an earlier run left; ServiceUnavailable if that fails."""
        folder = Path(self.uri)
        try:
            if folder.is_symlink() or folder.is_file():
                folder.unlink()
            elif folder.exists():
                shutil.rmtree(folder)
        except OSError as error:
            raise self._unusable(f"it cannot be removed: {error.strerror}") from None

    def _unusable(self, reason: str) -> ServiceUnavailable:
        remedy = "mend the folder's rights, or remove it: the flow goes on from bronze's ends"
        return ServiceUnavailable(f"checkpoint {self.uri}", reason, remedy)

    def offsets(self, batch_id: int) -> dict[str, dict[int, int]]:
        """Topic → partition → end offset that Spark planned for a batch of this run."""
        lines = self._read(f"offsets/{batch_id}").splitlines()
        planned: dict[str, dict[str, int]] = json.loads(lines[2])
        return {t: {int(p): int(o) for p, o in parts.items()} for t, parts in planned.items()}

    def _read(self, name: str) -> str:
        return Path(self.uri, name).read_text("utf-8")


def starting_offsets(ends: Ends, partitions: Iterable[int]) -> str:
    """Spark's ``startingOffsets``: each partition's end, or the earliest offset if it has none."""
    return json.dumps({ends.topic: {str(p): ends.next.get(p, -2) for p in sorted(partitions)}})
