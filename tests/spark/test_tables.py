"""What silver made, read and recomputed by Spark itself."""

import pytest
from chispa import assert_df_equality
from pyspark.sql import functions as F  # noqa: N812  # the field's name for it

from tests.conftest import encode, long, sale
from tests.support.lake import Lake

SOLD = (
    sale(event_id="a", order_id="o1", quantity=3, unit_price=0.3333),
    sale(event_id="b", quantity=-1, unit_price=0.3333, event_time="2026-11-20T11:30:00Z"),
    sale(event_id="c", order_id="o2", client_id="c2", country="France", unit_price=19.99),
    sale(event_id="a", order_id="o1", quantity=3, unit_price=0.3333),
    sale(event_id="d", order_id="o3", client_id=None, event_time="2026-10-01T00:00:00Z"),
    sale(event_id="e", order_id="o3", client_id="c1", currency="USD", quantity=7),
)


def table(spark, lake, name):
    return spark.read.format("delta").load(f"{lake.settings.lake.root}/{name}")


@pytest.mark.parametrize("step", [1, *long(6)])
def test_by_country_is_what_spark_computes_from_bronze(spark, settings, step):
    lake = Lake(settings)
    for first in range(0, len(SOLD), step):
        lake.land(encode(*SOLD[first : first + step]), first)
        lake.silver.catch_up()
    money = (F.col("unit_price") * F.col("quantity")).cast("decimal(38,4)")
    is_sale = F.col("quantity") > 0
    held = table(spark, lake, "silver/sales_by_country")
    wanted = (
        table(spark, lake, "bronze/sales")
        .where("is_duplicate = false")
        .groupBy("country", "currency")
        .agg(
            F.count("*").alias("lines"),
            F.sum("quantity").cast("decimal(38,0)").alias("units"),
            F.sum(money).cast("decimal(38,4)").alias("net_revenue"),
            F.sum(F.when(is_sale, money)).cast("decimal(38,4)").alias("gross_revenue"),
            F.max(F.when(is_sale, F.col("event_time"))).alias("last_sale"),
            F.countDistinct(F.when(is_sale, F.col("order_id"))).alias("orders"),
            F.countDistinct("client_id").alias("clients"),
        )
    )
    assert wanted.count() == 3
    assert_df_equality(
        held.select(wanted.columns), wanted, ignore_row_order=True, ignore_nullable=True
    )
