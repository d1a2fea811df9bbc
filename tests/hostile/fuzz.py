"""``python -m tests.hostile.fuzz [SECONDS]``: changed logs, checkpoints, manifests and files.

Every mutant of a small lake is drawn by its number and given to one verb, in this process. What
must not come: a traceback, a change of the user's own files, ten seconds, more memory than the
settings allow. A process that dies or hangs for good has said the number that it began.
"""

from __future__ import annotations

import faulthandler
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from deltalake import DeltaTable
from typer.testing import CliRunner

from lakehouse.cli.app import app
from lakehouse.core.errors import LakehouseError
from lakehouse.operations.backup import backup
from lakehouse.storage import log_health
from tests.conftest import NOW, settings_at
from tests.hostile import mutants
from tests.hostile.lakes import LAKES
from tests.hostile.verbs import (
    AT_WORK,
    LONGEST,
    MORE,
    MORE_READ,
    QUICK,
    limited,
    outcome,
    peak_mb,
    state_of,
)

MEMORY_MB = 2_000
"""The most that one process may ever take: [explorer] and [silver] allow 1 GB, and Python."""
WEIGHTS = {"audit": 1, "audit orders": 1, "sql": 2, "report": 1, "dashboard": 1, "explorer": 1,
           "lakehouse.open": 2, "tables": 12, "history": 12, "tables --json": 8}  # fmt: skip
"""The verbs that take longest are not tried so often; 4 stands for any other."""
KINDS = {
    "entry": "commits", "checkpoint": "checkpoints", "hint": "pointers to checkpoints",
    "parquet": "data files", "manifest": "manifests",
}  # fmt: skip
"""What is changed, and its name in docs/security.md."""
SHARES = (60, 12, 8, 12, 8)
WRITING = 0.1
"""The part of the mutants that a verb which writes is given: it takes longer, and a new lake."""
ALONE = 0.95
"""The part of the mutants that are of one table, which is all that the lake has: as many again in
a tenth of the time, since verbs open every table. The others are of a lake of all tables."""
OF_ONE = {
    "history": 8, "tables --json": 5, "doctor --deep": 4, "tables": 1, "explore": 1,
}  # fmt: skip
"""What reads one table, and how often; the rest is of the whole lake."""
TRIED = 300
"""Mutants of `make test`."""


@dataclass
class Ground:
    """A whole lake, its backup, and the user's own files beside the copy that is changed."""

    folder: Path
    whole: Path = field(init=False)
    saved: Path = field(init=False)
    slight: Path = field(init=False)
    """A backup of one table."""
    home: Path = field(init=False)
    tables: list[Path] = field(init=False)
    touched: set[Path] = field(default_factory=set)
    """Tables of the copy that are not as they were."""
    is_written: bool = False
    """Whether a verb may have written anywhere in the copy."""

    def __post_init__(self) -> None:
        """Land the lake, with checkpoints, and back it up."""
        self.whole, self.saved = self.folder / "whole" / "lake", self.folder / "whole" / "backup"
        self.home = self.folder / "at" / "home"
        self.home.mkdir(parents=True)
        for make in LAKES.values():
            make(self.whole)
        for log in self.logs():
            DeltaTable(log.parent).create_checkpoint()
        backup(settings_at(self.whole), self.saved, NOW, lambda _: None)
        self.tables = sorted(p.parent.relative_to(self.whole) for p in self.logs())
        self.slight = self.folder / "slight" / "backup"
        backup(
            settings_at(self.alone(Path("quarantine", "sales"))), self.slight, NOW, lambda _: None
        )
        (self.home / "diary.txt").write_text("c4n4ry")
        data = next(self.whole.glob("bronze/sales/**/*.parquet"))
        shutil.copy(data, self.home / "data.parquet")
        os.chdir(self.home)

    def logs(self) -> list[Path]:
        """Of every table of the whole lake."""
        return [*self.whole.glob("[a-z]*/*/_delta_log")]

    def alone(self, table: Path) -> Path:
        """A lake of one table, recreated."""
        to = self.folder / "at" / "alone"
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.whole / table, to / table, copy_function=os.link)
        self.touched.clear()
        return to

    def copied(self, of: Path) -> Path:
        """A copy whose files are links: a mutant writes a new one."""
        to = self.folder / "at" / of.name
        shutil.rmtree(to, ignore_errors=True)
        self.touched.clear()
        return Path(shutil.copytree(of, to, copy_function=os.link))

    def lake(self) -> Path:
        """The lake as it was: only tables that the last mutant touched are rebuilt."""
        to = self.folder / "at" / self.whole.name
        if self.is_written or not to.exists():
            self.is_written = False
            shutil.rmtree(to.parent / "backup", ignore_errors=True)
            return self.copied(self.whole)
        for table in self.touched:
            shutil.rmtree(to / table)
            shutil.copytree(self.whole / table, to / table, copy_function=os.link)
        self.touched.clear()
        return to


def mutant(ground: Ground, number: int) -> tuple[str, str, Callable[[], str]]:
    """What the mutant of this number changes, the verb that is given it, and the call."""
    r = random.Random(number)
    kind, is_alone = r.choices([*KINDS], SHARES)[0], r.random() < ALONE
    if kind == "manifest":
        source = ground.copied(ground.slight if is_alone else ground.saved)
        mutants.manifest(r, source / "manifest.json")
        root = ground.folder / "at" / "restored"
        shutil.rmtree(root, ignore_errors=True)
        return kind, "restore", lambda: _restored(source, root)
    table = r.choice(ground.tables)
    root = ground.alone(table) if is_alone else ground.lake()
    for _ in range(r.choice([1, 1, 1, 2, 4])):
        patterns = {
            "entry": "*/*/_delta_log/[0-9]*.json", "checkpoint": "*/*/_delta_log/*.parquet",
            "hint": "*/*/_delta_log/_last_checkpoint", "parquet": "*/*/**/part-*.parquet",
        }  # fmt: skip
        if found := sorted(root.glob(patterns[kind])):
            path = r.choice(found)
            ground.touched.add(Path(*path.relative_to(root).parts[:2]))
            getattr(mutants, kind)(r, path)
    if kind == "entry" and r.random() < 0.5:  # without the checkpoint the log itself is read
        for table in ground.touched:
            log = root / table / "_delta_log"
            for kept in (*log.glob("*.parquet"), log / "_last_checkpoint"):
                kept.unlink(missing_ok=True)
    if is_alone:
        [verb] = r.choices([*OF_ONE], [*OF_ONE.values()])
    elif r.random() < WRITING:
        verb = r.choice([verb for verb in MORE if verb not in MORE_READ])
        ground.is_written = True
    else:
        verb = r.choice([verb for verb in MORE_READ for _ in range(WEIGHTS.get(verb, 4))])
    return f"{kind} of {path.relative_to(root)}", verb, lambda: outcome(verb, root)


def _restored(source: Path, root: Path) -> str:
    with limited():
        done = CliRunner().invoke(app, ["restore", str(source), "--root", str(root)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        if isinstance(done.exception, LakehouseError):
            return str(done.exception)
        raise done.exception
    return str(done.output)


def findings(ground: Ground, numbers: Iterator[int], say: Callable[[str], None]) -> Iterator[str]:
    """What no mutant may bring about; each with its number."""
    before = state_of(ground.home)
    log_health._PAUSE = 0.0  # nobody writes in this lake: a look need not be repeated
    for number in numbers:
        say(f"{number}")
        what, verb, run = "it could not be made", "", None
        began = time.monotonic()
        faulthandler.dump_traceback_later(AT_WORK + LONGEST, exit=True)
        try:
            what, verb, run = mutant(ground, number)
            run()
        except (Exception, AssertionError) as error:  # noqa: BLE001  # that is what is looked for
            told = f"{type(error).__name__} at {_place(error)}: {error}"
            yield f"mutant {number}, {verb}, {what}: {told}"[:500]
        faulthandler.cancel_dump_traceback_later()
        longest = LONGEST if verb in {*QUICK, "restore"} else AT_WORK
        if (took := time.monotonic() - began) > longest:
            yield f"mutant {number}, {verb}, {what}: took {took:.0f} s"
        if (peak := peak_mb()) > MEMORY_MB:
            yield f"mutant {number}, {verb}, {what}: {peak:,.0f} MB"
            return
        if state_of(ground.home) != before:
            yield f"mutant {number}, {verb}, {what}: the user's files are changed"
            before = state_of(ground.home)


def _place(error: BaseException) -> str:
    """Where the package was when it came."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/lakehouse/" in f.filename]
    return " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-3:]))


def main(first: int, count: int, seconds: float) -> int:
    """Try mutants from a number on, so many or so long; 1 where something came of one."""
    found, ends = [], time.monotonic() + seconds
    tried = Counter[str]()

    def numbers() -> Iterator[int]:
        for number in range(first, first + count):
            if time.monotonic() > ends:
                return
            tried["mutants"] += 1
            yield number

    def say(text: str) -> None:
        os.pwrite(mark, text.ljust(20).encode(), 0)

    with tempfile.TemporaryDirectory(prefix="lakehouse-fuzz-") as folder:
        mark = os.open(Path(folder, "at-work"), os.O_RDWR | os.O_CREAT)
        ground = Ground(Path(folder).resolve())
        for told in findings(ground, numbers(), say):
            found.append(told)
            print(told, flush=True)
        os.close(mark)
        os.chdir("/")
    print(f"{tried['mutants']:,} mutants from {first}, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    words = [float(word) for word in sys.argv[1:]]
    seconds = words[0] if words else 3600.0
    first = int(words[1]) if len(words) > 1 else random.SystemRandom().randrange(10**9)
    count = int(words[2]) if len(words) > 2 else 10**12
    raise SystemExit(main(first, count, seconds))
