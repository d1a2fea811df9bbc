"""A product of another package with two contracts, whose names hold '_': all that is made of it."""

import json
from dataclasses import replace
from importlib import import_module

import pytest
from typer.testing import CliRunner

from lakehouse.audit.declared import recomputes_of
from lakehouse.audit.proof import Verdict
from lakehouse.cli.app import app
from lakehouse.cli.products import listed
from lakehouse.core.errors import DeclarationError
from lakehouse.doctor import doctor
from lakehouse.explorer.analyses import analyses
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.report import freshness, look_ups, report, sections, views
from lakehouse.ingest.topic import Topic
from lakehouse.ingest.writers.arrow import ArrowWriter
from lakehouse.model.flow import BronzeFlow, SilverFlow
from lakehouse.model.recompute import Recompute
from lakehouse.products import registry
from lakehouse.products.registry import contract, contracts_of, flows, load_settings
from lakehouse.runtime.pipeline import Landing
from lakehouse.storage.duck import connect
from tests.conftest import NOW, decoded, encode
from tests.installed import install, registered
from tests.support.product_lake import proof_of

CODE = """
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
import msgspec
from msgspec import Meta
from lakehouse.model.contract import Contract
from lakehouse.model.flow import *
from lakehouse.model.product import Product

class Order(msgspec.Struct, kw_only=True):
    event_id: str
    event_time: Annotated[datetime, Meta(tz=True)]
    dish: str
    paid: Decimal

class Rating(msgspec.Struct, kw_only=True):
    event_id: str
    event_time: Annotated[datetime, Meta(tz=True)]
    dish: str
    stars: Annotated[int, Meta(ge=1, le=5)]

MEALS = Contract(name="late_meals", version=1, event=Order)
RATINGS = Contract(name="late_meals_ratings", version=3, event=Rating)
COUNT = Measure("count(*)", "BIGINT", "sum", "how many")

PAID = Measure("sum(paid)", MONEY, "sum", "")

def by_dish(**measures):
    return Aggregate(name="by_dish", keys={"dish": ("dish", "VARCHAR")},
                     measures={"events": COUNT, **measures}, doc="one row a dish")

PRODUCT = Product(
    name="late_meals", contracts=(MEALS, RATINGS), checks="their_checks", report="their_report",
    recompute="their_recompute",
    flows=(
        BronzeFlow(MEALS), SilverFlow(MEALS, (by_dish(paid=PAID),)),
        BronzeFlow(RATINGS), SilverFlow(RATINGS, (by_dish(),)),
    ),
)
"""
CHECKS = """
from lakehouse.doctor.check import Check

def checks(settings):
    yield Check("late_meals", "kitchen", "warn", settings.product("late_meals").topic, "cook")
"""
RECOMPUTE = """
from lakehouse.model.recompute import Recompute, Recomputes
from lakehouse.model.witness import Kind, Witness, whole_value

FIELDS = {"event_id": Kind.TEXT, "event_time": Kind.TIME, "dish": Kind.TEXT, "stars": Kind.WHOLE}
EVENTS = "SELECT dish, count(*) AS events FROM counted GROUP BY dish"
RECOMPUTES = {
    "late_meals_ratings": Recomputes(
        "SELECT * FROM bronze_then WHERE NOT is_duplicate",
        (Recompute("by_dish", ("dish",), EVENTS),),
        Witness(FIELDS, frozenset(FIELDS), whole_value),
    )
}
"""
REPORT = """
from lakehouse.explorer.report import LookUp, quality

REPORT = {"dishes": "FROM silver.late_meals_by_dish", **quality("late_meals", "meals_")}
LOOK_UPS = {"dish": LookUp("one dish", "SELECT * FROM dishes WHERE dish = '{0}'", "dish")}

def views(as_of=None):
    return {"dishes": "SELECT * FROM silver.late_meals_by_dish"}
"""
BAD = {"late_meals": b"{", "late_meals_ratings": b"["}


@pytest.fixture(scope="module", autouse=True)
def product(tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    modules = {
        "their_meals": CODE,
        "their_checks": CHECKS,
        "their_report": REPORT,
        "their_recompute": RECOMPUTE,
    }
    install(site, "meals", "their_meals:PRODUCT", modules)
    with registered(site):
        yield


@pytest.fixture(scope="module")
def settings(product, tmp_path_factory):
    return load_settings().with_root(tmp_path_factory.mktemp("meals") / "lake")


def events(name, batch):
    for n in range(4):
        event = {"event_id": f"{name}{batch}{n}", "event_time": "2026-11-20T11:00:00Z",
                 "dish": f"d{n % 2}"}  # fmt: skip
        yield {**event, **({"paid": 2.5} if name == "late_meals" else {"stars": 3})}


@pytest.fixture(scope="module")
def lake(settings):
    """Two batches of either contract, each with a record that breaks it; silver has both."""
    with connect(settings) as connection:
        for name in contracts_of("late_meals"):
            mine = [f for f in flows() if f.product == name]
            bronze = next(f for f in mine if isinstance(f, BronzeFlow))
            silver = [f for f in mine if isinstance(f, SilverFlow)]
            landing = Landing.open(bronze, silver, settings, connection)
            position = landing.bronze.position
            position.refuse(position.reconcile_topic(Topic(name, "t1")))
            for batch in range(2):
                values = [*encode(*events(name, batch)), BAD[name]]
                rows = decoded(values, contract(name), topic=name, first=5 * batch)
                writer = ArrowWriter(landing.bronze)
                landing.take(writer.publish(rows, {0: 5 * (batch + 1)}, NOW))
            landing.persist()
    return settings


def test_each_contract_has_tables_of_its_own_and_is_proven(lake):
    for name in contracts_of("late_meals"):
        proof = proof_of(name, lake, 10)
        assert proof.verdict is Verdict.PROVEN, proof.as_dict()
        assert [t.table for t in proof.tables] == [f"silver.{name}_by_dish", f"ledger.{name}"]
        assert (proof.account.total("bronze"), proof.account.total("quarantine")) == (8, 2)


def test_each_contract_has_a_recompute_of_its_own_or_its_declarations(lake):
    assert proof_of("late_meals", lake, 10).is_by_declaration
    assert not proof_of("late_meals_ratings", lake, 10).is_by_declaration
    with pytest.MonkeyPatch.context() as patch:
        theirs = import_module("their_recompute").RECOMPUTES["late_meals_ratings"]
        half = Recompute("by_dish", ("dish",), "SELECT dish, 1::BIGINT AS events FROM counted")
        patch.setitem(
            import_module("their_recompute").RECOMPUTES,
            "late_meals_ratings", replace(theirs, tables=(half,)),
        )  # fmt: skip
        assert proof_of("late_meals_ratings", lake, 10).tables[0].differing == 2
        assert proof_of("late_meals", lake, 10).verdict is Verdict.PROVEN


def test_a_recompute_of_a_contract_that_is_not_there_is_refused(lake):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(import_module("their_recompute").RECOMPUTES, "late_meal", None)
        with pytest.raises(
            DeclarationError, match=r"RECOMPUTES has 'late_meal'.* not one of its"
        ) as at:
            recomputes_of("late_meals")
    assert "use late_meals or late_meals_ratings" in str(at.value)


def test_a_table_is_behind_its_own_bronze(lake):
    behind = {
        row["name"]: row["behind"] for row in freshness(Catalogue(lake.lake.root)).to_pylist()
    }
    assert behind["silver.late_meals_by_dish"] == 0
    assert behind["silver.late_meals_ratings_by_dish"] == 0


def test_settings_have_a_section_for_each(settings, tmp_path):
    assert settings.product("late_meals_ratings").topic == "late_meals_ratings"
    path = tmp_path / "config.ini"
    path.write_text("[late_meals]\ntopic = m\n[late_meals_ratings]\ntopic = r\npartitions = 5\n")
    read = load_settings(path)
    assert [read.product(n).topic for n in contracts_of("late_meals")] == ["m", "r"]
    assert read.product("late_meals_ratings").partitions == 5


def test_the_product_is_listed_whole_and_its_schemas_are_two(lake):
    found = {row["product"]: row for row in listed(lake)}["late_meals"]
    assert found["topics"] == ["late_meals", "late_meals_ratings"]
    assert "silver.late_meals_ratings_by_dish" in found["tables"]
    for name, field in (("late_meals", "paid"), ("late_meals_ratings", "stars")):
        done = CliRunner().invoke(app, ["schema", name])
        assert field in json.loads(done.stdout)["properties"]


def test_a_verb_that_is_given_the_product_means_both_contracts(lake):
    words = ["quarantine", "list", "--product", "late_meals", "--json", "--root", lake.lake.root]
    done = CliRunner().invoke(app, words)
    text = done.stdout
    assert "late_meals/0/4" in text
    assert "late_meals_ratings/0/4" in text, text


def test_report_look_ups_and_views_are_the_products_own(lake):
    catalogue = Catalogue(lake.lake.root)
    found = report(catalogue, lake.explorer, {}, lambda _: None)
    assert found["dishes"].to_pylist()[0]["paid"] == 10
    assert "countries" not in sections(catalogue)
    dish = look_ups()["dish"]
    assert (dish.doc, dish.asked("o'x")) == ("one dish", "SELECT * FROM dishes WHERE dish = 'o''x'")
    assert "dishes" in views()
    offered = [a for a in analyses(catalogue.names()) if a.product == "late_meals"]
    assert {a.name for a in offered} <= {*found}


def test_the_doctor_asks_the_products_own_checks(settings, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", ())
    found = [c for c in doctor.checked(settings, deep=False) if c.group == "late_meals"]
    assert [(c.name, c.state, c.detail) for c in found] == [("kitchen", "warn", "late_meals")]


def test_a_product_whose_view_another_one_has_is_left_out():
    module = import_module("their_report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "views", lambda as_of=None: {"clients": "SELECT 1"})
        patch.setattr(registry, "_broken", {})
        assert views()["clients"] != "SELECT 1"
        [left_out] = registry.broken()
    assert left_out.name == "late_meals"
    assert "late_meals" in left_out.error.place
    assert "'clients' is another product's" in left_out.error.fault
