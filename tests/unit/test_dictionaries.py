"""Which columns of a data file have a dictionary: those whose values come again."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.storage.data_files import write_file, write_files

ROWS = pa.table(
    {
        "id": [f"event-{n}" for n in range(5_000)],
        "country": ["France", "Spain"] * 2_500,
        "lacking": pa.nulls(5_000, pa.string()),
        "many": [[n, n] for n in range(5_000)],
    }
)


@pytest.mark.parametrize("by_group", [False, True])
def test_only_columns_whose_values_come_again_have_a_dictionary(tmp_path, by_group):
    if by_group:
        found = write_file(tmp_path, ROWS.to_batches(1_000), ROWS.schema, {}, "snappy")
    else:
        [found] = write_files(tmp_path, ROWS, [], "snappy")
    with pq.ParquetFile(tmp_path / found.name) as file:
        group = file.metadata.row_group(0)
        columns = [group.column(n) for n in range(group.num_columns)]
        having = [c.path_in_schema for c in columns if c.dictionary_page_offset is not None]
        assert having == ["country", "lacking"]
        assert file.read() == ROWS


def test_thousands_of_values_that_come_again_have_one(tmp_path):
    """So a reader that looks for one product compares its few thousand names, not each row."""
    products = [f"product-{n * 7919 % 50_021 % 3_000}" for n in range(50_000)]
    rows = pa.table({"product": products, "order": [f"order-{n}" for n in range(50_000)]})
    for size, expected in ((50_000, ["product"]), (5_000, [])):  # of few rows each once or twice
        [found] = write_files(tmp_path, rows.slice(0, size), [], "snappy")
        with pq.ParquetFile(tmp_path / found.name) as file:
            group = file.metadata.row_group(0)
            columns = [group.column(n) for n in range(group.num_columns)]
            having = [c.path_in_schema for c in columns if c.dictionary_page_offset is not None]
            assert having == expected
