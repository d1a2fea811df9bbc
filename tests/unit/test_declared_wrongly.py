"""Broken products of other packages: each is left out, and said, and the others go on."""

import json

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
live = demo = None
"""
PARTS = 'source="books_declared", demo="books_declared"'
SOUND = BOOKS.replace("avg(fine)", "sum(fine)")
BROKEN = {
    "cards": ("1 / 0", "cards_declared:PRODUCT: cannot be loaded: ZeroDivisionError"),
    "coins": (SOUND.replace('name="books", v', 'name="co-ins", v'), "is 'co-ins'"),
    "dolls": (
        SOUND.replace(PARTS, "verbs='books_declared'") + "def commands(*_): 1 / 0\n",
        "product 'dolls': fails: ZeroDivisionError",
    ),
    "games": (SOUND.replace(PARTS, "verbs='books_declared'"), "has no commands"),
    "kites": (SOUND.replace(PARTS, "settings='books_declared:live'"), "is no section"),
    "shoes": (SOUND.replace(PARTS, "report='cards_declared'"), "shoes', report: cannot be loaded"),
    "tools": (BOOKS, "avg(fine) does not add up"),
}
"""Package → code, and what is wrong with it; each takes the names of its own."""
LOAD = "import lakehouse.products.bound, lakehouse.cli.flows\nfrom lakehouse.cli.app import main"


def installed(folder, name, code):
    """A package of one product, in a folder of Python's path; the environment of its verbs."""
    code = code.replace("books", name).replace("BOOKS", name.upper())
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    entry = f"[lakehouse.products]\n{name} = {name}_declared:PRODUCT\n"
    (info / "entry_points.txt").write_text(entry)
    (folder / f"{name}_declared.py").write_text(code)
    return {
        "PYTHONPATH": f"{folder}:{ROOT}", "LAKEHOUSE_LAKE_ROOT": str(folder / "lake"),
        "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
    }  # fmt: skip


def test_verbs_refuse_sql_that_is_wrong_before_they_start_anything(tmp_path):
    environment = installed(tmp_path, "books", BOOKS)
    asked = [["products"], ["produce", "books", "--count", "1"], ["up", "books"], ["demo", "books"]]
    for done in copies_of_one(LOAD, "main()", [*asked, ["schema", "books"]], **environment):
        if done.args[0] == "schema":
            assert done.returncode == 0  # it only reads
        else:
            assert (done.returncode, "avg(fine) does not add up" in done.stderr) == (2, True), done
    assert not (tmp_path / "lake").exists()


def test_those_that_are_broken_are_named_and_the_others_go_on(tmp_path):
    for name, (code, _) in BROKEN.items():
        environment = installed(tmp_path, name, code)
    ini = tmp_path / "config.ini"
    ini.write_text("[cards]\ntopic = cards-2\n\n[cards_sold]\ntopic = sold\n")
    environment |= {"LAKEHOUSE_CONFIG": str(ini), "LAKEHOUSE_CARDS_TOPIC": "cards-3"}
    named = [name for name in BROKEN if name != "dolls"]  # which runs, without its verbs
    others = [
        ["schema", "sales"],
        ["--help"],
        ["products", "--json"],
        ["cards"],
        ["erase", "C-1", "--root", tmp_path],
    ]  # which must not leave anybody out
    done = copies_of_one(
        LOAD, "main()", [*others, *(["up", name] for name in named)], **environment
    )
    assert [one.returncode for one in done] == [0, 0, 2, 2, 2, *[2] * len(named)], done
    _, helped, listed, verb, erased, *refused = done
    assert "orders" in helped.stdout
    assert BROKEN["dolls"][1] in " ".join(helped.stderr.split())
    assert BROKEN["cards"][1] in verb.stderr
    assert BROKEN["cards"][1] in erased.stderr
    rows = {row["product"]: row for row in json.loads(listed.stdout)}
    assert rows["sales"]["state"] == "not begun"
    said = " ".join(listed.stderr.split())
    for name, one in zip(named, refused, strict=True):
        assert (rows[name]["state"][:8], said.count(BROKEN[name][1])) == ("broken: ", 1)
        assert " ".join(one.stderr.split()).count(BROKEN[name][1]) == 1
    assert not (tmp_path / "lake").exists()
