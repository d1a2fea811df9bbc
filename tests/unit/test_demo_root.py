"""The demo's own root: recreated under its tables' locks, and never under another's feet."""

import re
from contextlib import ExitStack
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import pytest

from lakehouse.core.errors import TableLocked, UsageError
from lakehouse.core.lock import write_locks
from lakehouse.core.paths import Lake
from lakehouse.products.registry import products
from lakehouse.runtime.demo import MARK, Stage, fresh


@pytest.fixture
def root(tmp_path, settings):
    root = tmp_path / "demo"
    fresh(root, settings)
    (root / "bronze" / "sales").mkdir(parents=True)
    (root / "bronze" / "sales" / "rows").write_text("old")
    return root


@pytest.mark.parametrize("table", ["bronze.sales", "silver.orders_current", "lake.made_later"])
def test_a_root_that_another_process_writes_is_left_whole(root, settings, table):
    locks = Lake(str(root)).locks
    with (
        write_locks(locks, [table], "sales.bronze", timedelta(0)),
        pytest.raises(TableLocked, match=f"{table}.*is being written by sales.bronze"),
    ):
        fresh(root, settings)
    assert (root / "bronze" / "sales" / "rows").read_text() == "old"


def test_a_root_of_a_demo_is_emptied_and_stays_the_demos(root, settings):
    fresh(root, settings)
    fresh(root, settings)
    assert {path.name for path in root.iterdir()} == {MARK, "_locks"}


def test_two_demos_of_one_root_do_not_meet(root, settings):
    emptied = []

    def stage(later):
        mine = settings.with_root(root)
        return Stage(mine, print, None, None, emptied.append, None, 1, None, later)

    with ExitStack() as first, ExitStack() as second:
        assert stage(first).empty_lake() == root
        with pytest.raises(TableLocked, match="another demo is making it"):
            stage(second).empty_lake()
    assert emptied == [root]
    with ExitStack() as third:
        assert stage(third).empty_lake() == root


def test_a_relative_root_too(root, settings, monkeypatch):
    monkeypatch.chdir(root.parent)
    fresh(type(root)("demo"), settings)
    assert {path.name for path in root.iterdir()} == {MARK, "_locks"}


def test_a_root_that_no_demo_made_is_refused(tmp_path, settings):
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(UsageError, match="holds something that no demo made"):
        fresh(tmp_path, settings)
    assert (tmp_path / "mine").read_text() == "keep"


@pytest.mark.parametrize("name", [p.name for p in products().values() if p.demo])
def test_what_a_demo_says_to_type_is_found_by_the_shell(name):
    """``lakehouse`` is in the folder of the environment, which may not be on the path."""
    code = Path(import_module(products()[name].demo).__file__).read_text("utf-8")
    typed = code.partition("say_done(")[2].partition("    )\n")[0]
    assert "{lakehouse} " in typed
    assert not re.search(r"[\"']lakehouse ", typed)
