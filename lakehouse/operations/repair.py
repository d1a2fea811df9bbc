"""``lakehouse repair``: a table whose files were damaged, brought back to what is whole.

Nothing is deleted: files that are in the way are moved to ``<root>/_aside``. What a
table loses by it the flow reads from Kafka again, by bronze's ends; where Kafka no
longer has it, nothing is done and the error says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError

from lakehouse.audit.batches import altered, is_checked
from lakehouse.audit.topic import Judge
from lakehouse.core.errors import TableDamaged, TableMissing, UsageError
from lakehouse.core.files import sync
from lakehouse.core.paths import Lake, root_option
from lakehouse.core.text import Say, one_line
from lakehouse.core.within import Within
from lakehouse.ingest.ends import EXPIRED, Ends, gaps
from lakehouse.ingest.topic import Topic
from lakehouse.operations.erased_again import lacking_rows
from lakehouse.operations.in_memory import within_memory
from lakehouse.settings.settings import Settings
from lakehouse.storage.actions import removal, repair_info
from lakehouse.storage.damage import Damage, damaged, files_damage
from lakehouse.storage.data_files import write_files
from lakehouse.storage.file_paths import files_of, local_path
from lakehouse.storage.fingerprint import KEY, Rows, Total, by_batch, total_of
from lakehouse.storage.health import broken_files, opened
from lakehouse.storage.log import (
    commits,
    notes,
    sync_commit,
    sync_files,
    write_entry,
)
from lakehouse.storage.log_health import HINT, Log, hinted, log_damage
from lakehouse.storage.metadata import NOTE
from lakehouse.storage.protocol import check_protocol
from lakehouse.storage.rows import data_files

_VERSION = re.compile(r"\.?(\d{20})\.")


class Repair:
    """The repair of one table, whose lock the caller holds.

    ``topic`` reads the product's topic, ``judge`` tells what is in it; they are asked only
    where bronze would lose commits that are whole, and where the ledger of erased
    addresses lost some.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        topic: Callable[[], Topic | None],
        say: Say,
        judge: Judge = lambda _: iter(()),
    ) -> None:
        self._lake = Lake(settings.lake.root)
        self.name, self.uri = name, self._lake.table(name)
        self._topic, self._say, self._judge, self._settings = topic, say, judge, settings
        self._whole: set[str] = set()
        if name.startswith("silver."):
            raise UsageError(
                f"table {name}", "is not repaired: it is a function of bronze",
                f"lakehouse rebuild {name} {root_option(settings.lake.root)}",
            )  # fmt: skip

    @property
    def _is_quarantine(self) -> bool:
        return self.name.startswith("quarantine.")

    def run(self) -> list[str]:
        """Mend what is wrong; a line for each thing done. Run again after a crash it continues.

        A file that takes more memory than there is stays where it is: TableDamaged.
        """
        with within_memory(self._settings):
            return self._mended()

    def _mended(self) -> list[str]:
        if self.name.startswith("ledger."):
            return self._move_ledger_aside()
        done: list[str] = []
        while found := log_damage(self.uri, deep=True):
            done.append(self._mend_log(found[0]))
            self._say(done[-1])
        if not DeltaTable.is_deltatable(self.uri):
            raise TableMissing(f"table {self.name}", "is an empty folder", "remove it")
        try:
            table = DeltaTable(self.uri)
        except (DeltaError, ValueError) as error:
            reason = one_line(error)
            raise self._beyond(Damage(self.uri, f"cannot be opened: {reason}")) from None
        if broken := self._broken():
            done.append(self._mend_files(table, broken))
            self._say(done[-1])
        return done

    def _move_ledger_aside(self) -> list[str]:
        """Move the whole table aside: the next run makes it from bronze."""
        try:
            if broken := broken_files(opened(self.uri), self.uri, or_large=False):
                raise damaged(self.uri, files_damage(self.uri, broken))
        except TableDamaged as damage:
            self._move(Path(self.uri), self._lake.aside(self.name))
            done = f"{damage.fault}: the table is set aside, the next run rebuilds it"
            self._say(done)
            return [done]
        return []

    def _mend_log(self, found: Damage) -> str:
        if found.spare:
            names = {path.name for path in found.spare}
            self._set_aside(lambda path: path.name.lstrip(".").removesuffix(".crc") in names)
            return f"{found.place}: {found.fault}: set aside, the log is whole without it"
        log = Log.listed(self.uri)
        if found.whole is None:
            raise self._beyond(found)
        if found.whole < log.newest - 1:
            self._must_be_in_kafka(found.whole, found)
        whole = found.whole
        self._set_aside(lambda path: _version(path) > whole)
        return f"{found.place}: {found.fault}: the table is at version {whole} again"

    def _mend_files(self, table: DeltaTable, broken: dict[str, str]) -> str:
        found = files_damage(self.uri, broken)
        if self.name.startswith("erased."):
            return self._find_again(table, broken, found)
        if not self.name.startswith("bronze."):
            rest, aside = json.dumps(self._without(table, broken)), self._lake.aside(self.name)
            for path in broken:
                self._move(local_path(self.uri, path), aside)
            table.repair(commit_properties=CommitProperties({NOTE: rest}))
            sync_commit(Path(self.uri), table.version())
            again = "its records are read from Kafka again" if self._is_quarantine else "it is lost"
            return f"{found.place}: {found.fault}: left out, {again}"
        version = self._newest_whole(table.version())
        if version is None:
            raise self._beyond(found)
        told = table.get_add_actions(flatten=True)["min.offset"].to_pylist()
        first = min((offset for offset in told if offset is not None), default=0)
        ends = self._must_be_in_kafka(version, found, first)
        note: dict[str, Any] = {"flow": f"{self.name.partition('.')[2]}.bronze"}
        note |= {"ends": ends.note()} if ends.next else {}
        commit = CommitProperties({NOTE: json.dumps(note)}, max_commit_retries=0)
        table.restore(version, commit_properties=commit)
        sync_commit(Path(self.uri), table.version())
        return f"{found.place}: {found.fault}: the table is as at version {version} again"

    def _find_again(self, table: DeltaTable, broken: dict[str, str], found: Damage) -> str:
        """Erased addresses that were lost are rewritten, in the commit that lets go of them."""
        product = self.name.partition(".")[2]
        actions = pa.table(table.get_add_actions(flatten=True))
        lost = actions.filter(pa.array(name in broken for name in actions["path"].to_pylist()))
        gone = {str(local_path(self.uri, name)) for name in broken}
        whole = [file for file in files_of(table) if file not in gone]
        rows = lacking_rows(product, self._settings, whole, lost, self._topic(), self._judge)
        if rows is None:
            raise self._beyond(found, "; more is lacking in the tables than it held")
        note, aside = self._without(table, broken, rows), self._lake.aside(self.name)
        codec, version = self._settings.publish.compression, table.version() + 1
        folder, names = Path(self.uri), lost["path"].to_pylist()
        check_protocol(table, self.uri)
        held = pa.schema(table.schema())
        added = write_files(folder, rows.select(held.names).cast(held), (), codec)
        sync_files(folder, (file.name for file in added))
        sizes = zip(names, lost["size_bytes"].to_pylist(), strict=True)
        removals = [removal(*one, {}, data_change=True) for one in sizes]
        told = repair_info(len(added), len(removals), note)
        write_entry(folder, version, [told, *removals, *(file.add() for file in added)])
        for name in names:
            self._move(local_path(self.uri, name), aside)
        return f"{found.place}: {found.fault}: its {len(rows):,} addresses are found again"

    def _without(
        self, table: DeltaTable, lacking: Iterable[str], again: Rows = ()
    ) -> dict[str, Any]:
        """The note of a commit that leaves these files out: fingerprints begin with the rest.

        ``again`` are rows that come in their place.

        Raises TableDamaged where the rest is not what its commits say: to begin with
        that would hide it.
        """
        gone = {local_path(self.uri, name) for name in lacking}
        files = [file for file in data_files(table, self.uri) if file.path not in gone]
        found = by_batch(batch for file in files for batch in file.rows())
        if wrong := altered(self.uri, table.version(), found):
            raise TableDamaged(
                f"table {self.name}",
                f"rows of {wrong} are not those that its commits added, and files are lost too",
                "only a backup has it: lakehouse restore BACKUP",
            )
        total = total_of(found) + total_of(by_batch(again))
        # an address that was never erased is found by what bronze lacks
        to_check = {} if self.name.startswith("erased.") else found
        checked = is_checked(self.uri, table.version(), to_check)
        return {KEY: Total(total, table.version() + 1, total.rows, checked).note()}

    def _broken(self, version: int | None = None) -> dict[str, str]:
        """What is wrong with files of a version; MemoryError where one is too large to tell."""
        table = DeltaTable(self.uri, version=version)
        return broken_files(table, self.uri, self._whole, or_large=False)

    def _newest_whole(self, newest: int) -> int | None:
        """The newest version whose files are all there, as far as the log goes back."""
        for commit in commits(self.uri, newest):
            version = int(commit["version"])
            if not self._broken(version):
                return version
        return None

    def _must_be_in_kafka(self, version: int, found: Damage, first: int = 0) -> Ends:
        """The ends of an earlier version of bronze, from which Kafka can bring back the rest.

        ``first`` is the lowest offset that bronze held: what is needed where the
        earlier version is the empty table.
        """
        if not self.name.startswith("bronze."):
            return Ends("", "")
        topic = self._topic()
        told = (note["ends"] for note in notes(commits(self.uri, version)) if "ends" in note)
        ends = next((Ends.read(note) for note in told), None)
        if ends is None and topic and not DeltaTable(self.uri, version=version).file_uris():
            ends = Ends(topic.name, topic.id, dict.fromkeys(topic.ranges, first))
            lacking = [gap for gap in gaps(ends, topic) if gap.kind == EXPIRED]
            ends = Ends(topic.name, topic.id)
        elif ends is not None and topic:
            lacking = list(gaps(ends, topic))
        else:
            raise self._beyond(found)
        if lacking:
            listed = "".join(f"\n  {gap.told()}" for gap in lacking)
            raise self._beyond(found, f"; version {version} is whole, but Kafka lacks{listed}")
        return ends

    def _beyond(self, found: Damage, more: str = "") -> TableDamaged:
        told = damaged(self.uri, found)
        return TableDamaged(
            told.place,
            told.fault + more,
            "only a backup has it: lakehouse restore BACKUP; or put the file back where it was",
        )

    def _set_aside(self, is_chosen: Callable[[Path], bool]) -> None:
        """Move files of the log that are chosen, and a hint at a checkpoint that is gone."""
        log = Path(self.uri, "_delta_log")
        aside = self._lake.aside(self.name)
        for path in sorted(log.iterdir(), reverse=True):  # the newest first: no hole is left
            if is_chosen(path):
                self._move(path, aside)
        hint = log / HINT
        if hint.is_file() and hinted(hint) not in {None, *Log.listed(self.uri).checkpoints}:
            self._move(hint, aside)
        sync(log)

    def _move(self, path: Path, aside: Path) -> None:
        root = Path(self._lake.root).absolute()
        told, to = (str(place.relative_to(root)) for place in (path, aside / path.name))
        with suppress(FileNotFoundError):
            Within.of(root, told).move(Within.of(root, to))


def _version(path: Path) -> int:
    """The version that a file of the log belongs to; -1 for none."""
    found = _VERSION.match(path.name)
    return int(found[1]) if found else -1
