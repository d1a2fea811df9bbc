"""Bronze's customers scored by version: each record once, whatever became of bronze or the run."""

from pathlib import Path

import msgspec
import pytest
from deltalake import DeltaTable

from lakehouse.core.errors import DiskFull, TableMissing
from lakehouse.ingest.decode import decode_batch
from lakehouse.products.churn.contract import CUSTOMERS, Prediction
from lakehouse.products.churn.model.customers import kafka_rows
from lakehouse.products.churn.model.lake import TABLE, LakeScorer
from lakehouse.products.churn.model.outcomes import outcomes_of
from lakehouse.products.churn.model.scoring import Scorer
from tests.conftest import NOW, RULES
from tests.support.churn import Lake, customer, value
from tests.support.full_disk import disk_at, full
from tests.support.models import small


@pytest.fixture
def lake(settings):
    return Lake(settings)


def scorer(seed=1):
    return Scorer(small(seed).card, small(seed).graph, "the model")


def customers(first, count):
    return [
        customer(event_id=f"e{n}", customerID=f"c{n}", tenure=n % 72)
        for n in range(first, first + count)
    ]


def found(settings):
    rows = DeltaTable(f"{settings.lake.root}/silver/churn_predictions").to_pyarrow_table()
    return {
        (row["model_version"], row["offset"]): (row["prediction"], row["probability"])
        for row in rows.to_pylist()
    }, rows.num_rows


def due(events, *seeds):
    given = kafka_rows([value(event) for event in events], NOW, topic="customers")
    return {
        (told.model_version, told.input_offset): (told.prediction, told.probability)
        for seed in seeds
        for _, value in outcomes_of(
            decode_batch(given, CUSTOMERS, RULES), scorer(seed), NOW
        ).predictions
        for told in [msgspec.json.decode(value, type=Prediction)]
    }


def test_each_version_follows_bronze_by_itself(lake, settings):
    with pytest.raises(TableMissing, match=r"bronze.churn"):
        LakeScorer(settings.with_root(settings.lake.root + "-none"), scorer()).catch_up()
    lake.land("churn", *customers(0, 50), fold=False)
    LakeScorer(settings, scorer()).catch_up()
    assert found(settings) == (due(customers(0, 50), 1), 50)
    lake.land("churn", *customers(50, 30), fold=False)
    LakeScorer(settings, scorer(2)).catch_up()
    again = LakeScorer(settings, scorer())
    for _ in range(2):
        again.catch_up()
        again.maintain()
    LakeScorer(settings, scorer()).catch_up()
    assert found(settings) == (due(customers(0, 80), 1, 2), 160)


def test_rows_that_left_bronze_leave_one_version_at_a_time(lake, settings):
    lake.land("churn", *customers(0, 20), fold=False)
    for seed in (1, 2):
        LakeScorer(settings, scorer(seed)).catch_up()
    lake.bronze["churn"].bronze.delete("customerID = 'c3'", {})
    LakeScorer(settings, scorer(2)).catch_up()
    rows, count = found(settings)
    left = [event for event in customers(0, 20) if event["customerID"] != "c3"]
    assert count == 20 + len(left)
    assert {n for version, n in rows if version == small(2).card.version} == {*range(20)} - {3}
    LakeScorer(settings, scorer()).catch_up()
    assert found(settings)[1] == 2 * len(left)


def test_a_run_that_is_cut_between_two_increments_goes_on(lake, settings):
    lake.land("churn", *customers(0, 20), fold=False)
    lake.land("churn", *customers(20, 20), fold=False)
    small_steps = settings.changed(silver={"max_rows_per_fold": 10})
    cut = LakeScorer(small_steps, scorer())
    append, commits = cut.table.append, []

    def failing(*args):
        commits.append(args)
        if len(commits) == 2:
            raise KeyboardInterrupt
        return append(*args)

    cut.table.append = failing
    with pytest.raises(KeyboardInterrupt):
        cut.catch_up()
    LakeScorer(settings, scorer()).catch_up()
    assert found(settings) == (due(customers(0, 40), 1), 40)
    assert TABLE == "silver.churn_predictions"


def test_a_full_disk_stops_it_in_words_and_it_goes_on_once_there_is_room(lake, settings):
    with disk_at(Path(settings.lake.root) / "silver", "1m") as mounted:
        lake.land("churn", *customers(0, 50), fold=False)
        LakeScorer(settings, scorer()).catch_up()
        lake.land("churn", *customers(50, 50), fold=False)
        with full(mounted, 0), pytest.raises(DiskFull, match="its disk is full"):
            LakeScorer(settings, scorer()).catch_up()
        LakeScorer(settings, scorer()).catch_up()
        assert found(settings) == (due(customers(0, 100), 1), 100)
