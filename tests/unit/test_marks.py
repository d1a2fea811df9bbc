"""Marks of late and doubled events are judged by what batches recorded, and can be set again."""

import dataclasses
from datetime import timedelta

import duckdb
import pytest

from lakehouse.audit.proof import Verdict
from lakehouse.audit.run import topic_of
from lakehouse.core.errors import TableDamaged
from lakehouse.ingest.ends import Ends
from lakehouse.operations import remark as verb
from lakehouse.operations.remark import remark
from lakehouse.storage.table import Table
from tests.conftest import NOW, encode, sale
from tests.support.audited import Kafka, proof, put, rewrite
from tests.support.lake import Lake, assert_silver_is_a_function_of_bronze

HORIZON, DELAY = "deduplication_horizon", "watermark_delay"


def quiet(_):
    """Narration that nobody reads."""


def with_sales(settings, **changes):
    return settings.changed(sales=changes)


def land(lake, event_ids, first, minutes):
    """Events of two dates, a record every minute from ``minutes`` on."""
    times = [NOW + timedelta(minutes=minutes + n) for n in range(len(event_ids))]
    events = [
        sale(event_id=e, order_id=e, event_time=f"2026-11-{19 + n % 2}T11:{minutes % 60:02}:00Z")
        for n, e in enumerate(event_ids)
    ]
    lake.land(encode(*events), first, times=times)


def caught_up(lake):
    lake.persist()
    return lake


def test_a_horizon_and_a_delay_changed_later_are_no_fault(settings):
    lake = Lake(settings)
    land(lake, "abcd", 0, 0)
    changed = with_sales(settings, **{HORIZON: timedelta(hours=3), DELAY: timedelta(hours=1)})
    lake = Lake(changed)
    land(lake, "abcd", 4, 90)
    land(lake, "abcd", 8, 200)
    caught_up(lake)
    assert lake.rows("bronze/sales")["is_duplicate"].sum() == 8
    for now in (changed, settings, with_sales(settings, **{HORIZON: timedelta(0)})):
        lake.settings = now
        found = proof(lake, Kafka(end=12))
        assert found.faults == found.doubts == ()
        assert found.verdict is Verdict.PROVEN
    assert [rule.batch for rule in lake.bronze.position.ends.rules] == [0, 1]


def test_a_topic_setting_changed_later_is_no_doubt(settings):
    """Kafka is asked of the topic that bronze holds, and a lake without bronze of the setting's."""
    changed = with_sales(settings, topic="other")
    assert topic_of(changed, "sales") == "other"
    lake = Lake(settings)
    land(lake, "ab", 0, 0)
    caught_up(lake)
    lake.settings = changed
    assert topic_of(changed, "sales") == "sales"
    assert proof(lake, Kafka(end=2)).verdict is Verdict.PROVEN


@pytest.mark.parametrize("value", [None, NOW])
def test_a_watermark_that_is_null_or_wrong_everywhere_is_found(settings, value):
    lake = Lake(settings)
    for batch in range(3):
        land(lake, "ab", 2 * batch, batch)
    caught_up(lake)
    rewrite(lake, "bronze/sales", put("watermark", ("topic", "sales"), value))
    rewrite(lake, "bronze/sales", put("is_late", ("topic", "sales"), value is not None))
    [check] = [c for c in proof(lake, Kafka(end=6)).checks if "watermark" in c.name]
    wrong = 4 if value is None else 6
    batches = 2 if value is None else 3
    fault = f"{wrong} rows of {batches} batches record another watermark than their batch had"
    assert check.faults == (fault,)


@pytest.fixture
def marked_wrongly(settings, monkeypatch):
    """A lake of an earlier release that forgot every event_id at once, and recorded no rule."""
    with monkeypatch.context() as earlier:
        earlier.setattr(Ends, "marked_by", lambda self, *_: self)
        lake = Lake(with_sales(settings, **{HORIZON: timedelta(0)}))
        land(lake, "abcdef", 0, 0)
        land(lake, "abcdef", 6, 10)
        land(lake, "ghijkl", 12, 20)
        caught_up(lake)
    lake.settings = settings
    return lake


def content(lake):
    rows = lake.rows("bronze/sales").sort_values("offset").reset_index(drop=True)
    return rows.drop(columns=["is_duplicate", "is_late"]).astype(str)


def test_wrong_marks_are_named_and_set_again(marked_wrongly):
    lake, before = marked_wrongly, content(marked_wrongly)
    files = set(lake.bronze.bronze.files())
    assert proof(lake, Kafka(end=18)).faults == (
        "6 events are marked as copies, or as no copies, wrongly: lakehouse remark sales",
    )
    done = remark("sales", lake.settings, NOW, quiet)
    assert (done.late, done.duplicates) == (0, 6)
    found = proof(lake, Kafka(end=18))
    assert found.faults == found.doubts == ()
    assert found.verdict is Verdict.PROVEN
    assert {table.behind for table in found.tables} == {0}
    assert content(lake).equals(before)
    lake.restart()
    assert len(files & set(lake.bronze.bronze.files())) == 4  # two batches, each of two dates
    assert lake.bronze.bronze.last_note("remark") == {"rows": 6, "done": 6, "of": 6}
    assert_silver_is_a_function_of_bronze(lake)
    land(lake, "gx", 18, 25)
    caught_up(lake)
    assert proof(lake, Kafka(end=20)).verdict is Verdict.PROVEN


def test_marks_that_are_right_change_nothing(settings):
    lake = Lake(settings)
    land(lake, "aab", 0, 0)
    caught_up(lake)
    version = lake.bronze.bronze.version
    assert remark("sales", settings, NOW, quiet) == verb.Remarked("sales", 0, 0, version)


def test_a_crash_between_two_parts_is_completed_by_running_it_again(marked_wrongly, monkeypatch):
    lake, before, mark = marked_wrongly, content(marked_wrongly), Table.mark
    monkeypatch.setattr(verb, "MOST", 2)
    marked = []

    def crash_at_the_second(self, *arguments):
        if len(marked) == 1:
            raise KeyboardInterrupt
        marked.append(mark(self, *arguments))

    with monkeypatch.context() as crash:
        crash.setattr(Table, "mark", crash_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            remark("sales", lake.settings, NOW, quiet)
    assert any(fault.startswith("4 events") for fault in proof(lake, Kafka(end=18)).faults)
    assert remark("sales", lake.settings, NOW, quiet).duplicates == 4
    assert proof(lake, Kafka(end=18)).verdict is Verdict.PROVEN
    assert content(lake).equals(before)


def test_late_marks_are_set_again_by_the_watermark_that_rows_record(settings):
    lake = Lake(settings)
    land(lake, "ab", 0, 50)
    lake.land(encode(sale(event_id="c", event_time="2026-11-19T00:00:00Z")), 2)
    caught_up(lake)
    late = lake.rows("bronze/sales").set_index("event_id")["is_late"]
    lake.bronze.bronze.mark(
        duckdb.sql("SELECT 2::BIGINT AS \"offset\", false AS is_late").to_arrow_table(),
        ["offset"], "true", {"flow": "sales.bronze", "ends": lake.bronze.position.ends.note()},
    )  # fmt: skip
    assert proof(lake, Kafka(end=3)).faults[0].startswith("1 events are marked late, or not late")
    assert remark("sales", settings, NOW, quiet).late == 1
    assert lake.rows("bronze/sales").set_index("event_id")["is_late"].equals(late)


def test_a_bronze_whose_fingerprints_fail_is_refused(marked_wrongly):
    rewrite(marked_wrongly, "bronze/sales", put("quantity", ("event_id", "a"), 7))
    with pytest.raises(TableDamaged, match="then remark"):
        remark("sales", marked_wrongly.settings, NOW, quiet)


def test_rules_of_an_earlier_release_are_those_first_recorded():
    old = Ends("sales", "t1", batch=4)
    assert [dataclasses.astuple(r) for r in old.rules_of_all(60)] == [(0, 60, None)]
    new = old.marked_by(5, 70, 1).marked_by(6, 70, 1).marked_by(7, 80, 1)
    assert Ends.read(new.note()).rules == new.rules
    rules = [(0, 70, None), (5, 70, 1), (7, 80, 1)]
    assert [dataclasses.astuple(r) for r in new.rules_of_all(60)] == rules
