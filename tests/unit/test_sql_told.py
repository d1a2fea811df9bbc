"""What SQL says of the lake's names: all that there are, and the one that was meant."""

import pytest

from lakehouse.core.errors import LakehouseError
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.report import views
from lakehouse.explorer.session import Session
from tests.conftest import encode, sale, settings_at
from tests.support.lake import Lake


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A lake of sales and of nothing else."""
    lake = Lake(settings_at(tmp_path_factory.mktemp("told") / "lake"))
    lake.land([*encode(sale(), sale(event_id="b")), b"{"], 0)
    lake.fold()
    own = views(None, lake.settings)
    with Session(Catalogue(lake.settings.lake.root), lake.settings.explorer, own) as session:
        yield session


def column(answer):
    return answer.rows.columns[0].to_pylist()


def test_every_table_is_listed_as_sql_takes_it_and_views_where_they_work(session):
    names = column(session.ask("SHOW TABLES"))
    views = [name for name in names if "." not in name]
    assert [n for n in names if n not in views] == session.catalogue.names()
    assert views == sorted(session.usable()) == ["clients", "trends"]
    for name in names:
        assert session.ask(f"DESCRIBE {name}").rows.num_rows
    asked = "SELECT name FROM (/* é */ show\n tables) WHERE name LIKE 'bronze%'; -- all"
    assert column(session.ask(asked)) == ["bronze.sales"]
    assert session.ask("SHOW TABLES FROM bronze").rows.to_pylist() == [{"name": "sales"}]
    assert session.ask("DESCRIBE").rows.num_rows == len(names)
    assert session.ask("SELECT 'show tables' AS a").rows.to_pylist() == [{"a": "show tables"}]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("SELECT contry FROM silver.sales_by_country", "fix: Did you mean country"),
        ("SELECT *\nFROM silver.sales_by_country\nWHERE x +", "SQL line 3, column 9: Parser Error"),
        ("SELECT country,\n  nope FROM silver.sales_by_country", "SQL line 2, column 3: Binder"),
        ("SELECT abss(1)", "fix: Did you mean abs?"),
        ("SHOW silver", "fix: mend the statement; SHOW TABLES lists names"),
        ("SHOW sales_by_contry", "fix: Did you mean silver.sales_by_country?"),
        ("FROM silver.shop_by_country", "fix: Did you mean 'silver.sales_by_country'?"),
        ("FROM sales_by_country", "fix: Did you mean 'silver.sales_by_country'?"),
        ("FROM ledger.sale", "fix: Did you mean 'ledger.sales'?"),
        ("FROM client", "fix: Did you mean 'clients'?"),
        ("FROM bronze.churn_predictions", "fix: run `lakehouse demo churn` or `lakehouse up "),
        ("FROM silver.activity_user_sessions", "fix: run `lakehouse demo activity` or "),
        ("FROM bronze.other", "fix: tables are: bronze.sales, ledger.sales, quarantine.sales, "
         "silver.sales_by_client and 7 more, as `lakehouse tables` lists; or run "),
    ],
)  # fmt: skip
def test_the_name_that_was_meant_is_told(session, statement, told):
    with pytest.raises(LakehouseError) as caught:
        session.ask(statement)
    assert told in str(caught.value)


def test_of_a_version_that_is_to_come_the_newest_is_told(session):
    newest = session.catalogue.info("bronze.sales").version
    with pytest.raises(LakehouseError, match=f"has no such version: the newest is {newest}\n"):
        session.catalogue.back_to(99).open("bronze.sales")
