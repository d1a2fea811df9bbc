"""Headers travel from the JVM to Python as text, and are the same there."""

import pyarrow as pa
from pyspark.sql.types import ArrayType, BinaryType, StringType, StructField, StructType

from lakehouse.ingest.headers import AS_TEXT, HEADERS, with_headers

CASES = [
    None,
    [],
    [("a", b"1")],
    [("a", None), ("a", b""), ("", b"\x00\xff" * 400), ('"ü\n\u2028😀', b"x")],
    [(f"k{n}", b"v" * n) for n in range(300)],
]
GIVEN = StructType(
    [
        StructField(
            "headers",
            ArrayType(
                StructType([StructField("key", StringType()), StructField("value", BinaryType())])
            ),
        )
    ]
)


def test_headers_come_back_as_they_were(spark):
    cells = [(None if c is None else [(k, v) for k, v in c],) for c in CASES]
    sent = (
        spark.createDataFrame(cells, GIVEN)
        .repartition(1)
        .selectExpr(f"{AS_TEXT} AS headers")
        .toArrow()
    )
    [*parts] = (with_headers(batch) for batch in sent.to_batches())
    found = pa.Table.from_batches(parts).column("headers")
    assert found.type == HEADERS
    wanted = [None if c is None else [{"key": k, "value": v} for k, v in c] for c in CASES]
    assert sorted(map(repr, found.to_pylist())) == sorted(map(repr, wanted))


def test_what_goes_to_python_is_flat(spark):
    """A nested column is measured whole at each row that an Arrow batch gains."""
    column = spark.createDataFrame([], GIVEN).selectExpr(f"{AS_TEXT} AS headers").schema["headers"]
    assert column.dataType == StringType()
