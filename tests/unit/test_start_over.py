"""What is rebuilt from all of bronze: part by part, said with its reason, old rows until then."""

import json
from contextlib import nullcontext, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable
from structlog.testing import capture_logs

from lakehouse.core.errors import LakehouseError
from lakehouse.ingest.ledger import Ledger
from lakehouse.silver.folding import Folding
from lakehouse.silver.publisher import SilverPublisher
from lakehouse.sinks.parquet_files import TAKEN
from lakehouse.storage.follower import Stopping
from tests.conftest import encode, sale
from tests.support import orders
from tests.support.lake import Lake, assert_silver_is_a_function_of_bronze, cut_log, warned

SMALL = {"max_rows_per_fold": 3}


def land_days(lake, days, first=0):
    """Two sales a day, one of them of an order and a client that go on from day to day."""
    for day in range(days):
        events = [
            sale(
                event_id=f"e{first}-{day}-{n}", order_id=f"o{n * day}", client_id=f"c{n * day}",
                product_id=f"p{day % 2}", event_time=f"2026-11-{day + 1:02}T11:00:00Z",
            )
            for n in range(2)
        ]  # fmt: skip
        lake.land(encode(*events), first + 2 * day)


def test_silver_is_folded_again_in_parts_and_says_why(settings, monkeypatch):
    lake = Lake(settings.changed(silver=SMALL))
    land_days(lake, 4)
    lake.fold()
    land_days(lake, 4, first=8)
    cut_log(lake.bronze.bronze.uri)
    most = []
    whole = Folding.load

    def measured(self, kept, step):
        whole(self, kept, step)
        most.append(self._rows.source.rows.num_rows)

    monkeypatch.setattr(Folding, "load", measured)
    lake.restart()
    with capture_logs() as logs:
        lake.silver.catch_up()
    assert len(most) >= 5
    assert max(most) <= 3
    [warning] = warned(logs)
    assert warning["flow"] == "sales.silver"
    assert ".json" in warning["reason"]
    assert_silver_is_a_function_of_bronze(lake)
    lake.restart()
    land_days(lake, 2, first=16)
    with capture_logs() as logs:
        lake.silver.catch_up()
    assert warned(logs) == []
    assert_silver_is_a_function_of_bronze(lake)


def test_silver_stays_readable_until_it_is_rebuilt(settings, monkeypatch):
    lake = Lake(settings.changed(silver=SMALL))
    land_days(lake, 4)
    lake.silver.catch_up()
    before = lake.rows("silver/sales_by_country").to_dict("records")
    land_days(lake, 4, first=8)
    cut_log(lake.bronze.bronze.uri)
    lake.restart()

    def crash(self, version):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(SilverPublisher, "fold_from_nothing", crash)
        with pytest.raises(KeyboardInterrupt):
            lake.silver.catch_up()
    assert lake.rows("silver/sales_by_country").to_dict("records") == before
    lake.restart()
    lake.silver.catch_up()
    assert_silver_is_a_function_of_bronze(lake)


def test_a_fold_again_that_fails_between_two_swaps_is_done_again(settings):
    lake = Lake(settings.changed(silver=SMALL))
    land_days(lake, 4)
    lake.fold()
    land_days(lake, 4, first=8)
    cut_log(lake.bronze.bronze.uri)
    lake.restart()
    uri = lake.silver.tables["by_client"].uri
    place = Path(uri, "_delta_log", f"{DeltaTable(uri).version() + 1:020}.json")
    place.mkdir()
    with pytest.raises(LakehouseError):
        lake.silver.catch_up()
    place.rmdir()
    lake.restart()
    lake.silver.catch_up()
    assert_silver_is_a_function_of_bronze(lake)


class Cut(Exception):
    """The end of a process, between two parts."""


def parts_of(monkeypatch, cut_after=None):
    """Parts that are folded from here on; ``cut_after`` so many the process ends."""
    folded, apply = [], SilverPublisher.apply

    def counted(self, step):
        if len(folded) == cut_after:
            raise Cut
        apply(self, step)
        folded.append(step.part)

    monkeypatch.setattr(SilverPublisher, "apply", counted)
    return folded


@pytest.mark.parametrize("ages", [0, 60])
def test_a_fold_again_that_is_cut_goes_on_after_its_last_part(settings, monkeypatch, ages):
    """With tables that are published at every part, and with ones of which all is pending."""
    small = settings.changed(silver={**SMALL, "greatest_age": timedelta(seconds=ages)})
    lake = Lake(small)
    land_days(lake, 5)
    lake.silver.catch_up()
    cut_log(lake.bronze.bronze.uri)
    for after, wanted in ((2, [0, 1]), (1, [2]), (None, [3, 4])):
        lake.restart()
        lake.silver._forget_state("a test")
        for table in lake.silver.tables.values():
            table.replace([table.schema.empty_table()], {"source": None})
        lake.restart()
        with monkeypatch.context() as patched, suppress(Cut):
            folded = parts_of(patched, after)
            lake.silver.catch_up()
        assert folded == wanted
    assert_silver_is_a_function_of_bronze(lake)


def test_a_flow_that_is_stopped_while_it_folds_again_goes_on_at_the_next_start(
    settings, monkeypatch
):
    lake = Lake(settings.changed(silver=SMALL))
    land_days(lake, 4)
    cut_log(lake.bronze.bronze.uri)
    lake.silver.stop.set()
    folded = parts_of(monkeypatch)
    for done in range(1, 5):
        with pytest.raises(Stopping) if done < 4 else nullcontext():
            lake.silver.catch_up()
        assert folded == [*range(done)]
    assert_silver_is_a_function_of_bronze(lake)


def stopped(settings):
    """A lake whose fold again was stopped after the first of four parts."""
    lake = Lake(settings.changed(silver=SMALL))
    land_days(lake, 4)
    cut_log(lake.bronze.bronze.uri)
    lake.silver.stop.set()
    with pytest.raises(Stopping):
        lake.silver.catch_up()
    lake.silver.stop.clear()
    return lake


def test_what_bronze_gained_meanwhile_is_folded_after_it(settings, monkeypatch):
    lake = stopped(settings)
    land_days(lake, 3, first=20)
    folded = parts_of(monkeypatch)
    lake.silver.catch_up()
    assert folded[:3] == [1, 2, 3]
    assert_silver_is_a_function_of_bronze(lake)


def test_parts_of_another_size_are_thrown_away(settings, monkeypatch):
    lake = stopped(settings)
    lake.settings = lake.settings.changed(silver={"max_rows_per_fold": 5})
    lake.restart()
    folded = parts_of(monkeypatch)
    lake.silver.catch_up()
    assert folded[0] == 0
    assert_silver_is_a_function_of_bronze(lake)


def test_parts_with_rows_that_left_bronze_are_thrown_away(settings, monkeypatch):
    lake = stopped(settings)
    lake.bronze.bronze.delete("event_id = 'e0-0-1'", {})
    folded = parts_of(monkeypatch)
    lake.silver.catch_up()
    assert folded[0] == 0
    assert_silver_is_a_function_of_bronze(lake)


def test_parquet_is_rebuilt_in_parts_and_says_why(settings):
    lake = orders.Lake(settings.changed(silver=SMALL))
    for number in range(8):
        day = f"2026-11-{number + 1:02}T10:00:00Z"
        lake.land([orders.change("c", number, orders.row(order_id=number, created_at=day))])
    lake.parquet.catch_up()
    wanted = lake.files()
    taken = lake.parquet.folder / TAKEN
    taken.write_text(json.dumps({**json.loads(taken.read_text()), "bronze": "another"}))
    lake.restart()
    with capture_logs() as logs:
        lake.parquet.catch_up()
    [warning] = warned(logs)
    assert warning["flow"] == "orders.parquet"
    assert "another bronze table" in warning["reason"]
    assert sorted(map(str, lake.files())) == sorted(map(str, wanted))
    names = {p.name for p in lake.parquet.folder.glob("date=*/*.parquet")}
    assert len(names) >= 3


def test_the_ledger_rebuilt_says_why(settings):
    lake = Lake(settings)
    lake.land(encode(sale(event_id="a"), sale(event_id="a")), 0)
    lake.land(encode(sale(event_id="b"), sale(event_id="b")), 2)
    cut_log(lake.bronze.bronze.uri)
    with capture_logs() as logs:
        Ledger.at_bronze("sales", settings, lake.connection)
    [warning] = warned(logs)
    assert "ledger" in warning["flow"]
    assert ".json" in warning["reason"]
    assert len(lake.rows("ledger/sales")) == 2
    with capture_logs() as logs:
        Ledger.at_bronze("sales", settings, lake.connection)
    assert warned(logs) == []
