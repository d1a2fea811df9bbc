"""The lake's tables, opened read-only by delta-rs: no JVM, an answer in milliseconds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lakehouse.core.errors import TableDamaged, TableMissing, UsageError
from lakehouse.core.paths import Lake, root_option
from lakehouse.core.text import of_tables, one_line, whole_number
from lakehouse.explorer.table_info import TableInfo, info_of_delta, info_of_files, time_text
from lakehouse.ingest.ends import Ends
from lakehouse.products.registry import bronze_of, to_make
from lakehouse.storage.damage import damaged, files_damage
from lakehouse.storage.file_paths import dated_files
from lakehouse.storage.health import lacking_files, loaded, newest
from lakehouse.storage.log import commits, note_of, notes
from lakehouse.storage.log_health import Log, oldest_version

PLAIN = "lake"
"""The layer of plain Parquet files by date; it has no versions, only its newest state."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAYERS = ("bronze", "silver", "quarantine", "ledger", "erased", PLAIN)
_NAMED = re.compile(
    rf"\b({'|'.join(LAYERS)})\b\"?\s*\.\s*(?:\"((?:[^\"]|\"\")+)\"|([\w-]+))", re.IGNORECASE
)
"""A table in a statement: its layer, and its name in quotes or as it is."""
Past = Callable[[str, int], DeltaTable | None]
"""Gives a silver table folded from a version of bronze; None if no flow declares the table."""
MAKE_ONE = "run `lakehouse demo` or `lakehouse run`, or name the lake by --root"


class Catalogue:
    """The tables under one root, now or as of a version or a time; never both."""

    def __init__(
        self,
        root: str,
        version: int | None = None,
        at: datetime | None = None,
        past: Past | None = None,
    ) -> None:
        """``past`` gives silver whose version is gone; without it, that is an error."""
        if version is not None and at is not None:
            raise UsageError("--version and --at", "exclude each other", "give one of them")
        self.lake, self.version, self.at, self._past = Lake(root), version, at, past

    def back_to(self, version: int | None = None, at: datetime | None = None) -> Catalogue:
        """The same lake at another version or time; with neither, at the newest."""
        return Catalogue(self.lake.root, version, at, self._past)

    def names(self) -> list[str]:
        """Every table there is: ``silver.shop_by_country``."""
        return sorted(self._find())

    def _find(self) -> Iterator[str]:
        for layer in LAYERS:
            folder = Path(self.lake.join(layer))
            if folder.is_dir():
                mark = "_taken.json" if layer == PLAIN else "_delta_log"
                for path in folder.iterdir():
                    if (path / mark).exists() and (layer != PLAIN or self._is_newest):
                        yield f"{layer}.{path.name}"

    @property
    def _is_newest(self) -> bool:
        return self.version is None and self.at is None

    def plain_files(self, name: str) -> list[str]:
        """The files of a table of the layer :data:`PLAIN`."""
        return dated_files(Path(self.lake.table(name)))

    def require(self) -> None:
        """Raise TableMissing if the lake has no table at all."""
        if not self.names():
            raise TableMissing(self.lake.root, "holds no table", MAKE_ONE)

    def open(self, name: str) -> DeltaTable:
        """The table at the catalogue's version or time; looked up by name, never by path."""
        if name not in (names := self.names()):
            remedy = to_make(name) or of_tables(name, names, MAKE_ONE)
            raise TableMissing(f"table {name}", "does not exist (yet)", remedy)
        if is_plain(name):
            raise UsageError(
                f"table {name}", "is plain Parquet files: it has no versions", "read it by SQL"
            )
        try:
            table = newest(self.lake.table(name)) if self._is_newest else self._load(name)
        except (DeltaError, OSError) as error:
            if self.version is not None or self.at is not None:
                raise self._no_version(name, error) from None
            raise TableDamaged(
                f"table {name}", f"cannot be opened: {one_line(error)}",
                f"lakehouse repair {quote(name)} {root_option(self.lake.root)}",
            ) from None  # fmt: skip
        _refuse_unreadable(name, table)
        return table

    def _no_version(self, name: str, error: Exception) -> UsageError:
        """Which versions there are instead; the engine's words where that is not what is wrong."""
        uri = self.lake.table(name)
        newest, oldest, version = Log.of(uri).newest, oldest_version(uri), self.version
        why = one_line(error)
        if version is not None and not oldest <= version <= newest:
            why = f"the newest is {newest}" if version > newest else f"the oldest is {oldest}"
        return UsageError(
            f"table {name}", f"has no such version: {why}", f"look at `lakehouse history {name}`"
        )

    def _load(self, name: str) -> DeltaTable:
        """The table at the version or time; silver whose version is gone is folded from bronze."""
        if self._past is None or (bronze := bronze_of(name)) is None or is_plain(name):
            return self._whole(name, self._loaded(name))
        try:
            table = self._loaded(name)
            if not lacking_files(table, self.lake.table(name)):
                return table
        except (DeltaError, UsageError):
            table = None
        if self.at is not None:  # a moment before bronze's log begins is refused
            version: int | None = int(self._loaded(bronze).version())
        else:
            version = self._source(name, self.version or 0).get("version")
        try:
            past = None if version is None or version < 0 else self._past(name, version)
        except (DeltaError, OSError):
            raise self._gone(name, f" and so are those of {bronze} at version {version}") from None
        return past or self._whole(name, table or self._loaded(name))

    def _whole(self, name: str, table: DeltaTable) -> DeltaTable:
        """The table, if all of its files are there: those of older versions are removed in time."""
        if lacking := lacking_files(table, uri := self.lake.table(name)):
            if table.version() == Log.of(uri).newest:
                raise damaged(uri, files_damage(uri, lacking))
            raise self._gone(name)
        return table

    def _gone(self, name: str, more: str = "") -> UsageError:
        return UsageError(
            f"table {name}", f"files of then are gone,{more or ' removed by its upkeep'}",
            f"name a newer version of `lakehouse history {name}`",
        )  # fmt: skip

    def _source(self, name: str, version: int) -> dict[str, Any]:
        """What a commit of silver says of the bronze version that the table has applied by it."""
        told = (note.get("source") for note in notes(self._commits(name, version)))
        return next((source for source in told if source), {})

    def _loaded(self, name: str) -> DeltaTable:
        table = loaded(self.lake.table(name), self.version)
        if self.at is not None:
            moment, oldest = (self.at - _EPOCH) // timedelta(milliseconds=1), 0
            for commit in self._commits(name, int(table.version())):
                oldest = commit["timestamp"] or oldest  # one that describes nothing has none
                if commit["timestamp"] and oldest <= moment:  # as `history` shows it
                    table.load_as_version(int(commit["version"]))
                    return table
            raise UsageError(
                f"table {name}", f"has no version as old as {self.at.isoformat()}",
                f"its log begins at {time_text(oldest)}; look at `lakehouse history {name}`",
            )  # fmt: skip
        return table

    def info(self, name: str) -> TableInfo:
        """What ``lakehouse tables`` shows of one table."""
        if is_plain(name):
            return info_of_files(name, Path(self.lake.table(name)))
        table = self.open(name)
        version = int(table.version())
        has_source = name.partition(".")[0] not in {"bronze", "quarantine"}
        source = self._source(name, version) if has_source else {}
        return info_of_delta(name, table, next(self._commits(name, version), None), source)

    def _commits(self, name: str, newest: int) -> Iterator[dict[str, Any]]:
        """Commits up to a version, the newest first."""
        return commits(self.lake.table(name), newest)

    def ends(self, bronze: str, version: int) -> Ends:
        """The ends of a version of bronze; ends of no topic if no commit records any."""
        told = (n["ends"] for n in notes(self._commits(bronze, version)) if "ends" in n)
        return next((Ends.read(note) for note in told), Ends("", ""))

    def history(self, name: str, limit: int) -> list[dict[str, Any]]:
        """The newest commits: version, time, operation, rows and commit metadata."""
        rows = []
        for commit in islice(self._commits(name, int(self.open(name).version())), limit):
            note = note_of(commit)
            metrics = commit["operationMetrics"]
            added = whole_number(metrics.get("num_added_rows", metrics.get("numOutputRows")))
            rows.append(
                {
                    "version": commit.get("version"),
                    "time": time_text(commit["timestamp"]),
                    "operation": commit.get("operation", ""),
                    "rows": note.get("rows", added),
                    "note": json.dumps(note) if note else "",
                }
            )
        return rows


def named_in(statement: str) -> list[str]:
    """The tables that a statement names, in order, as :meth:`Catalogue.names` would have them."""
    found = (
        f"{layer}.{bare}" if bare else f"{layer}.{quoted}".replace('""', '"')
        for layer, quoted, bare in _NAMED.findall(statement)
    )
    return [*dict.fromkeys(found)]


def is_plain(name: str) -> bool:
    """Whether a table is plain Parquet files rather than a Delta table."""
    return name.startswith(f"{PLAIN}.")


def _refuse_unreadable(name: str, table: DeltaTable) -> None:
    """Raise TableDamaged if the rows cannot be read from the Parquet files alone."""
    configuration = table.metadata().configuration
    features = set(table.protocol().reader_features or [])
    odd = {f for f in features if f in {"deletionVectors", "columnMapping"}}
    if configuration.get("delta.enableDeletionVectors", "").lower() == "true":
        odd.add("deletionVectors")
    if configuration.get("delta.columnMapping.mode", "none").lower() != "none":
        odd.add("columnMapping")
    if odd:
        raise TableDamaged(
            f"table {name}", f"uses {', '.join(sorted(odd))}, which this reader does not know",
            "rewrite the table without it",
        )  # fmt: skip
