"""What Spark's writer commits has the fingerprints that its rows have when they are read."""

from __future__ import annotations

from lakehouse.audit.fingerprints import check_fingerprint
from lakehouse.audit.pins import Snapshots, engine
from lakehouse.ingest.writers import no_check
from lakehouse.ingest.writers.spark import SparkWriter
from tests.conftest import NOW, decoded, encode, sale
from tests.support.lake import Lake


def test_rows_that_spark_wrote_come_to_what_its_commits_say(spark, settings):
    lake = Lake(settings)
    values = [
        *encode(
            sale(event_id="a"),
            sale(event_id="b", client_id=None, product_name=None, extra="Grüße"),
            sale(event_id="c", event_time="2026-01-05T00:00:00.123456Z", unit_price=0.0001),
        ),
        b"{",
    ]
    rows = spark.createDataFrame(decoded(values))
    SparkWriter(lake.bronze).publish(rows, {0: len(values)}, NOW, no_check)
    with engine(settings) as connection:
        for name in ("bronze.sales", "quarantine.sales"):
            snapshots = Snapshots(settings.lake.root, connection)
            found = check_fingerprint(snapshots, name, int(snapshots.open(name).version()))
            assert (found.fault, found.doubt, found.since) == ("", "", 1)
            assert found.rows > 0
