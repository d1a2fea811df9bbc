"""Stock Spark: its defaults, from_json, the Delta sink; bad records are not looked for."""

from __future__ import annotations

import json
import os
import sys
import time

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812  # the field's name for it

from lakehouse.cli.start import engine
from lakehouse.products.registry import load_settings

SCHEMA = (
    "event_id string, event_time timestamp, order_id string, client_id string, country string, "
    "segment string, product_id string, product_name string, quantity bigint, "
    "unit_price decimal(18,4), currency string, channel string"
)


def main() -> None:
    """Print {rows, seconds}: from Spark's being ready to the last commit."""
    settings = load_settings(None)
    found = engine(lambda _: None)
    os.environ |= {"JAVA_HOME": str(found.java_home), "PYSPARK_PYTHON": sys.executable}
    spark = (
        SparkSession.builder.appName("stock")
        .master("local[*]")
        .config("spark.jars", ",".join(str(jar) for jar in found.jars))
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config(
            "spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog"
        )
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.showConsoleProgress", "false")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    started = time.perf_counter()
    root = settings.lake.root
    records = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", settings.kafka.bootstrap_servers)
        .option("subscribe", settings.product("sales").topic)
        .option("startingOffsets", "earliest")
        .load()
    )
    event = F.from_json(F.col("value").cast("string"), SCHEMA)
    query = (
        records.select(event.alias("e"), "topic", "partition", "offset", "timestamp")
        .select("e.*", "topic", "partition", "offset", "timestamp")
        .withColumn("event_date", F.to_date("event_time"))
        .writeStream.format("delta")
        .partitionBy("event_date")
        .option("checkpointLocation", f"{root}/_checkpoint")
        .trigger(availableNow=True)
        .start(f"{root}/bronze")
    )
    query.awaitTermination()
    seconds = time.perf_counter() - started
    rows = spark.read.format("delta").load(f"{root}/bronze").count()
    print(json.dumps({"rows": rows, "seconds": seconds}))
    sys.stdout.flush()
    spark.stop()


if __name__ == "__main__":
    main()
