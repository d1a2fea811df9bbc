"""What the verbs of products have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse.core.paths import check_made
from lakehouse.core.text import Say

if TYPE_CHECKING:
    from lakehouse.settings.settings import Service, Settings, SettingsOf


@dataclass(frozen=True)
class Verbs:
    """Verbs, given how settings are read, services are found or started, and text is said."""

    settings_of: SettingsOf
    broker: Service
    database: Service
    say: Say

    @contextmanager
    def asking(
        self, config: Path | None, root: Path | None, *, with_database: bool = True
    ) -> Iterator[Settings]:
        """Settings of a lake that is there, and its services; one that was killed stays away."""
        from lakehouse.services.kept import refuse_killed  # noqa: PLC0415  # help starts nothing

        settings = self.settings_of(config, root)
        check_made(settings.lake.root)
        if not settings.kafka.bootstrap_servers or (with_database and not settings.postgres.url):
            refuse_killed(Path(settings.lake.root))
        beside = self.database(settings) if with_database else nullcontext(settings)
        with beside as settings, self.broker(settings) as settings:
            yield settings
