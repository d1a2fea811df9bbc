"""A silver job whose fold fails half way: what it leaves is never labelled as what it is not."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse.core.errors import LakehouseError
from lakehouse.model.flow import SilverFlow
from lakehouse.products.registry import flows
from lakehouse.runtime.driver import run
from lakehouse.silver.publisher import SilverPublisher
from tests.conftest import encode, long, sale
from tests.support.lake import SILVER, Lake, assert_silver_is_a_function_of_bronze

FIRST = [sale(event_id="a"), sale(event_id="b", order_id="o2", product_id="p2", quantity=3)]
SECOND = [
    sale(event_id="c", order_id="o3", client_id="c2", product_id="p2", quantity=9),
    sale(event_id="d", order_id="o2", country="France", product_id="p3"),
]


def no_session():
    raise AssertionError("silver alone needs no Spark")


def silver_job(settings):
    """``lakehouse run sales.silver --available-now``, in this process."""
    run([SILVER], settings, no_session, available_now=True)


def block(table):
    """A folder where the table's next log entry would be: it cannot be committed."""
    place = Path(table, "_delta_log", f"{DeltaTable(table).version() + 1:020}.json")
    place.mkdir()
    return place


@contextmanager
def running(settings):
    """``lakehouse run sales.silver`` until it fails, which it must."""
    with ThreadPoolExecutor(1) as pool:
        stop = threading.Event()
        job = pool.submit(run, [SILVER], settings, no_session, stop=stop)
        try:
            yield
            with pytest.raises(LakehouseError):
                job.result(200)
        finally:
            stop.set()


def wait_for(lake, version):
    for table in lake.silver.tables.values():
        deadline = time.monotonic() + 200
        while _taken(table.uri) != version:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def _taken(uri):
    newest = DeltaTable(uri).history()[0]  # with a limit, a commit made meanwhile comes too
    return json.loads(newest["userMetadata"])["source"]["version"]


@pytest.mark.parametrize("name", ["by_country", "product_trends", *long("by_client")])
def test_a_fold_that_fails_is_made_good_by_the_next_start(settings, name):
    """The finer tables are due when it fails, and must not hold what the others lack."""
    upkeep = {"vacuum_interval": timedelta(0), "compact_after_commits": 0}
    settings = settings.changed(maintenance=upkeep)
    lake = Lake(settings)
    lake.land(encode(*FIRST), 0)
    silver_job(settings)
    with running(settings):
        landed = lake.land(encode(sale(event_id="between", order_id="o9")), 2)
        wait_for(lake, landed.version)
        place = block(lake.silver.tables[name].uri)
        lake.land(encode(*SECOND), 3)
    place.rmdir()
    silver_job(settings)
    assert_silver_is_a_function_of_bronze(lake)
    lake.land(encode(sale(event_id="e", order_id="o2", client_id="c2")), 5)
    silver_job(settings)
    assert_silver_is_a_function_of_bronze(lake)


def test_flows_are_stopped_though_one_of_them_cannot_be_left_whole(settings, monkeypatch):
    """What was not stopped went on beside the flows that up had started again."""
    ended, silver = [], [flow for flow in flows() if isinstance(flow, SilverFlow)]

    def fails(self):
        ended.append(self.name)
        raise LakehouseError(self.name, "is out of room", "make some")

    monkeypatch.setattr(SilverPublisher, "persist", fails)
    stop = threading.Event()
    stop.set()
    with pytest.raises(LakehouseError, match=silver[0].name):
        run(silver[:2], settings, no_session, stop=stop)
    assert ended == [flow.name for flow in silver[:2]]


def test_the_same_process_goes_on_after_a_fold_that_failed(settings):
    lake = Lake(settings)
    lake.land(encode(*FIRST), 0)
    lake.fold()
    lake.land(encode(*SECOND), 2)
    place = block(lake.silver.tables["by_country"].uri)
    for publish in (lake.silver.catch_up, lake.silver.persist):
        with pytest.raises(LakehouseError):
            publish()
    place.rmdir()
    lake.fold()
    assert_silver_is_a_function_of_bronze(lake)
    lake.restart()
    lake.silver.catch_up()
    assert_silver_is_a_function_of_bronze(lake)
