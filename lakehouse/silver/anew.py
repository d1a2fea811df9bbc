"""Silver that is made anew beside the old tables, and takes their place."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse.core.paths import Lake
from lakehouse.settings.settings import Settings
from lakehouse.storage.anew import swap

if TYPE_CHECKING:
    from lakehouse.silver.publisher import SilverPublisher


@contextmanager
def beside(settings: Settings, product: str) -> Iterator[Settings]:
    """Settings of an empty root beside the lake's tables.

    It goes at the end; after an error or a crash it stays until the next one begins.
    """
    root = Path(Lake(settings.lake.root).join("_rebuild", product))
    shutil.rmtree(root, ignore_errors=True)
    yield settings.with_root(root)
    shutil.rmtree(root, ignore_errors=True)


def take_place(
    new: SilverPublisher, settings: Settings, unreadable: Collection[str] = ()
) -> Iterator[str]:
    """Put the tables, one by one, and the state in the place of those of another lake.

    The state that is there goes first: after a crash it is made anew of whatever tables
    there are. Gives the name of each table that is in its place.
    """
    lake = Lake(settings.lake.root)
    state = lake.state(new.flow.name)
    shutil.rmtree(state, ignore_errors=True)
    for table in new.every_table():
        name = ".".join(table.uri.rsplit("/", 2)[-2:])
        swap(lake, settings, name, table, readable=name not in unreadable)
        yield name
    new.move_state(state)
