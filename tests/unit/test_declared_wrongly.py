"""Wrong SQL of another package's product: which verbs say so before they start anything."""

from tests.support.copies_of_one import ROOT, copies_of_one

BOOKS = """
from datetime import datetime
from typing import Annotated
import msgspec
from lakehouse.model.contract import Contract
from lakehouse.model.flow import MONEY, Aggregate, BronzeFlow, Measure, SilverFlow
from lakehouse.model.product import Product

class Event(msgspec.Struct, kw_only=True):
    event_id: str
    event_time: Annotated[datetime, msgspec.Meta(tz=True)]
    fine: int

BOOKS = Contract(name="books", version=1, event=Event)
MEAN = {"fine": Measure("avg(fine)", MONEY, "sum", "")}
BY_ID = Aggregate("by_id", {"event_id": ("event_id", "VARCHAR")}, MEAN, "")
PRODUCT = Product(
    name="books", contracts=(BOOKS,), flows=(BronzeFlow(BOOKS), SilverFlow(BOOKS, (BY_ID,))),
    source="books_declared", demo="books_declared",
)
"""


def test_verbs_refuse_sql_that_is_wrong_before_they_start_anything(tmp_path):
    info = tmp_path / "books-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: books\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lakehouse.products]\nbooks = books_declared:PRODUCT\n")
    (tmp_path / "books_declared.py").write_text(BOOKS)
    asked = [["products"], ["produce", "books", "--count", "1"], ["up", "books"], ["demo", "books"]]
    for done in copies_of_one(
        "import lakehouse.products.bound\nfrom lakehouse.cli.app import main", "main()",
        [*asked, ["schema", "books"]],
        PYTHONPATH=f"{tmp_path}:{ROOT}", LAKEHOUSE_LAKE_ROOT=str(tmp_path / "lake"),
        LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9",
    ):  # fmt: skip
        if done.args[0] == "schema":
            assert done.returncode == 0  # it only reads
        else:
            assert (done.returncode, "avg(fine) does not add up" in done.stderr) == (2, True), done
    assert not (tmp_path / "lake").exists()
