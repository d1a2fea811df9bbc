"""Readings of weather stations: a product of its own, in one file outside the lakehouse."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lakehouse.model.contract import Contract
from lakehouse.model.flow import (
    MONEY,
    Aggregate,
    BronzeFlow,
    Distinct,
    Finer,
    Measure,
    Ratio,
    SilverFlow,
)
from lakehouse.model.product import Product
from lakehouse.model.window import Window


class Reading(msgspec.Struct, kw_only=True, gc=False):
    """What one station measured at one moment."""

    event_id: Annotated[str, Meta(min_length=1)]
    event_time: Annotated[datetime, Meta(tz=True)]
    station: Annotated[str, Meta(min_length=1)]
    region: Annotated[str, Meta(min_length=1)]
    sky: Literal["clear", "cloudy", "rain", "snow"]
    tenths: Annotated[int, Meta(ge=-1000, le=700)]
    rain: Decimal
    observer: str | None = None


WEATHER = Contract(
    name="weather",
    version=1,
    event=Reading,
    descriptions={
        "station": "who measured",
        "region": "where the station stands",
        "sky": "clear, cloudy, rain or snow",
        "tenths": "temperature in tenths of a degree Celsius",
        "rain": "millimetres since the reading before: not negative, at most 4 decimals",
        "observer": "who read it off; null for a machine",
    },
)
STATIONS = Finer(
    name="stations", entity="station", where="true", doc="one row per station, region and day",
    keys={"station": "station", "region": "region", "event_time": "date_trunc('day', event_time)"},
)  # fmt: skip
RAIN = Measure("sum(rain)", MONEY, "sum", "millimetres, of all stations")
BY_REGION = Aggregate(
    name="by_region",
    keys={"region": ("region", "VARCHAR"), "day": ("CAST(event_time AS DATE)", "DATE")},
    measures={
        "readings": Measure("count(*)", "BIGINT", "sum", "readings, copies not counted"),
        "rain": RAIN,
        "coldest": Measure("min(tenths)", "BIGINT", "min", "least tenths of a degree"),
        "warmest": Measure("max(tenths)", "BIGINT", "max", "most tenths of a degree"),
    },
    distinct={"stations": Distinct(STATIONS, "stations that measured at all")},
    ratios={"rain_a_reading": Ratio("rain", "readings", "rain ÷ readings")},
    doc="one row per region and UTC day",
)
BY_TEN_MINUTES = Window(timedelta(minutes=10)).over(Aggregate(
    name="by_ten_minutes", keys={"region": ("region", "VARCHAR")}, measures={"rain": RAIN},
    doc="one row per region and ten minutes",
))  # fmt: skip
PRODUCT = Product(
    name="weather",
    contracts=(WEATHER,),
    flows=(BronzeFlow(WEATHER), SilverFlow(WEATHER, (BY_REGION, BY_TEN_MINUTES))),
    source="weather_stations",
)
