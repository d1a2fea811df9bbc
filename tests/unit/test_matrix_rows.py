"""The crash matrix is composed from the registry: a product's rows follow from its flows."""

from dataclasses import replace

import pytest

from lakehouse.model.flow import BronzeFlow, ParquetFlow, SilverFlow
from lakehouse.products.registry import products
from tests.matrix.rows import rows_of
from tests.matrix.stage import Stage

SALES, ORDERS = products()["sales"], products()["orders"]


def names(product):
    return {row.name for row in rows_of(product)}


@pytest.mark.parametrize("product", products().values(), ids=list(products()))
def test_every_product_has_rows_each_named_once(product):
    rows = rows_of(product)
    assert len({row.name for row in rows}) == len(rows)
    assert {"bronze-files", "bronze-committed/spark", "random", "broker-killed"} <= names(product)


def test_rows_follow_from_flows():
    assert {"parquet-written", "slot-made", "slot-advanced", "finer-committed"} <= names(ORDERS)
    assert not {"parquet-written", "slot-made"} & names(SALES)
    assert {"transactions", "producer-unsure", "replay-marked"} <= names(SALES) - names(ORDERS)


def test_what_has_sessions_has_their_rows():
    of_sessions = {"sessions-changed", "short-sessions-changed", "short-state-stored"}
    assert of_sessions <= names(products()["activity"])
    assert not of_sessions & (names(SALES) | names(ORDERS))


def test_what_has_sinks_has_their_rows():
    of_postgres = {"postgres-written", "postgres-committed", "postgres-ahead", "postgres-killed"}
    of_kafka = {"kafka-sent", "kafka-committed", "kafka-zombie"}
    assert of_postgres | of_kafka <= names(products()["activity"])
    assert not (of_postgres | of_kafka) & (names(SALES) | names(ORDERS))


def test_a_product_of_another_package_has_the_rows_of_what_it_declares():
    """Nothing here knows it: its name is taken by no file of the matrix."""
    contract = replace(ORDERS.contracts[0], name="their_meals")
    bronze = BronzeFlow(contract)
    alone = replace(ORDERS, name="their_meals", contracts=(contract,), flows=(bronze,))
    assert "batch-landed" in names(alone)
    assert not {"state-stored", "finer-due", "silver-apart", "parquet-written"} & names(alone)
    aggregates = next(f for f in ORDERS.flows if isinstance(f, SilverFlow)).aggregates
    silver = replace(alone, flows=(bronze, SilverFlow(contract, aggregates)))
    assert {"state-stored", "silver-folded", "silver-apart"} <= names(silver)
    assert not {"finer-due", "parquet-written"} & names(silver)
    plain = next(f for f in ORDERS.flows if isinstance(f, ParquetFlow))
    assert "parquet-written" in names(replace(alone, flows=(bronze, replace(plain))))


def test_a_try_has_a_topic_a_contract(tmp_path):
    meals = replace(ORDERS.contracts[0], name="late_meals")
    ratings = replace(ORDERS.contracts[0], name="late_meals_ratings")
    product = replace(
        ORDERS, name="late_meals", contracts=(meals, ratings),
        flows=(BronzeFlow(meals), BronzeFlow(ratings)),
    )  # fmt: skip

    class Broker:
        servers = "none:1"

    stage = Stage(Broker(), tmp_path / "random-1", "1", product=product)
    assert stage.topics == {"late_meals": "random-1", "late_meals_ratings": "random-1_ratings"}
    assert stage.environment["LAKEHOUSE_LATE_MEALS_RATINGS_TOPIC"] == "random-1_ratings"
    assert stage.flows == ("late_meals.bronze", "late_meals_ratings.bronze")
