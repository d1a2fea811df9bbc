"""``lakehouse.open``: a lake in one line, as Arrow, pandas, Polars and DuckDB."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

import lakehouse
from lakehouse.core.errors import TableMissing, UsageError
from lakehouse.explorer.allowed import SqlRejected


@pytest.fixture(scope="module")
def lake(recovered_root):
    return lakehouse.open(recovered_root)


def test_a_table_in_every_form_has_the_same_rows(lake):
    rows = lake["silver.sales_by_country"]
    arrow = rows.arrow()
    assert isinstance(arrow, pa.Table)
    assert arrow.num_rows == len(rows) > 0
    exact = arrow["net_revenue"].to_pylist()
    assert rows.pandas()["net_revenue"].tolist() == exact
    assert rows.polars()["net_revenue"].to_list() == exact
    assert [row[0] for row in rows.duckdb().project("net_revenue").fetchall()] == exact


def test_statements_views_and_what_there_is(lake):
    assert {"bronze.sales", "silver.sales_trends"} <= set(lake.tables)
    assert {"clients", "trends"} <= set(lake.views)
    counted = lake.sql("SELECT count(*) AS n FROM bronze.sales").arrow()["n"].to_pylist()
    assert counted == [len(lake["bronze.sales"])] == [lake.info("bronze.sales").rows]
    assert lake["clients"].head(1).arrow().num_rows == 1


def test_an_older_version_is_the_lake_of_then(lake):
    history = lake.history("bronze.sales")
    first = lake.at(version=1)["bronze.sales"]
    assert len(first) < len(lake["bronze.sales"])
    for commit in history[:-1]:  # a time of `history` is the time of that very version
        then = lake.at(time=datetime.fromisoformat(commit["time"]))
        assert len(then["bronze.sales"]) == len(lake.at(commit["version"])["bronze.sales"])
    with pytest.raises(UsageError, match="exclude each other"):
        lake.at(version=1, time=datetime.now(UTC))


def test_what_is_wrong_is_told(lake, tmp_path):
    with pytest.raises(TableMissing, match="tables are: bronze"):
        lake["bronze.shop"]
    with pytest.raises(SqlRejected):
        lake.sql("DROP TABLE bronze.sales").arrow()
    with pytest.raises(TableMissing, match="holds no table"):
        lakehouse.open(tmp_path)
