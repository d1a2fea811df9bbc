"""Silver whose version is gone: folded from the version of bronze that it had applied.

Upkeep removes bronze's files of then too, an hour after it compacted them. Their rows are in the
newest version, with the number of their batch: what came in later batches is left out. An event
that was erased since is in neither.
"""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from lakehouse.core.paths import Lake
from lakehouse.core.progress import Counted
from lakehouse.core.text import Say
from lakehouse.ingest.ends import Ends
from lakehouse.model.flow import SilverFlow
from lakehouse.products.registry import flows
from lakehouse.settings.settings import Settings
from lakehouse.storage.health import current, lacking_files, loaded
from lakehouse.storage.log import commits, notes
from lakehouse.storage.rows import data_files


class Past:
    """Folds a product's silver once for each version that is asked for, in a temporary folder.

    ``say`` gets the progress.
    """

    def __init__(self, settings: Settings, say: Say) -> None:
        self._settings, self._say = settings, say
        self._roots: dict[tuple[str, int], str] = {}

    def open(self, name: str, version: int) -> DeltaTable | None:
        """A silver table folded from this version of bronze; None if no flow declares it."""
        flow = next((f for f in flows() if isinstance(f, SilverFlow) and name in f.tables), None)
        if flow is None:
            return None
        place = (flow.name, version)
        if place not in self._roots:
            self._roots[place] = self._folded(flow, version)
        return DeltaTable(Lake(self._roots[place]).table(name))

    def _folded(self, flow: SilverFlow, version: int) -> str:
        from lakehouse.silver.publisher import SilverPublisher  # noqa: PLC0415  # half a second
        from lakehouse.storage.duck import connect  # noqa: PLC0415  # as above

        bronze = f"bronze.{flow.product}"
        uri = Lake(self._settings.lake.root).table(bronze)
        self._say(f"silver's files of then are gone: folding it from {bronze} at version {version}")
        folder = mkdtemp(prefix="lakehouse-past-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        root = self._settings.with_root(Path(folder))
        if lacking_files(loaded(uri, version), uri):
            self._say(f"  its files are gone too: taking what {bronze} had from its newest version")
            uri, version = _of_batches(uri, version, Lake(folder).table(bronze), root)
        with connect(self._settings, folder) as connection:
            silver = SilverPublisher.open(flow, root, connection, uri)
            silver.fold_from_nothing(
                version, lambda done, of: self._say(f"  {done:,} of {of:,} rows")
            )
            silver.close()
        return folder


def _of_batches(uri: str, version: int, to: str, settings: Settings) -> tuple[str, int]:
    """Bronze as it was at a version, of the newest rows: a table of its own, and its version.

    FileNotFoundError where no commit says which batches there were.
    """
    from lakehouse.storage.table import Table  # noqa: PLC0415  # a third of a second

    note = next((note for note in notes(commits(uri, version)) if "ends" in note), None)
    if note is None:
        raise FileNotFoundError(uri)
    ends, newest = Ends.read(note["ends"]), current(uri)
    schema, by, files = (
        newest.schema(),
        newest.metadata().partition_columns,
        data_files(newest, uri),
    )
    done = Counted("taking rows of then", sum(file.count for file in files), "rows")

    def parts() -> Iterator[pa.Table]:
        for file in files:
            for rows in file.whole_rows():
                was_there = pc.less_equal(rows["batch_id"], ends.batch)
                yield pa.Table.from_batches([rows.filter(was_there)])
                done.add(len(rows))

    then = Table.open(to, pa.schema(schema), settings, partition_by=by)
    return to, then.replace(parts(), {"ends": ends.note()})
