"""A wrong declaration is told when it is loaded: place, fault and remedy, before anything runs."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from lakehouse.core.errors import DeclarationError, Exit, SettingsError
from lakehouse.model.contract import Contract
from lakehouse.model.flow import (
    Aggregate,
    BronzeFlow,
    Distinct,
    Exact,
    Favourite,
    Finer,
    Measure,
    ParquetFlow,
    Ratio,
    SilverFlow,
)
from lakehouse.model.product import Product
from lakehouse.model.sink import KafkaSink
from lakehouse.model.window import Session, Window
from lakehouse.products.bound import check_sql
from lakehouse.products.loading import Found, collect, theirs
from lakehouse.products.registry import flows, load_settings, products


class Event(msgspec.Struct, kw_only=True):
    event_id: str
    event_time: Annotated[datetime, Meta(tz=True)]
    place: str
    user: str | None = None
    paid: Decimal


SHOP = Contract(name="shop", version=1, event=Event)
COUNT = Measure("count(*)", "BIGINT", "sum", "events")
TABLE = Aggregate(
    name="by_place", keys={"place": ("place", "VARCHAR")}, measures={"events": COUNT}, doc="a place"
)


def product(*tables, contract=SHOP, **more):
    made = (BronzeFlow(contract), SilverFlow(contract, tables or (TABLE,)))
    given = {"name": contract.name, "contracts": (contract,), "flows": made, **more}
    return Product(**given)


def sound(found):
    """Products of (place, product), each of which must hold together."""
    known, wrong = collect(Found(place, place, lambda made=made: made) for place, made in found)
    for one in wrong.values():
        raise one.error
    return known


def told(*found):
    """The error of products that are loaded and of which one is wrong."""

    def load():
        for made in sound((f"package {n}", p) for n, p in enumerate(found)).values():
            check_sql(made)

    with pytest.raises(DeclarationError) as caught:
        load()
    assert caught.value.exit_code == Exit.USAGE
    assert caught.value.remedy
    return f"{caught.value.place} | {caught.value.fault} | {caught.value.remedy}"


def fields(**types):
    return msgspec.defstruct("Odd", [*types.items()], kw_only=True)


def test_ours_and_a_right_one_pass():
    for made in sound([("here", product()), *products().items()]).values():
        check_sql(made)
    assert {f.name for f in flows()} >= {"sales.bronze", "orders.parquet"}


TABLES = {
    "key of no column": (
        replace(TABLE, keys={"place": ("plaec", "VARCHAR")}),
        ["silver.shop_by_place, key 'place'", '"plaec" not found', "place, user, paid"],
    ),
    "measure of no column": (
        replace(TABLE, measures={"paid": Measure("sum(payd)", "DECIMAL(38,4)", "sum", "")}),
        ["measure 'paid'", '"payd" not found'],
    ),
    "a mean": (
        replace(TABLE, measures={"mean": Measure("avg(paid)", "DECIMAL(38,4)", "sum", "")}),
        ["measure 'mean'", "avg(paid) does not add up", "a quotient is a Ratio"],
    ),
    "a count of different values": (
        replace(TABLE, measures={"users": Measure("count(DISTINCT user)", "BIGINT", "sum", "")}),
        ["measure 'users'", "does not add up", "a Distinct"],
    ),
    "a quotient of sums": (
        replace(TABLE, measures={"m": Measure("sum(paid) / count(*)", "DECIMAL(38,4)", "sum", "")}),
        ["measure 'm'", "does not add up"],
    ),
    "the greatest, joined as a sum": (
        replace(TABLE, measures={"most": Measure("max(paid)", "DECIMAL(18,4)", "sum", "")}),
        ["max(paid) does not add up", "joined by sum"],
    ),
    "no SQL": (
        replace(TABLE, measures={"m": Measure("count(", "BIGINT", "sum", "")}),
        ["measure 'm'", "syntax error"],
    ),
    "a type of no column": (
        replace(TABLE, keys={"place": ("place", "TEXT")}),
        ["column 'place'", "type TEXT", "VARCHAR"],
    ),
    "a key that may be null": (
        replace(TABLE, keys={"user": ("user", "VARCHAR")}),
        ["key 'user'", "may be null", "coalesce(user, '')"],
    ),
    "a ratio of nothing": (
        replace(TABLE, ratios={"mean": Ratio("paid", "events", "")}),
        ["ratio 'mean'", "no measure or distinct count 'paid'", "events"],
    ),
    "changes of no latest by key": (
        replace(TABLE, of_changes=True),
        ["is of changes, without a latest by key"],
    ),
    "a partition of no key": (replace(TABLE, partition="day"), ["partition", "no key 'day'"]),
    "a count of no column": (
        replace(
            TABLE,
            distinct={"users": Distinct(Finer("u", {"user": "usr"}, "user", "true", ""), "")},
        ),
        ["distinct count 'users'", '"usr" not found'],
    ),
    "a finer table without the key": (
        replace(
            TABLE,
            distinct={"users": Distinct(Finer("u", {"user": "user"}, "user", "true", ""), "")},
        ),
        ["distinct count 'users'", '"place"'],
    ),
    "a favourite by time": (
        replace(
            TABLE,
            keys={"day": ("CAST(event_time AS DATE)", "DATE")},
            favourite={"top": Favourite("t", "place", "1", "true", "")},
        ),
        ["favourite 'top'", "VARCHAR"],
    ),
    "a table's name with a space": (replace(TABLE, name="by place"), ["'by place' is no name"]),
    "a table's name with a quote": (replace(TABLE, name="by'place"), ["is no name of a table"]),
    "a column's name with a space": (
        replace(TABLE, measures={"all of them": COUNT}),
        ["silver.shop_by_place, column 'all of them'", "is no name of a column"],
    ),
    "a column that is a word of SQL": (
        replace(TABLE, measures={"select": COUNT}),
        ["column 'select'", "is a word of SQL"],
    ),
    "a column twice": (
        replace(TABLE, measures={"Place": COUNT}),
        ["column 'Place'", "is declared twice"],
    ),
    "no key": (replace(TABLE, keys={}), ["silver.shop_by_place", "has no key"]),
    "no measure": (replace(TABLE, measures={}), ["has no measure"]),
    "joined by nothing known": (
        replace(TABLE, measures={"m": Measure("sum(1)", "BIGINT", "avg", "")}),
        ["measure 'm'", "not joined by 'avg'", "use sum, min, max"],
    ),
    "two values": (
        replace(TABLE, measures={"m": Measure("sum(1), sum(2)", "BIGINT", "sum", "")}),
        ["measure 'm'", "is 2 values"],
    ),
    "a sum of floats": (
        replace(
            TABLE,
            measures={"m": Measure("sum(CAST(paid AS DOUBLE))", "DECIMAL(38,4)", "sum", "")},
        ),
        ["measure 'm'", "is a float"],
    ),
    "a sum of money as a whole number": (
        replace(TABLE, measures={"m": Measure("sum(paid)", "BIGINT", "sum", "")}),
        ["BIGINT does not hold every sum of DECIMAL(38,4)", "use DECIMAL(38,4)"],
    ),
    "another answer each time": (
        replace(TABLE, where="event_time < now()"),
        ["now does not give the same answer again", "use what the event says"],
    ),
    "explode without slice": (replace(TABLE, explode="CROSS JOIN (VALUES (1)) g(x)"), ["slice"]),
    "a favourite by money": (
        replace(TABLE, favourite={"top": Favourite("t", "user", "paid", "true", "")}),
        ["favourite 'top'", "counts paid, a DECIMAL(18,4)"],
    ),
    "two finer tables of one name": (
        replace(
            TABLE,
            distinct={
                n: Distinct(Finer("u", {"place": "place", "user": "user"}, "user", w, ""), "")
                for n, w in (("a", "true"), ("b", "paid > 0"))
            },
        ),
        ["silver.shop_u", "two finer tables have this name"],
    ),
    "an exact count without windows": (
        replace(TABLE, exact={"users": Exact("user", "")}),
        ["counts exactly", "no windows", "use Distinct"],
    ),
    "an exact count of no column": (
        Window(timedelta(minutes=1)).over(replace(TABLE, exact={"users": Exact("usr", "")})),
        ["exact count 'users'", '"usr" not found'],
    ),
    "a where of no column": (replace(TABLE, where="ok"), ["where", '"ok" not found']),
    "a having of no column": (replace(TABLE, having="ok > 0"), ["having", '"ok" not found']),
}


@pytest.mark.parametrize(("table", "words"), TABLES.values(), ids=list(TABLES))
def test_a_wrong_table(table, words):
    text = told(product(table))
    assert [w for w in words if w not in text] == [], text


MONEY_TIME = {"event_id": str, "event_time": datetime}
WRONG = {
    "bad name": (replace(SHOP, name="My-Shop"), "'My-Shop' is no name of a product"),
    "a section's name": (replace(SHOP, name="kafka"), "taken by a section of config.ini"),
    "our name": (replace(SHOP, name="sales"), "the name 'sales' is taken by product 'sales'"),
    "a float": (
        replace(SHOP, event=fields(**MONEY_TIME, degrees=float)),
        "field 'degrees' is <class 'float'>, which bronze has no column for",
    ),
    "bronze's column": (
        replace(SHOP, event=fields(**MONEY_TIME, offset=int)),
        "field 'offset' has the name of a column that bronze adds",
    ),
    "a list": (
        replace(SHOP, event=fields(**MONEY_TIME, tags=list[str])),
        "field 'tags' is list[str], which bronze has no column for",
    ),
    "one of two types": (
        replace(SHOP, event=fields(**MONEY_TIME, size=int | str)),
        "field 'size' is int | str",
    ),
    "an event_id that may be null": (
        replace(SHOP, event=fields(event_id=str | None, event_time=datetime)),
        "has no 'event_id'",
    ),
    "a time without its offset": (
        replace(SHOP, event=fields(**MONEY_TIME)),
        "'event_time' is a time that need not say",
    ),
    "two fields but for capitals": (
        replace(SHOP, event=fields(**MONEY_TIME, place=str, Place=str)),
        "column 'Place'",
    ),
    "renamed fields": (
        replace(SHOP, event=msgspec.defstruct("Odd", [("a_b", str)], rename="camel")),
        "its event renames fields",
    ),
    "no event class": (replace(SHOP, event=dict), "its event is <class 'dict'>, and no msgspec"),
    "nonzero text": (replace(SHOP, nonzero=("place",)), "no whole-number field 'place'"),
    "no event_id": (replace(SHOP, event=fields(event_time=datetime)), "has no 'event_id'"),
    "a person of no field": (replace(SHOP, person="client"), "there is no text field 'client'"),
    "no field is described": (replace(SHOP, descriptions={"plce": "x"}), "no field 'plce'"),
}


@pytest.mark.parametrize(("contract", "fault"), WRONG.values(), ids=list(WRONG))
def test_a_wrong_contract(contract, fault):
    assert fault in told(products()["sales"], product(contract=contract))


def test_no_product_and_wrong_flows():
    assert "is int, and no Product" in told(1)
    assert "is 'shop' | give it" in told(product(name="other"))
    assert "no flow of the product lands" in told(product(flows=(SilverFlow(SHOP, (TABLE,)),)))
    assert "table silver.shop_by_place is declared already" in told(product(TABLE, TABLE))
    other = product(replace(TABLE, name="x_by_place"), contract=SHOP)
    longer = product(replace(TABLE, name="by_place"), contract=replace(SHOP, name="shop_x"))
    assert "silver.shop_x_by_place is declared already" in told(other, longer)


def test_a_module_that_is_not_there_and_a_contract_that_nothing_lands():
    assert "here, report | there is no module 'nowhere'" in told_of(product(report="nowhere"))
    nowhere = told_of(product(settings="nowhere:Mine"))
    assert "here, settings of 'shop' | there is no module 'nowhere'" in nowhere
    assert "no flow lands the contract 'shop'" in told_of(product(flows=()))
    assert "which is no Contract" in told_of(product(contracts=(Event,)))


def told_of(made):
    with pytest.raises(DeclarationError) as caught:
        sound([("here", made)])
    return f"{caught.value.place} | {caught.value.fault}"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"date": "event_time"}, "date is TIMESTAMP WITH TIME ZONE, and files are kept by DATE"),
        ({"columns": ("item", "item")}, "columns names none, or one twice"),
        ({"columns": ()}, "columns names none, or one twice"),
        ({"columns": ("nope",)}, '"nope" not found'),
        ({"where": "now() > event_time"}, "does not give the same answer again"),
    ],
)
def test_a_wrong_parquet_flow(change, fault):
    orders = products()["orders"]
    flows = [replace(f, **change) if isinstance(f, ParquetFlow) else f for f in orders.flows]
    with pytest.raises(DeclarationError) as caught:
        check_sql(replace(orders, flows=tuple(flows)))
    assert fault in caught.value.fault
    assert "orders.parquet" in caught.value.place


@pytest.mark.parametrize(
    ("floor", "words"),
    [
        ({"visit": ("session_end", "event_time")}, "name one of states: visits"),
        ({"visits": ("ended_at", "event_time")}, "has no column 'ended_at'"),
        ({"visits": ("session_end", "moment")}, 'Referenced column "moment" not found'),
        ({"visits": ("session_end", "paid")}, "is DECIMAL(18,4), and session_end is TIMESTAMPTZ"),
    ],
)
def test_a_wrong_floor_of_a_sink(floor, words):
    visits = Session("visits", "place", "false", {}, timedelta(1), "a visit")
    silver = SilverFlow(SHOP, (), sessions=(visits,))
    sink = KafkaSink(
        SHOP, "enriched_shop", "place", states={"visits": "silver.shop_visits"}, floors=floor
    )
    assert words in told(product(flows=(BronzeFlow(SHOP), silver, sink)))


def test_two_products_with_one_topic(tmp_path):
    path = tmp_path / "config.ini"
    path.write_text("[orders]\ntopic = sales\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert "[orders] topic: 'sales' is the topic of [sales] too" in caught.value.fault


MODULES = {
    "no such module": (None, "cannot be loaded: ModuleNotFoundError"),
    "an error in it": ("1 / 0", "cannot be loaded: ZeroDivisionError: division by zero"),
    "no product in it": ("x = 1", ".py has no PRODUCT"),
    "something else in it": ("PRODUCT = 1", "is int, and no Product"),
    "an exit": ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3"),
    "contracts of no kind": (
        "from lakehouse.model.product import Product\nPRODUCT = Product('odd', 5, ())",
        "cannot be checked: TypeError",
    ),
}


def test_a_folder_that_hides_the_package_is_named(tmp_path, monkeypatch):
    """As where the command is started beside the package's own folder."""
    (tmp_path / "hidden_parcels").mkdir()
    info = tmp_path / "hidden-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hidden\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lakehouse.products]\nodd = hidden_parcels:PRODUCT\n")
    monkeypatch.syspath_prepend(tmp_path)
    [error] = [one.error for one in collect(theirs())[1].values()]
    assert error.fault == f"{tmp_path / 'hidden_parcels'} has no PRODUCT"
    assert "start elsewhere" in error.remedy


@pytest.mark.parametrize(("code", "fault"), MODULES.values(), ids=list(MODULES))
def test_another_package_that_cannot_be_loaded_is_named(tmp_path, monkeypatch, code, fault):
    name = f"theirs_{abs(hash(fault))}"
    info = tmp_path / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[lakehouse.products]\nodd = {name}:PRODUCT\n")
    if code:
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    [(place, one)] = collect(theirs())[1].items()
    assert (place, one.name) == (f"entry point odd = {name}:PRODUCT", "odd")
    assert one.error.place == place
    assert fault in one.error.fault
