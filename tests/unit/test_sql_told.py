"""What SQL says of the lake's names: all that there are, and the one that was meant."""

import pytest

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
    lake.silver.catch_up()
    lake.silver.persist()
    own = views(None, lake.settings)
    with Session(Catalogue(lake.settings.lake.root), lake.settings.explorer, own) as session:
        yield session


def column(answer):
    return answer.rows.columns[0].to_pylist()


def test_every_table_is_listed_as_sql_takes_it_and_views_where_they_work(session):
    names = column(session.ask("SHOW TABLES"))
    views = [name for name in names if "." not in name]
    assert [n for n in names if n not in views] == session.catalogue.names()
    assert views == ["clients", "trends"]
    for name in names:
        assert session.ask(f"DESCRIBE {name}").rows.num_rows
    asked = "SELECT name FROM (/* é */ show\n tables) WHERE name LIKE 'bronze%'; -- all"
    assert column(session.ask(asked)) == ["bronze.sales"]
    assert session.ask("SHOW TABLES FROM bronze").rows.to_pylist() == [{"name": "sales"}]
    assert session.ask("DESCRIBE").rows.num_rows == len(names)
    assert session.ask("SELECT 'show tables' AS a").rows.to_pylist() == [{"a": "show tables"}]
