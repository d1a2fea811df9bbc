"""Parts of the terminal explorer that need no screen: cells, exports, completion, history."""

import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.core.errors import UsageError
from lakehouse.explorer.app.cells import bare, columns_of, exact, fitted, short
from lakehouse.explorer.app.history import History
from lakehouse.explorer.complete import Vocabulary, complete
from lakehouse.explorer.export import export, target


def test_numbers_are_whole_and_exact():
    wide = pa.table(
        {
            "n": pa.array([Decimal("-1234567890123456789012345678901234.5678"), Decimal("2.5000")],
                          pa.decimal128(38, 4)),
            "m": pa.array([Decimal("1.5000"), None], pa.decimal128(38, 4)),
            "t": ["x" * 500, "日本"],
        }
    )  # fmt: skip
    number, money, text = columns_of(wide)
    assert (
        short(wide["n"][0].as_py(), number) == "-1,234,567,890,123,456,789,012,345,678,901,234.5678"
    )
    assert number.width == 51
    assert short(Decimal("1.5000"), money) == "1.50"
    assert fitted("日本", text) == "日本" + " " * (text.width - 4)
    assert fitted("x" * 500, text).endswith("x…")
    assert exact(Decimal("0.1000")) == "0.10"
    assert exact(Decimal("1133.6567")) == "1,133.6567"
    assert (bare(1234567), bare(Decimal("1234.5000")), bare(True)) == (
        "1234567",
        "1234.5000",
        "yes",
    )
    assert exact(b"\x1b\xff") == r"\x1b\xff"
    named, counted = columns_of(pa.table({"order_id": [12345], "orders": [12345]}))
    assert (short(12345, named), short(12345, counted)) == ("12345", "12,345")


def test_exports_are_exact_and_no_formula(tmp_path):
    rows = pa.table({"f": ["=1+1", "\x1b[31m"], "m": pa.array([Decimal("0.10"), None],
                                                          pa.decimal128(38, 4))})  # fmt: skip
    for form in ("csv", "json", "parquet"):
        path = target(str(tmp_path / f"rows.{form}"))
        assert export(rows, path) == 2
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(UsageError, match="already"):
            target(str(path))
    assert (tmp_path / "rows.csv").read_text() == "f,m\n'=1+1,0.1000\n\\x1b[31m,\n"
    assert json.loads((tmp_path / "rows.json").read_text())["rows"][0] == {
        "f": "=1+1",
        "m": "0.1000",
    }
    assert pq.read_table(tmp_path / "rows.parquet").equals(rows)
    for wrong in ("rows.xlsx", "no/folder.csv"):
        with pytest.raises(UsageError):
            target(str(tmp_path / wrong))


WORDS = Vocabulary({"silver.a_b": ("country", "orders"), "bronze.a": ("offset",)}, {"clients": ()})


@pytest.mark.parametrize(
    ("statement", "first"),
    [
        ("SEL", "SELECT"),
        ("SELECT * FROM si", "silver.a_b"),
        ("FROM silver.", "silver.a_b"),
        ("FROM cl", "clients"),
        ("FROM silver.a_b WHERE cou", "country"),
        ("SELECT cou", "country"),
        ("SELECT offs FROM silver.a_b", None),
        ("FROM silver.a_b AS x WHERE x.ord", "x.orders"),
        ("FROM bronze.a WHERE ", "offset"),
        ("SELECT nothing_like_it", None),
    ],
)
def test_what_may_come_next(statement, first):
    assert next(iter(complete(statement, statement, WORDS)), None) == first


def test_a_history_that_cannot_be_had_is_no_reason_to_stop(tmp_path):
    (tmp_path / "broken").write_text("{\n")
    assert History(tmp_path / "broken").statements == []
    (tmp_path / "file").touch()
    kept = History(tmp_path / "file" / "history")
    kept.add("SELECT 1")
    assert kept.statements == ["SELECT 1"]
