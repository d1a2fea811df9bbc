"""Silver whose version is gone: folded from the version of bronze that it had applied."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path
from tempfile import mkdtemp

from deltalake import DeltaTable

from lakehouse.core.paths import Lake
from lakehouse.core.text import Say
from lakehouse.model.flow import SilverFlow
from lakehouse.products.registry import flows
from lakehouse.settings.settings import Settings


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

        uri = Lake(self._settings.lake.root).table(f"bronze.{flow.product}")
        self._say(
            "silver's files of then are gone: folding it from "
            f"bronze.{flow.product} at version {version}"
        )
        folder = mkdtemp(prefix="lakehouse-past-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        with connect(self._settings, folder) as connection:
            root = self._settings.with_root(Path(folder))
            silver = SilverPublisher.open(flow, root, connection, uri)
            silver.fold_from_nothing(
                version, lambda done, of: self._say(f"  {done:,} of {of:,} rows")
            )
            silver.close()
        return folder
