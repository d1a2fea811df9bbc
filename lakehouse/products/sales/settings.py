"""Sales: their section of config.ini."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lakehouse.settings.kinds import Count, Topic
from lakehouse.settings.sections import ProductSettings
from lakehouse.settings.settings import Settings

Share = Annotated[float, Field(ge=0, le=1)]


class SalesSettings(ProductSettings):
    """[sales]: a shop's sales; each of the last seven keys is also an option of produce."""

    topic: Topic = Field("sales", description=ProductSettings.model_fields["topic"].description)
    rate: Annotated[float, Field(ge=0.001)] = Field(
        0.5, description="generated orders a second: 0.5 is one every two seconds"
    )
    seed: int = Field(7, description="the same seed makes the same events")
    clients: Count = Field(2_000, description="how many clients buy")
    products: Count = Field(1_000, description="how many articles the catalogue has")
    late: Share = Field(0.01, description="share of events sent after the watermark passed them")
    duplicates: Share = Field(0.01, description="share of events sent twice")
    corrupt: Share = Field(0.005, description="share of records that break the contract")


def sales_of(settings: Settings) -> SalesSettings:
    """The section [sales]."""
    return settings.section("sales", SalesSettings, "is another package's")
