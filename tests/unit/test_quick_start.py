"""A command loads what it needs and no more: imports are counted, in processes of their own."""

import json
import shutil
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from lakehouse.cli.app import app
from lakehouse.core.errors import UsageError
from lakehouse.core.options import MOST
from lakehouse.products.registry import load_settings, products
from tests.conftest import encode, sale
from tests.support.copies_of_one import copies_of_one
from tests.support.lake import Lake

COUNT = """
import os, sys
from lakehouse.cli import app
def leave(code):
    sys.stdout.flush()
    names = {name.partition(".")[0] for name in sys.modules}
    ours = {name for name in sys.modules if name.startswith("lakehouse.")}
    print(code, *names, *{"pyarrow.compute"} & {*sys.modules}, *ours, file=sys.stderr)
    os._exit(0)
sys.argv[0] = "lakehouse"
app.leave = leave
app.main()
"""
FOR_WRITING = {
    "pyspark", "py4j", "pandas", "faker", "kafka", "psycopg", "structlog", "asyncio",
    "pydantic_settings", "confluent_kafka", "pyarrow.compute",
}  # fmt: skip
"""What neither help nor reading needs."""
FOR_READING = {"duckdb", "deltalake", "pyarrow", "numpy", "psutil", "pydantic"}


FIRST_SCREEN = """
import gc
gc.callbacks.append(lambda phase, told: sweeps.append(phase))
sweeps = []
from lakehouse.cli import explore
def drawn(settings, session):
    from lakehouse.explorer.app.app import Explorer
    Explorer(session, settings)
    print(len(sweeps) // 2)
explore._open = drawn
app.main()
"""


def verbs(command, *before):
    """Every verb of the command, and of its groups."""
    for name, verb in command.commands.items():
        yield [*before, name]
        if hasattr(verb, "commands"):
            yield from verbs(verb, *before, name)


def loaded(*words):
    """The exit code of a command's process, its top-level modules and ours, and its stdout."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT, *words], capture_output=True, text=True, check=True
    )
    code, *names = done.stderr.split()
    return int(code), set(names), done.stdout


EVERY = [[], *verbs(typer.main.get_command(app))]


@pytest.fixture(scope="module")
def helps():
    """Verb → what its help says, and the modules that it loads, beside those of the command."""
    load, call, _ = COUNT.partition("app.main()")
    told = copies_of_one(load, call, [[*verb, "--help"] for verb in EVERY])
    return {" ".join(verb): one for verb, one in zip(EVERY, told, strict=True)}


@pytest.mark.parametrize("verb", EVERY, ids=" ".join)
def test_help_loads_nothing_that_reads_or_writes(helps, verb):
    done = helps[" ".join(verb)]
    code, *names = done.stderr.split()
    assert (code, "Usage: " in done.stdout) == ("0", True)
    reads = {"pydantic"} if verb == ["produce"] else set()  # which product's options, it must read
    assert {*names} & (FOR_WRITING | FOR_READING) == reads


@pytest.mark.parametrize("verb", EVERY, ids=" ".join)
def test_the_examples_of_help_can_be_typed(helps, verb):
    said = helps[" ".join(verb)].stdout
    examples = said.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
    assert [one for one in examples if not one.startswith("    lakehouse ")] == []
    assert "Examples: " not in said  # each is in a line of its own
    assert "{" not in said.partition("Example")[2].partition("Arguments:")[0]
    assert str(MOST) not in said  # a bound of engines tells nobody anything


def test_help_of_produce_names_the_products_that_there_are():
    _, _, said = loaded("produce", "--help")
    assert "lakehouse produce activity --help" in said
    done = CliRunner().invoke(app, ["produce", "nothing", "--help"])
    assert isinstance(done.exception, UsageError)
    assert str(done.exception).startswith("product 'nothing': is not known\n  fix: use sales or")


@pytest.mark.parametrize("name", [p.name for p in products().values() if p.source])
def test_produce_can_be_told_the_lake_of_a_demo(name):
    said = CliRunner().invoke(app, ["produce", name, "--help"]).stdout
    assert "--root <path>" in said


def test_produce_starts_nothing_where_an_option_is_wrong(tmp_path):
    environment = {"LAKEHOUSE_LAKE_ROOT": str(tmp_path / "lake")}
    for words in (["--rate", "-1"], ["churn", "--nothing"]):
        done = CliRunner(env=environment).invoke(app, ["produce", *words])
        assert (done.exit_code, (tmp_path / "lake").exists()) == (2, False), done.output


def test_help_of_a_verb_of_ours_loads_its_file_alone_and_no_product():
    _, names, _ = loaded("explore", "--help")
    assert {name for name in names if name.startswith("lakehouse.cli.")} == {
        "lakehouse.cli.app", "lakehouse.cli.examples", "lakehouse.cli.explore",
        "lakehouse.cli.watched",
    }  # fmt: skip
    assert names & {"lakehouse.products", "lakehouse.model", "msgspec"} == set()


def test_the_explorer_shows_its_first_screen_before_it_loads_an_engine():
    code = COUNT.replace("app.main()", FIRST_SCREEN)
    done = subprocess.run(
        [sys.executable, "-c", code, "explore"], capture_output=True, text=True, check=True
    )
    assert {*done.stderr.split()} & {*FOR_WRITING, "duckdb", "pyarrow", "numpy"} == {"asyncio"}
    assert int(done.stdout) < 60  # garbage collections: each costs up to a millisecond


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    settings = load_settings().with_root(tmp_path_factory.mktemp("lake") / "lake")
    Lake(settings).land([*encode(sale()), b"{"], 0)
    shutil.rmtree(f"{settings.lake.root}/silver")  # DuckDB loads pandas where a table has no rows
    return settings.lake.root


def test_tables_loads_no_engine(root):
    code, names, said = loaded("tables", "--json", "--root", root)
    assert (code, {t["name"] for t in json.loads(said)["tables"]} >= {"bronze.sales"}) == (0, True)
    assert names & {*FOR_WRITING, "duckdb", "psutil", "pyarrow", "numpy"} == set()


@pytest.mark.parametrize("table", ["bronze.sales", "quarantine.sales"])
def test_a_statement_loads_duckdb_and_nothing_that_writes(root, table):
    code, names, said = loaded(
        "explore", "--root", root, "--format", "csv", "--sql", f"SELECT count(*) n FROM {table}"
    )
    assert (code, said) == (0, "n\n1\n")
    assert names & {*FOR_WRITING, "psutil"} == set()


def test_arrow_loads_pandas_only_where_somebody_asks_for_it():
    """In a process of its own: what Arrow once has, it keeps."""
    asked = """
import sys
from lakehouse.core.arrow_alone import without_pandas
without_pandas()
import pyarrow as pa
made = pa.table({"n": pa.array([1, 2])})
assert "pandas" not in sys.modules
assert made.to_pandas()["n"].tolist() == [1, 2]
import pandas
assert pa.array(pandas.Series([1.0, None])).null_count == 1
"""
    subprocess.run([sys.executable, "-c", asked], check=True)


def test_help_groups_the_verbs_and_has_each_example_in_a_line():
    _, _, said = loaded("--help")
    assert said.index("\nRun:") < said.index("\nLook:") < said.index("\nProducts:")
    assert "..." not in said.partition("Run:")[2]
    _, _, said = loaded("run", "--help")
    assert "\n    lakehouse run sales.bronze sales.silver\n" in said
