"""A table whose files were rewritten by marks, deletes or a wider type still works in Spark."""

import pyarrow as pa
import pytest

from lakehouse.storage.columns import widen_numbers
from lakehouse.storage.table import Table
from tests.conftest import settings_at
from tests.support.words import SCHEMA, rows


def by_spark(spark, table):
    found = spark.read.format("delta").load(table.uri).orderBy("n").toArrow()
    return found.select(SCHEMA.names).to_pylist()


@pytest.fixture
def filled(spark, tmp_path):
    """A table that our appends and Spark's share, its fingerprints kept."""
    settings = settings_at(tmp_path / "lake")
    table = Table.open(
        str(tmp_path / "lake" / "bronze" / "t"), SCHEMA, settings, partition_by=["day"]
    )
    table.append(rows(*range(20)), {})
    found = spark.createDataFrame(rows(*range(20, 30)))
    found.write.format("delta").mode("append").save(table.uri)
    table.sync_commits_since(table.version)
    return table


def test_spark_reads_what_was_written_again_and_names_the_commits(spark, filled):
    marks = pa.table({"n": [3, 4, 25], "word": ["marked"] * 3})
    filled.mark(marks, ["n"], "true", {"flow": "x"})
    filled.delete("n IN (5, 26) OR word = 'w7'", {})
    wide = [f.with_type(pa.decimal128(38, 4)) if f.name == "price" else f for f in SCHEMA]
    widened = Table.open(filled.uri, pa.schema(wide), filled.settings)
    widen_numbers(widened)
    widened.dt.create_checkpoint()
    expected = [
        {**row, "word": "marked" if row["n"] in {3, 4, 25} else row["word"]}
        for row in rows(*range(30)).to_pylist()
        if row["n"] not in {5, 7, 26}
    ]
    assert by_spark(spark, filled) == expected == widened.rows().sort_by("n").to_pylist()
    history = spark.sql(f"DESCRIBE HISTORY delta.`{filled.uri}`").collect()
    told = {row["operation"]: row["operationMetrics"] for row in history}
    assert [row["operation"] for row in history][:3] == ["WRITE", "DELETE", "MERGE"]
    assert told["DELETE"]["num_deleted_rows"] == "3"
    kinds = dict(spark.read.format("delta").load(filled.uri).dtypes)
    assert kinds["price"] == "decimal(38,4)"
    spark.sql(f"DELETE FROM delta.`{filled.uri}` WHERE n = 0")
    assert by_spark(spark, filled) == expected[1:]
