"""``lakehouse restore``: what a backup has is put in a lake, all of it, checked first."""

from __future__ import annotations

import shutil
from pathlib import Path

from lakehouse.core.errors import UsageError
from lakehouse.core.lock import write_locks
from lakehouse.core.paths import UNFINISHED_RESTORE, Lake
from lakehouse.core.progress import Counted
from lakehouse.core.text import Say
from lakehouse.core.within import Within
from lakehouse.operations.backup import copy_file, models_in, tables_in
from lakehouse.operations.manifest import not_whole, read_manifest
from lakehouse.products.registry import flows
from lakehouse.settings.settings import Settings
from lakehouse.storage.health import opened


def restore(source: Path, settings: Settings, say: Say, *, force: bool) -> dict[str, int]:
    """Put a backup's tables in a lake; their versions by name.

    Everything is copied beside the lake and checked against the manifest before the
    lake is touched. Tables that are there are refused without ``force``; with it they
    are moved to ``<root>/_aside``. Flows refuse a lake whose restore was cut: run it
    again, with ``force``.
    """
    manifest = read_manifest(source)
    lake = Lake(settings.lake.root)
    there, models = tables_in(lake.root), models_in(lake.root)
    if (there or models) and not force:
        raise UsageError(
            f"lake {lake.root}", f"holds {', '.join([*there, *models][:3])} …",
            "give another --root, or --force: they are then moved to its folder _aside",
        )  # fmt: skip
    tables = manifest.tables
    places = {name.replace(".", "/", 1) for name in there} | {*models}
    known = [table for flow in flows() for table in flow.tables]
    every = sorted({*known, *there, *tables})
    wait = settings.publish.lock_timeout
    with write_locks(lake.locks, every, "restore", wait, mends=True):
        if (there, models) != (tables_in(lake.root), models_in(lake.root)):
            raise UsageError(
                f"lake {lake.root}", "has other tables than before its writer was waited for",
                "look at them, then run it again",
            )  # fmt: skip
        partial = Path(lake.join("_restore.partial"))
        beside = Path(lake.join(UNFINISHED_RESTORE))
        for folder in (partial, beside):
            shutil.rmtree(folder, ignore_errors=True)
        size = sum(file.bytes for file in manifest.files.values())
        copied = Counted("copying and checking", size, "bytes")
        try:
            for name, wanted in manifest.files.items():
                to = Within.of(Path(lake.root).absolute(), f"{partial.name}/{name}")
                told = copy_file(Within.of(source, name), to, "of the backup")
                if told != (wanted.bytes, wanted.sha256):
                    raise not_whole(source / name, "is not what the manifest says")
                copied.add(wanted.bytes)
        except BaseException:  # Ctrl-C too: the lake is as it was
            shutil.rmtree(partial, ignore_errors=True)
            raise
        say(f"checked {len(manifest.files):,} files")
        for name in tables:
            opened(str(partial.joinpath(*name.split(".", 1))))
        partial.rename(beside)
        aside = lake.aside("lake")
        for place in sorted(places | manifest.folders()):
            if place in places:
                _move(lake, place, f"_aside/{aside.name}/{place}")
            if place in manifest.folders():
                _move(lake, f"{beside.name}/{place}", place)
        shutil.rmtree(beside)
    if places:
        say(f"what was there is in {aside}")
    return dict(tables)


def _move(lake: Lake, place: str, to: str) -> None:
    root = Path(lake.root).absolute()
    Within.of(root, place).move(Within.of(root, to))
