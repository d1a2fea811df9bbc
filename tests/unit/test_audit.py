"""The audit finds and names what was done to a small lake, and proves one that was left alone."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from lakehouse.audit.proof import Verdict
from lakehouse.audit.run import Broker, audit
from lakehouse.audit.show import render
from lakehouse.audit.topic import Gap
from lakehouse.core.errors import Exit, ServiceUnavailable, TableMissing
from lakehouse.core.text import as_json
from lakehouse.operations.keep import keep
from tests.conftest import NOW, encode, sale
from tests.earlier import without_fingerprints
from tests.support.audited import Kafka, events, path, proof, put, rewrite, without
from tests.support.lake import Lake, left_alone


@pytest.fixture
def lake(audited_root, settings):
    return left_alone(audited_root, settings)


def test_a_lake_left_alone_is_proven(lake):
    found = proof(lake)
    assert found.faults == found.doubts == ()
    assert found.verdict is Verdict.PROVEN
    assert found.verdict.exit_code == Exit.OK
    part = found.account.partitions[0]
    assert (part.bronze, part.quarantine, part.end, part.missing) == (9, 1, 10, 0)
    assert found.flags.late.count == 2
    assert [row["offset"] for row in found.flags.duplicates.first] == [5, 9]
    silver = ["by_country", "by_client", "by_segment", "trends", "product_trends", "orders",
              "clients", "client_products"]  # fmt: skip
    assert {t.table: t.differing for t in found.tables} == dict.fromkeys(
        ["ledger.sales", *(f"silver.sales_{name}" for name in silver)], 0
    )
    assert all(t.rows == t.recomputed and t.source == 2 for t in found.tables)
    assert sum(t.rows for t in found.tables) > 80


def test_a_lost_row_is_missing_and_named(lake):
    without(lake, "bronze/sales", '"offset" = 4')
    found = proof(lake)
    assert found.verdict is Verdict.NOT_PROVEN
    assert found.account.missing == ({"partition": 0, "offset": 4},)
    assert "partition 0: 1 records of Kafka are in no table" in found.faults
    assert found.verdict.exit_code == Exit.FAULT


def test_a_lost_last_and_first_row_are_missing(lake):
    without(lake, "bronze/sales", '"offset" in (0, 9)')
    assert [row["offset"] for row in proof(lake).account.missing] == [0, 9]


def test_a_lost_quarantined_record_is_missing(lake):
    without(lake, "quarantine/sales", '"offset" = 3')
    assert proof(lake).account.missing == ({"partition": 0, "offset": 3},)


def test_markers_and_aborted_records_are_no_loss(lake):
    without(lake, "bronze/sales", '"offset" in (1, 6, 9)')
    found = proof(lake, Kafka(aborted=(1,), markers=(6, 9)))
    part = found.account.partitions[0]
    assert (part.missing, part.aborted, part.markers) == (0, 1, 2)
    assert [row["kind"] for row in found.account.set_apart] == ["aborted", "markers", "markers"]
    assert not any("no table" in fault for fault in found.faults)


def test_what_kafka_has_expired_is_kept_and_no_doubt(lake):
    found = proof(lake, Kafka(beginning=5))
    assert found.verdict is Verdict.PROVEN
    assert found.account.partitions[0].kept == 5


def test_a_gap_that_kafka_has_expired_cannot_be_told(lake):
    without_fingerprints(path(lake, "quarantine/sales"))
    without(lake, "quarantine/sales", '"offset" = 3')
    kafka = Kafka(beginning=5)
    found = proof(lake, kafka)
    assert found.verdict is Verdict.CANNOT_TELL
    assert found.verdict.exit_code == Exit.NO_TABLE
    assert kafka.asked == []
    assert found.account.partitions[0].expired == 1


def test_a_gap_across_the_beginning_is_cut_there(lake):
    without(lake, "bronze/sales", '"offset" in (4, 5, 6)')
    kafka = Kafka(beginning=5)
    found = proof(lake, kafka)
    assert kafka.asked == [Gap(0, 5, 7)]
    assert (found.account.partitions[0].expired, found.account.partitions[0].missing) == (1, 2)


def test_records_that_expired_before_they_landed_cannot_be_told(lake):
    assert "2 offsets expired" in proof(lake, Kafka(beginning=12, end=15)).doubts[0]


def test_bronze_ahead_of_kafka_is_a_fault(lake):
    assert "and Kafka ends at 8" in proof(lake, Kafka(end=8)).faults[0]


def test_a_topic_rebuilt_cannot_be_told(lake):
    found = proof(lake, Kafka(topic_id="t2"))
    assert found.verdict is Verdict.CANNOT_TELL
    assert "recreated" in found.doubts[0]


@pytest.mark.parametrize("say", ["missing", "down"])
def test_without_kafka_it_cannot_be_told(lake, say):
    def topic():
        if say == "down":
            raise ServiceUnavailable("Kafka at x", "no answer", "start it")

    found = audit("sales", lake.settings, Broker(topic, Kafka().judge), NOW, lambda _: None)
    assert found.verdict is Verdict.CANNOT_TELL
    assert found.account.partitions[0].beginning is None
    without(lake, "bronze/sales", '"offset" = 4')
    found = audit("sales", lake.settings, Broker(topic, Kafka().judge), NOW, lambda _: None)
    assert found.account.partitions[0].unknown == 1


def test_a_row_twice_in_bronze_is_doubled(lake):
    def twice(rows):
        return pa.concat_tables([rows, rows.filter(pc.equal(rows["offset"], 4))])

    rewrite(lake, "bronze/sales", twice)
    found = proof(lake)
    assert found.account.doubled == (
        {"partition": 0, "offset": 4, "bronze": 2, "quarantine": 0},
    )  # fmt: skip
    assert "partition 0: 1 addresses are held more than once" in found.faults


def test_an_address_in_both_tables_is_doubled(lake):
    rewrite(lake, "quarantine/sales", put("offset", ("offset", 3), 4))
    found = proof(lake)
    assert found.account.doubled == (
        {"partition": 0, "offset": 4, "bronze": 1, "quarantine": 1},
    )  # fmt: skip
    assert [row["offset"] for row in found.account.missing] == [3]


def of_an_earlier_release(lake):
    for table in ("bronze/sales", "quarantine/sales"):
        without_fingerprints(path(lake, table))


def replayed(lake, version):
    def marked(rows):
        copy = put("offset", ("offset", 3), 4)(rows)
        rows = pa.concat_tables([rows, copy])
        return put("replayed_version", ("offset", 4), version)(rows)

    rewrite(lake, "quarantine/sales", marked)


@pytest.mark.parametrize(
    ("version", "verdict"), [(2, Verdict.PROVEN), (3, Verdict.PROVEN), (None, Verdict.NOT_PROVEN)]
)  # fmt: skip
def test_a_marked_record_that_bronze_has_counts_there(lake, version, verdict):
    of_an_earlier_release(lake)
    replayed(lake, version)
    assert proof(lake).verdict is verdict


def test_what_quarantine_took_above_the_ends_is_left_over(lake):
    of_an_earlier_release(lake)
    rewrite(
        lake, "quarantine/sales",
        lambda rows: pa.concat_tables([rows, put("offset", ("offset", 3), 10)(rows)]),
    )  # fmt: skip
    found = proof(lake, Kafka(end=11))
    assert found.verdict is Verdict.PROVEN
    assert found.account.leftover == 1


def test_bronze_rows_above_the_ends_and_of_another_topic_are_faults(lake):
    def more(rows):
        last = rows.filter(pc.equal(rows["offset"], 9))
        return pa.concat_tables(
            [rows, put("offset", ("offset", 9), 99)(last), put("topic", ("offset", 9), "x")(last)]
        )

    rewrite(lake, "bronze/sales", more)
    faults = " ".join(proof(lake).faults)
    assert "1 rows of bronze lie above the ends" in faults
    assert "1 rows of bronze are of another topic" in faults


WRONG = (
    [
        ("by_country", "net_revenue", ("country", "France"), Decimal("5.0001")),
        ("by_client", "favourite_product", ("client_id", "c1"), "p2"),
        ("by_segment", "orders", ("segment", "B2B"), 2),
        ("trends", "orders", ("value", "B2B"), 9),
    ],
    [
        ("by_country", "clients", ("country", "Germany"), 7),
        ("by_client", "first_sale", ("client_id", "c1"), NOW),
        ("product_trends", "product_name", ("product_id", "p1"), "cup"),
        ("client_products", "units", ("product_id", "p2"), 4),
    ],
    [("by_country", "average_basket", ("country", "Germany"), Decimal("1.0000"))],
)
"""Of a table once an audit, which compares each table by itself."""


@pytest.mark.parametrize("values", WRONG)
def test_one_wrong_value_is_found_and_named(lake, values):
    for table, column, where, value in values:
        rewrite(lake, f"silver/sales_{table}", put(column, where, value))
    found = proof(lake)
    wrong = {t.table: t.first for t in found.tables if t.differing}
    assert sorted(wrong) == sorted(f"silver.sales_{table}" for table, *_ in values)
    for table, column, where, value in values:
        first = wrong[f"silver.sales_{table}"]
        assert {row["column"] for row in first} == {column}
        assert {row["held"] for row in first} == {value}
        assert where[1] in first[0]["key"].values()
    assert found.verdict is Verdict.NOT_PROVEN


@pytest.mark.parametrize(
    ("column", "value"), [("late", 7), ("duplicates", 0), ("most_late_us", 1), ("last_late", NOW)]
)
def test_a_wrong_ledger_is_found(lake, column, value):
    rewrite(lake, "ledger/sales", put(column, ("batch_id", 1), value))
    found = proof(lake)
    assert [(t.table, t.differing) for t in found.tables if t.differing] == [("ledger.sales", 1)]
    assert found.tables[-1].first[0]["column"] == column
    assert found.verdict is Verdict.NOT_PROVEN
    assert "ledger.sales: 1 rows are not what bronze gives" in found.faults


def test_a_row_too_many_and_one_too_few(lake):
    for table in ("orders", "clients", "by_client", "trends"):
        rewrite(
            lake, f"silver/sales_{table}",
            lambda rows: pa.concat_tables([rows.slice(1), rows.slice(rows.num_rows - 1)]),
        )  # fmt: skip
    found = [t for t in proof(lake).tables if t.differing]
    assert len(found) == 4
    for wrong in found:
        assert wrong.differing == 2
        kinds = {(row["column"], row["held"], row["recomputed"]) for row in wrong.first}
        assert kinds == {("(rows too many)", 1, 0), ("(rows lacking)", 0, 1)}


def test_a_wrong_late_mark_is_found(lake):
    rewrite(lake, "bronze/sales", put("is_late", ("event_id", "g"), False))
    found = proof(lake)
    assert [row["event_id"] for row in found.flags.wrong_late.first] == ["g"]
    assert "1 events are marked late, or not late, wrongly: lakehouse remark sales" in found.faults


@pytest.mark.parametrize(("offset", "marked"), [(5, False), (1, True)])
def test_a_wrong_copy_mark_is_found(lake, offset, marked):
    rewrite(lake, "bronze/sales", put("is_duplicate", ("offset", offset), marked))
    found = proof(lake)
    assert [row["offset"] for row in found.flags.wrong_duplicates.first] == [offset]
    assert (
        "1 events are marked as copies, or as no copies, wrongly: lakehouse remark sales"
        in found.faults
    )


def test_copies_in_any_order_and_distance_are_marked_as_landing_marks_them(settings):
    lake = Lake(settings)
    hours = [0.0, 0.9, 1.8, 5.0, 5.5, 4.6, 3.5, 0.2]
    values = encode(*[sale(event_id="a", order_id=f"o{n}") for n in range(len(hours))])
    for first, last in ((0, 3), (3, 5), (5, 8)):
        times = [NOW + timedelta(hours=h) for h in hours[first:last]]
        lake.land(values[first:last], first, times=times)
    lake.fold()
    found = proof(lake, Kafka(end=8))
    assert found.verdict is Verdict.PROVEN
    assert found.flags.beyond_horizon.first[0]["times_counted"] == 8 - found.flags.duplicates.count


def test_silver_behind_bronze_is_compared_at_its_own_version(lake):
    lake.land(encode(sale(event_id="h", order_id="o9")), 10)
    found = proof(lake, Kafka(end=11))
    assert found.verdict is Verdict.PROVEN
    assert {(t.source, t.behind) for t in found.tables} == {(2, 1)}


def test_finer_tables_that_were_not_written_back_yet_hold_nothing(settings):
    lake = Lake(settings)
    lake.land(events(), 0)
    lake.silver.catch_up()
    found = proof(lake, Kafka(end=7))
    assert found.verdict is Verdict.PROVEN
    assert {t.source for t in found.tables} == {-1, 1}


def test_bronze_alone_cannot_tell_of_silver(settings, tmp_path):
    lake = Lake(settings)
    lake.land(events(), 0)
    Path(path(lake, "silver")).rename(tmp_path / "gone")
    found = proof(lake, Kafka(end=7))
    assert found.verdict is Verdict.CANNOT_TELL
    assert len(found.doubts) == 8


def test_silver_of_another_bronze_cannot_be_told(lake):
    uri = path(lake, "silver/sales_by_segment")
    note = {"source": {"table": "bronze.sales", "id": "x", "version": 2}}
    write_deltalake(
        uri, DeltaTable(uri).to_pyarrow_table(), mode="overwrite",
        commit_properties=CommitProperties(custom_metadata={"userMetadata": json.dumps(note)}),
    )  # fmt: skip
    assert "another bronze table, with id x" in proof(lake).doubts[0]


def test_no_bronze_is_said(settings):
    with pytest.raises(TableMissing, match=r"bronze\.sales"):
        audit("sales", settings, Kafka().broker(), NOW, lambda _: None)


def test_an_empty_lake_is_proven(settings):
    lake = Lake(settings)
    assert proof(lake, Kafka(end=0)).verdict is Verdict.PROVEN


def test_every_list_is_capped_and_its_count_is_whole(settings):
    lake = Lake(settings)
    lake.land(encode(*[sale(event_id=f"e{n}", order_id=f"o{n}") for n in range(200)]), 0)
    lake.silver.catch_up()
    without(lake, "bronze/sales", '"offset" % 2 = 1 and "offset" < 100')
    found = proof(lake, Kafka(end=200))
    assert (len(found.account.missing), found.account.partitions[0].missing) == (20, 50)


def test_ends_are_found_where_the_log_no_longer_says_them(lake):
    table = DeltaTable(path(lake, "bronze/sales"))
    table.create_checkpoint()
    for entry in Path(path(lake, "bronze/sales"), "_delta_log").glob("*.json"):
        entry.unlink()
    found = proof(lake)
    assert found.account.partitions[0].end == 10


def test_the_proof_is_kept_and_shown(lake):
    found = proof(lake)
    assert keep(found, lake.settings) == 1
    broken = replace(found, open_questions=("the broker has no topic 'x\x1b[1m'",))
    keep(broken, lake.settings)
    rows = duckdb.from_arrow(DeltaTable(path(lake, "audit/sales")).to_pyarrow_table())
    kept = rows.order("verdict").select("verdict, bronze, late").fetchall()
    assert kept == [("CANNOT TELL", 9, 2), ("PROVEN", 9, 2)]
    text = render(broken, 132, color=False)
    assert text.startswith("CANNOT TELL: 10 of 10 records")
    assert "sales at bronze version 2: 9 in bronze, 1 in quarantine, 9 tables" in text
    assert "\x1b" not in text
    whole = json.loads(as_json(found.as_dict()))
    assert whole["verdict"] == "PROVEN"
    assert whole["flags"]["late"]["first"][0]["event_time"] == "2026-11-20T09:59:00+00:00"
