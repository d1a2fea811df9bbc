"""Silver that is rebuilt beside the old tables, part by part, and takes their place.

A rebuild that was cut short continues, if bronze has the same files and the parts the same size.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from deltalake.exceptions import DeltaError

from lakehouse.core.errors import LakehouseError
from lakehouse.core.paths import Lake
from lakehouse.settings.settings import Settings
from lakehouse.storage.swap import swap

if TYPE_CHECKING:
    from lakehouse.silver.publisher import SilverPublisher

HALF_MADE = "_rebuild"
"""Folder of a lake: by product what silver is rebuilt in, of bronze alone."""
log = structlog.get_logger("lakehouse")


@contextmanager
def beside(settings: Settings, product: str) -> Iterator[Settings]:
    """Settings of a root beside the lake's tables, as a rebuild that was cut short left it.

    It is removed at the end; after an error or a crash it stays, and the next one continues there.
    """
    root = Path(Lake(settings.lake.root).join(HALF_MADE, product))
    yield settings.with_root(root)
    shutil.rmtree(root, ignore_errors=True)


def half_made(
    open_: Callable[[], SilverPublisher], root: Path, accepts: Callable[[int], bool]
) -> SilverPublisher:
    """Tables with the parts that an earlier rebuild made, of a version which ``accepts`` takes.

    Empty ones where there are none.
    """
    try:
        silver = open_()
        if silver.begun is not None and accepts(silver.begun):
            return silver
        silver.close()
    except (LakehouseError, DeltaError, OSError) as error:
        log.warning("what was made of silver is thrown away", place=str(root), reason=str(error))
    shutil.rmtree(root, ignore_errors=True)
    return open_()


def take_place(
    new: SilverPublisher, settings: Settings, unreadable: Collection[str] = ()
) -> Iterator[str]:
    """Replace the tables of another lake by these, one by one, and its state.

    The state that is there goes first: after a crash it is rebuilt of whatever tables
    there are. Gives the name of each table that is in its place.
    """
    lake = Lake(settings.lake.root)
    state = lake.state(new.flow.name)
    shutil.rmtree(state, ignore_errors=True)
    for table in new.every_table():
        name = ".".join(table.uri.rsplit("/", 2)[-2:])
        swap(lake, settings, name, table, readable=name not in unreadable)
        yield name
    new.kept.store.move(state)
