"""Tables whose names are no plain words: each face reads them, and no name is obeyed."""

import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from lakehouse.cli.app import app
from lakehouse.core.errors import TableDamaged, TableMissing
from lakehouse.core.sql import identifier
from lakehouse.explorer.app.tree import label
from lakehouse.explorer.catalogue import Catalogue, named_in
from lakehouse.explorer.complete import Vocabulary, complete
from lakehouse.explorer.report import views
from lakehouse.explorer.session import Session
from tests.support.dashboard import dashboard, told
from tests.support.lake import left_alone

NAMES = [
    "my table", 'o\'brien "x"', "größe 表", "a.b", "<script>", "x;y--z", "[red]b", "UPPER", "-x",
]  # fmt: skip


@pytest.fixture
def lake(recovered_root, settings):
    left_alone(recovered_root, settings)
    silver = Path(settings.lake.root, "silver")
    for name in NAMES:
        shutil.copytree(silver / "sales_by_country", silver / name)
    return settings


def test_every_face_reads_a_table_of_an_odd_name(lake):
    catalogue = Catalogue(lake.lake.root)
    with Session(catalogue, lake.explorer, views()) as session, dashboard(lake) as address:
        for name in NAMES:
            sql = f"FROM silver.{identifier(name)}"
            assert session.ask(sql).rows.num_rows
            assert named_in(sql) == [f"silver.{name}"]
            assert told(address, f"/api/table/{quote(f'silver.{name}')}")["rows"]
            assert label(f"silver.{name}", None).plain == f"silver.{name}"
        with pytest.raises(TableMissing, match=r"silver\.no such"):
            session.ask('FROM silver."no such"')


def test_tables_are_listed_beside_one_that_cannot_be_opened(lake):
    silver = Path(lake.lake.root, "silver")
    shutil.copytree(silver / "sales_by_country", silver / "no\nname")
    done = CliRunner().invoke(app, ["tables", "--root", lake.lake.root])
    assert isinstance(done.exception, TableDamaged)
    assert all(f"silver.{name}" in done.stdout for name in NAMES)


def test_completion_puts_an_odd_name_in_quotes():
    words = Vocabulary({'silver.my "x"': ("a b", "plain"), "silver.plain": ()})
    assert complete("FROM silver.my", "FROM silver.my", words) == ['silver."my ""x"""']
    assert complete("FROM silver.pl", "FROM silver.pl", words) == ["silver.plain"]
