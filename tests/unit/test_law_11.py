"""No folder but products/ names a product: what the engine lists is made from the registry."""

import ast
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lakehouse.cli.app import app
from lakehouse.core.errors import UsageError
from lakehouse.operations.person import find
from lakehouse.products.registry import contracts, products

ROOT = Path(__file__).parents[2]
CODE = ROOT / "lakehouse"
NAMED = {*products(), *contracts()}
NAMES = "|".join(NAMED)
TABLE = re.compile(rf"\b(bronze|silver|quarantine|ledger|erased|lake|audit)\.({NAMES})\b")
MODULE = re.compile(rf"\b(products|producers)\.({NAMES})\b")


def engine():
    """Every file that all products share: none of the products' and producers' own folders."""
    for path in CODE.rglob("*.py"):
        if path.parent == CODE / "products" or (CODE / "products") not in path.parents:
            yield path
    yield from (ROOT / "producers").glob("*.py")
    yield from (ROOT / "producers" / "cdc").glob("*.py")


def texts(tree):
    """Every text that the code uses: no docstring, and no example in the help of an option."""
    examples = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    examples |= {
        id(k.value) for n in ast.walk(tree) if isinstance(n, ast.Call)
        for k in n.keywords if k.arg in {"help", "description"}
    }  # fmt: skip
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in examples
        ):
            yield node.value


def test_no_code_of_the_engine_names_a_product():
    named = [
        f"{path.relative_to(ROOT)}: {text[:80]!r}"
        for path in engine()
        for text in texts(ast.parse(path.read_text("utf-8")))
        if TABLE.search(text) or text in NAMED
    ]
    assert named == []


def test_the_engine_imports_no_product():
    named = [str(p) for p in engine() if MODULE.search(p.read_text("utf-8"))]
    assert named == []


def test_help_of_the_engine_names_no_product():
    """Its examples can be typed all the same: their names come from the registry."""
    verb = re.compile(rf"\b(lakehouse [a-z-]+|--product|as in) ({NAMES})\b")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in [*(CODE / "cli").glob("*.py"), CODE / "core" / "options.py"]
        for match in verb.finditer(path.read_text("utf-8"))
    ]
    assert found == []
    for words in (["erase"], ["audit"], ["rebuild"], ["quarantine", "show"], ["schema"]):
        said = CliRunner().invoke(app, [*words, "--help"]).stdout
        examples = said.partition("Example")[2].partition("Arguments:")[0]
        assert "sales" in examples
        assert "{" not in examples


def test_an_erasure_is_told_in_the_words_of_the_contract(settings):
    said = " ".join(CliRunner().invoke(app, ["erase", "--help"]).stdout.split())
    assert "whose: the client_id or user_id or customerID, exactly as it stands" in said
    with pytest.raises(UsageError, match="client_id ''"):
        find("", "sales", settings)
    with pytest.raises(UsageError, match="has no field that says whose event it is"):
        find("1", "orders", settings)


def test_no_docstring_names_a_table_or_a_flow_of_a_product():
    named = re.compile(
        rf"\b(bronze|silver|quarantine|ledger|erased|lake|audit)[./]({NAMES})(_|\b)"
        rf"|\b({NAMES})\.(bronze|silver|parquet)\b"
    )
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in engine()
        for match in named.finditer(path.read_text("utf-8"))
    ]
    assert found == []
