"""Activity: its section of config.ini."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field

from lakehouse.settings.kinds import Count, Duration, Topic
from lakehouse.settings.sections import ProductSettings
from lakehouse.settings.settings import Settings

Share = Annotated[float, Field(ge=0, le=1)]


def _like(key: str, default: Any) -> Any:
    """The key as every product has it, with a default."""
    return Field(default, description=ProductSettings.model_fields[key].description)


class ActivitySettings(ProductSettings):
    """[activity]: what users do on pages; the last eight keys are also options of produce."""

    enabled: bool = _like("enabled", False)
    topic: Topic = _like("topic", "user_activity")
    watermark_delay: Duration = _like("watermark_delay", timedelta(minutes=2))
    session_timeout: Duration = Field(
        timedelta(minutes=30),
        gt=timedelta(0),
        description="a silence longer than this ends a session; a change rebuilds silver",
    )
    exact_users: bool = Field(
        False,
        description="whether active_users counts users exactly too; a change rebuilds silver",
    )
    enriched_topic: Topic = Field(
        "enriched_activity", description="Kafka topic of the events with their sessions"
    )
    rate: Annotated[float, Field(ge=0.001)] = Field(5, description="generated events a second")
    seed: int = Field(7, description="the same seed makes the same events")
    users: Count = Field(2_000, description="how many users there are")
    pages: Count = Field(300, description="how many pages they see")
    late: Share = Field(0.01, description="share of events sent after the watermark passed them")
    out_of_order: Share = Field(
        0.05, description="share of events sent after later ones, but before the watermark"
    )
    duplicates: Share = Field(0.01, description="share of events sent twice")
    corrupt: Share = Field(0.005, description="share of records that break the contract")


def activity_of(settings: Settings) -> ActivitySettings:
    """The section [activity]."""
    return settings.section("activity", ActivitySettings, "is another package's")
