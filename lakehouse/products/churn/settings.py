"""Churn: its two sections of config.ini."""

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


class ChurnSettings(ProductSettings):
    """[churn]: what is known of customers; rate, seed and corrupt are also options of produce."""

    enabled: bool = _like("enabled", False)
    topic: Topic = _like("topic", "telco.raw.customers")
    partitions: Count = _like("partitions", 3)
    deadletter_topic: Topic = Field(
        "telco.churn.deadletter", description="Kafka topic of the records that cannot be scored"
    )
    sla_ms: Annotated[float, Field(gt=0)] = Field(
        15, description="milliseconds that a prediction may take; slower ones are counted"
    )
    rate: Annotated[float, Field(ge=0.001)] = Field(5, description="generated customers a second")
    seed: int = Field(7, description="the same seed makes the same customers")
    corrupt: Share = Field(0.005, description="share of records that break the contract")


class ChurnPredictionsSettings(ProductSettings):
    """[churn_predictions]: what a model said of them."""

    enabled: bool = _like("enabled", False)
    topic: Topic = _like("topic", "telco.churn.predictions")
    partitions: Count = _like("partitions", 3)
    deduplication_horizon: Duration = _like("deduplication_horizon", timedelta(days=7))


def churn_of(settings: Settings) -> ChurnSettings:
    """The section [churn]."""
    return settings.section("churn", ChurnSettings, "is another package's")


def predictions_of(settings: Settings) -> ChurnPredictionsSettings:
    """The section [churn_predictions]."""
    return settings.section("churn_predictions", ChurnPredictionsSettings, "is another package's")
