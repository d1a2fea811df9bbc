"""The verb of the activity product: its verification."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from lakehouse.core.options import AsJson, Config, Root, group
from lakehouse.core.progress import progress
from lakehouse.core.text import Say
from lakehouse.products.verbs import Verbs

if TYPE_CHECKING:
    from lakehouse.settings.settings import Service, SettingsOf


def commands(
    settings_of: SettingsOf,
    broker: Service,
    database: Service,
    say: Say,
) -> dict[str, Callable[..., None] | typer.Typer]:
    """Verb → what it does."""
    activity = group("Windows and sessions of users. Example: lakehouse activity verify")
    activity.command("verify")(ActivityVerbs(settings_of, broker, database, say).verify)
    return {"activity": activity}


class ActivityVerbs(Verbs):
    """The verb, as a method."""

    def verify(self, root: Root = None, config: Config = None, as_json: AsJson = False) -> None:
        """Audit all of activity, one named check a part; exit 0 when all holds.

        It is `lakehouse audit activity --content all`, seen by its parts.

        Examples: lakehouse activity verify   |   lakehouse activity verify --json
        """
        from lakehouse.products.activity.verify import finish, verify

        with self.asking(config, root) as settings, progress(quiet=as_json):
            checks = verify(settings, self.say)
        finish(checks, as_json=as_json)
