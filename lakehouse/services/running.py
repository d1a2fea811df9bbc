"""Which of a lake's embedded services run now."""

from __future__ import annotations

from pathlib import Path

from lakehouse.services.broker_files import BrokerFiles
from lakehouse.services.folder import HOST
from lakehouse.services.home import known_home
from lakehouse.services.postgres import EmbeddedPostgres
from lakehouse.settings.settings import Settings


def running_services(settings: Settings) -> Settings:
    """Settings that name this lake's embedded services where they run; starts nothing."""
    home = known_home(Path(settings.lake.root))
    if home and not settings.kafka.bootstrap_servers:
        broker = BrokerFiles(home / "kafka").record.running()
        settings = settings.with_kafka(f"{HOST}:{broker.port}") if broker else settings
    if home and not settings.postgres.url:
        server = EmbeddedPostgres.running(home)
        settings = settings.with_postgres(server.url) if server else settings
    return settings
