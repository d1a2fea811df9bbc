"""The verb that moves services' data out of a lake of an earlier version."""

from __future__ import annotations

from typing import Annotated

import typer

from lakehouse.cli.edge import settings_of
from lakehouse.core.options import Config, Root
from lakehouse.core.text import say


def move_services(
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    root: Root = None,
    config: Config = None,
) -> None:
    """Move the embedded Kafka's and Postgres's data out of a lake, to your state folder.

    Earlier versions kept them in the lake. Do it only with a lake that you made: a server runs
    what its data folder tells it to.

    Examples: lakehouse move-services   |   lakehouse move-services --root var/demo --yes
    """
    from pathlib import Path

    from lakehouse.services.home import left_in, move_in

    lake = Path(settings_of(config, root).lake.root)
    if not (left := left_in(lake.resolve())):
        say(f"{lake} holds no data of services: nothing is moved")
    elif yes or typer.confirm(f"Is {lake} a lake that you made? Move its {' and '.join(left)}?"):
        say(f"moved {' and '.join(left)} to {move_in(lake)}")
