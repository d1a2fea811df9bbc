"""The verb of the activity product: its verification."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lakehouse.core.options import AsJson, Config, Group, Root
from lakehouse.core.paths import check_made
from lakehouse.core.progress import progress

if TYPE_CHECKING:
    from lakehouse.settings.settings import Service, SettingsOf


def commands(
    settings_of: SettingsOf,
    broker: Service,
    database: Service,
    say: Callable[[str], None],
) -> dict[str, Callable[..., None] | typer.Typer]:
    """Verb → what it does."""
    group = typer.Typer(
        cls=Group,
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Windows and sessions of users. Example: lakehouse activity verify",
    )
    group.command("verify")(verify_command(settings_of, broker, database, say))
    return {"activity": group}


def verify_command(
    settings_of: SettingsOf,
    broker: Service,
    database: Service,
    say: Callable[[str], None],
) -> Callable[..., None]:
    """The verb ``activity verify``, given how settings are read and services found or started."""

    def verify_activity(root: Root = None, config: Config = None, as_json: AsJson = False) -> None:
        """Audit all of activity, one named check a part; exit 0 when all holds.

        It is `lakehouse audit activity --content all`, seen by its parts.

        Examples: lakehouse activity verify   |   lakehouse activity verify --json
        """
        from lakehouse.model.sink import PostgresSink
        from lakehouse.products.activity.tables import FLOWS
        from lakehouse.products.activity.verify import finish, verify
        from lakehouse.services.kept import refuse_killed

        settings = settings_of(config, root)
        check_made(settings.lake.root)
        if not settings.kafka.bootstrap_servers:
            refuse_killed(Path(settings.lake.root))
        asks_postgres = any(isinstance(flow, PostgresSink) for flow in FLOWS)
        beside = database(settings) if asks_postgres else nullcontext(settings)
        with beside as settings, broker(settings) as settings, progress(quiet=as_json):
            checks = verify(settings, say)
        finish(checks, as_json=as_json)

    return verify_activity
