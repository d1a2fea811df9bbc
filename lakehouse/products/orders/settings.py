"""Orders: their section of config.ini."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import Field

from lakehouse.settings.kinds import Duration, SqlName, TableName, Topic
from lakehouse.settings.sections import CapturedSettings


def _like(key: str, default: Any) -> Any:
    """The key as every captured product has it, with a default."""
    return Field(default, description=CapturedSettings.model_fields[key].description)


class OrdersSettings(CapturedSettings):
    """[orders]: food orders, captured from their table."""

    topic: Topic = _like("topic", "orders")
    table: TableName = _like("table", "public.orders")
    slot: SqlName = _like("slot", "lakehouse_orders")
    publication: SqlName = _like("publication", "lakehouse_orders")
    deduplication_horizon: Duration = _like("deduplication_horizon", timedelta(days=7))
