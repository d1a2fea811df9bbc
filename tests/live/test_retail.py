"""Real retail lines through the whole path, against pandas from the CSV itself."""

import gzip
from decimal import Decimal

import pandas as pd
import pytest

from tests.live.conftest import rows

pytestmark = pytest.mark.live
LINES = 10_000


@pytest.fixture(scope="module")
def retail(data, demonstrate, tmp_path_factory):
    """Each fourth line of its first 40,000, and its two negative prices; the lake of them."""
    folder = tmp_path_factory.mktemp("retail")
    with gzip.open(data / "online_retail.csv.gz", "rt", encoding="utf-8") as file:
        lines = file.readlines()
    negative = [line for line in lines if line.startswith("A") and ",-11062.06," in line]
    assert len(negative) == 2
    path = folder / "retail.csv"
    head, *sold = lines[: 4 * LINES + 1]
    path.write_text("".join([head, *sold[::4], *negative]), encoding="utf-8")
    demonstrate("--replay", path, "--root", folder / "lake", LAKEHOUSE_SALES_TOPIC="retail")
    return path, folder / "lake"


def test_every_line_lands_and_silver_equals_the_csv_to_the_penny(retail):
    path, lake = retail
    csv = pd.read_csv(path, dtype=str, keep_default_na=False)
    good = csv[~csv["UnitPrice"].str.startswith("-")].copy()
    count = rows(
        lake,
        """SELECT (SELECT count(*) FROM bronze.sales) AS b,
        (SELECT count(*) FROM quarantine.sales) AS q""",
    )
    assert count == [{"b": LINES, "q": 2}]
    good["n"] = good["Quantity"].astype(int)
    good["money"] = good["n"] * good["UnitPrice"].map(Decimal)
    good["client"] = good["CustomerID"].str.removesuffix(".0")
    for table, column, key in (
        ("country", "Country", "country"),
        ("client", "client", "client_id"),
    ):
        held = {
            r[key]: (r["lines"], r["units"], Decimal(r["net_revenue"]), r["orders"])
            for r in rows(lake, f"SELECT * FROM silver.sales_by_{table}")
        }
        wanted = {
            name: (
                len(part), int(part["n"].sum()), sum(part["money"], Decimal(0)),
                part[part["n"] > 0]["InvoiceNo"].nunique(),
            )
            for name, part in good.groupby(column)
        }  # fmt: skip
        assert held == wanted
