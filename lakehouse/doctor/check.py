"""One check's outcome, and what checks of a database begin with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lakehouse.services.home import known_home
from lakehouse.services.postgres import EmbeddedPostgres
from lakehouse.services.postgres_files import binaries
from lakehouse.settings.sections import PostgresSettings
from lakehouse.settings.settings import Settings


@dataclass(frozen=True)
class Check:
    """One check's outcome; ``fix`` says what to do where it did not pass."""

    group: str
    name: str
    state: str
    """pass, warn or fail."""
    detail: str
    fix: str = ""


def running_postgres(settings: Settings) -> PostgresSettings | None:
    """The given database, or the embedded one where it runs; None where nothing runs."""
    if settings.postgres.url:
        return settings.postgres
    binaries()
    home = known_home(Path(settings.lake.root))
    running = EmbeddedPostgres.running(home) if home else None
    return settings.with_postgres(running.url).postgres if running else None
