"""The audit compares what rows say with Kafka's own bytes: a second writer's edits are named."""

from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from lakehouse.audit.extent import Content
from lakehouse.audit.proof import Verdict
from lakehouse.core.errors import ServiceUnavailable
from lakehouse.model.witness import Raw
from tests.conftest import encode, sale
from tests.support.audited import events, late_events, path
from tests.support.content import TIME, Topic, proof
from tests.support.lake import Lake, left_alone


@pytest.fixture
def lake(audited_root, settings):
    return left_alone(audited_root, settings)


def content(found):
    return next(c for c in found.checks if c.name == "content against Kafka")


def edit(lake, table, where="true", **columns):
    DeltaTable(path(lake, table)).update(updates=columns, predicate=where)


@pytest.mark.parametrize("how", [Content.ALL, Content.SAMPLE])
def test_a_lake_left_alone_is_proven_with_the_content_of_all(lake, how):
    found = proof(lake, content=how)
    assert (found.faults, found.doubts) == ((), ())
    assert found.headline == "PROVEN: 10 of 10 records, content of all"
    assert content(found).counts == {"records whose content was compared": 10}


def test_content_that_nobody_looked_at_is_said_to_be_so(lake):
    found = proof(lake, content=Content.NONE)
    assert found.headline == "PROVEN: 10 of 10 records, content not looked at"


EDITS = {
    "event_id": "'zz'", "event_time": "event_time + interval '1 microsecond'",
    "order_id": "'zz'", "client_id": "'zz'", "country": "'Spain'", "segment": "'B2B'",
    "product_id": "'zz'", "product_name": "NULL", "quantity": "7", "unit_price": "2.4999",
    "currency": "'USD'", "channel": "'app'", "extra": '\'{"x": 1}\'',
    "kafka_time": "kafka_time + interval '1 second'",
}  # fmt: skip


ROWS = (0, 1, 2, 5, 7, 8, 9)
"""Offsets of good records."""


@pytest.mark.parametrize("columns", [[*EDITS][:7], [*EDITS][7:]], ids=" ".join)
def test_a_changed_cell_of_bronze_is_named(lake, columns):
    """One cell of each row: a row is found by it alone."""
    changed = [*zip(ROWS, columns, strict=True)]
    for offset, column in changed:
        edit(lake, "bronze/sales", f'"offset" = {offset}', **{column: EDITS[column]})
    found = proof(lake)
    assert found.verdict is Verdict.NOT_PROVEN
    assert "content: 7 rows of bronze are not what Kafka's records say" in found.faults
    named = {(row["table"], row["offset"], row["column"]) for row in content(found).first}
    assert {("bronze", offset, column) for offset, column in changed} <= named


@pytest.mark.parametrize(
    ("column", "value"),
    [("key", "NULL"), ("value", "X'7b7b'"), ("kafka_time", "kafka_time + interval '1 second'")],
)
def test_changed_bytes_of_quarantine_are_named(lake, column, value):
    edit(lake, "quarantine/sales", **{column: value})
    found = proof(lake)
    assert "content: 1 rows of quarantine are not Kafka's bytes" in found.faults
    assert [(row["table"], row["column"]) for row in content(found).first] == [
        ("quarantine", column)
    ]


def test_changed_headers_of_quarantine_are_named(lake):
    table = DeltaTable(path(lake, "quarantine/sales"))
    rows = table.to_pyarrow_table()
    other = pa.array([[{"key": "h", "value": b"w"}]], rows.schema.field("headers").type)
    at = rows.schema.get_field_index("headers")
    write_deltalake(table, rows.set_column(at, rows.schema.field(at), other), mode="overwrite")
    assert [row["column"] for row in content(proof(lake)).first] == ["headers"]


def test_a_row_moved_to_quarantine_by_hand_is_no_difference_of_bytes(lake):
    """Verdicts by time or limits are not the witness's: only bytes are compared there."""
    edit(lake, "quarantine/sales", verdict="'another'")
    assert content(proof(lake)).faults == ()


def invent(lake, offset, **columns):
    table = DeltaTable(path(lake, "bronze/sales"))
    rows = table.to_pyarrow_table()
    row = rows.filter(pc.equal(rows["offset"], 1)).to_pylist()[0]
    row |= {"offset": offset, "event_id": "invented", **columns}
    write_deltalake(table, pa.Table.from_pylist([row], rows.schema), mode="append")


@pytest.mark.parametrize("how", list(Content))
def test_a_row_at_an_offset_that_kafka_never_gave_is_a_fault(lake, how):
    for offset in (-1, 10, 99):
        invent(lake, offset)
    faults = " ".join(proof(lake, content=how).faults)
    assert "3 rows of bronze are at offsets that Kafka never gave" in faults


@pytest.mark.parametrize("kind", ["aborted", "markers"])
def test_a_row_at_an_offset_without_a_committed_record_is_a_fault(lake, kind):
    kafka = Topic([*events(), *late_events()], **{kind: (4,)})
    found = proof(lake, kafka)
    assert found.faults == (
        "content: 1 rows are at offsets where Kafka has no committed record",
    )  # fmt: skip
    assert content(found).first[0]["offset"] == 4
    kafka.compacted = True
    found = proof(lake, kafka)
    assert (found.faults, found.verdict) == ((), Verdict.CANNOT_TELL)


def test_what_kafka_has_expired_is_counted_and_no_fault(lake):
    edit(lake, "bronze/sales", '"offset" = 2', country="'Spain'")
    kafka = Topic([*events(), *late_events()], beginning=5)
    found = proof(lake, kafka)
    assert content(found).faults == ()
    assert "content of 5 (5 have expired in Kafka)" in found.headline


def test_records_that_expire_while_they_are_read_are_no_fault(lake):
    class Expiring(Topic):
        def records(self, gaps):
            gaps = list(gaps)
            self.beginning = 5
            yield from (r for r in super().records(iter(())) if r)
            for gap in gaps:
                for offset in range(max(5, gap.first), gap.next):
                    yield Raw(0, offset, TIME, b"k", self.values[offset], [("h", b"v")])

    assert content(proof(lake, Expiring([*events(), *late_events()]))).faults == ()


def test_a_row_of_bronze_whose_record_is_no_plain_json_is_a_fault(lake):
    values = [*events(), *late_events()]
    values[4] = values[4].replace(b'"quantity": 2', b'"quantity": NaN')
    found = proof(lake, Topic(values))
    assert "content: 1 rows of bronze come from records that say no such event" in found.faults[0]
    assert "NaN is no JSON" in content(found).first[0]["kafka"]


def test_kafka_that_goes_away_leaves_the_rest_told(lake):
    class Gone(Topic):
        def records(self, gaps):
            raise ServiceUnavailable("Kafka at x", "no answer", "start it")

    found = proof(lake, Gone([*events(), *late_events()]))
    assert found.verdict is Verdict.CANNOT_TELL
    assert found.doubts == ("content: Kafka at x: no answer: start it",)


def test_extra_is_compared_as_json_and_numbers_as_they_are_written(settings):
    lake = Lake(settings)
    values = encode(sale(b=[1, {"y": "é", "x": None}], a="\u2028"), sale(event_id="e2"))
    values[1] = values[1][:-1] + b', "n": 1.50, "deep": ' + b"[" * 50 + b"]" * 50 + b"}"
    lake.land(values, 0)
    found = proof(lake, Topic(values))
    assert content(found).faults == ()
    assert content(found).counts == {"records whose content was compared": 2}
    edit(lake, "bronze/sales", '"offset" = 1', extra="replace(extra, '1.50', '1.5')")
    assert content(proof(lake, Topic(values))).first[0]["column"] == "extra"


def test_a_sample_is_spread_and_its_size_is_said(settings):
    lake = Lake(settings)
    values = encode(*[sale(event_id=f"e{n}", order_id=f"o{n % 9}") for n in range(9_000)])
    values[::100] = [b"{"] * 90
    lake.land(values, 0)
    lake.persist()
    found = proof(lake, Topic(values), Content.SAMPLE)
    counted = content(found).counts["records whose content was compared"]
    assert 4_000 <= counted <= 4_020
    assert found.headline == f"PROVEN: 9,000 of 9,000 records, content of {counted:,}"
    edit(lake, "bronze/sales", '"offset" % 50 = 7', unit_price="9.99")
    assert proof(lake, Topic(values), Content.SAMPLE).verdict is Verdict.NOT_PROVEN


def test_a_replayed_record_is_compared_in_both_tables(lake):
    edit(lake, "quarantine/sales", replayed_version="2", value="X'7b'")
    assert content(proof(lake)).faults == ()
    edit(lake, "quarantine/sales", value="X'7c'")
    assert "quarantine" in content(proof(lake)).faults[0]


def test_money_is_compared_to_the_last_place(lake):
    edit(lake, "bronze/sales", '"offset" = 1', unit_price="0.3334")
    row = content(proof(lake)).first[0]
    assert (Decimal(row["held"]), Decimal(row["kafka"])) == (Decimal("0.3334"), Decimal("0.3333"))


def test_what_a_crash_left_above_the_ends_does_not_stand_for_what_expired(settings, monkeypatch):
    lake, good = Lake(settings), encode(*[sale(event_id=str(n)) for n in range(5)])
    lake.land(good, 0)
    with monkeypatch.context() as patch:
        patch.setattr(lake.bronze.bronze, "append", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            lake.land([b"{", b"[", b"x"], 5)
    found = proof(lake, Topic([*good, b"{", b"[", b"x"], beginning=3))
    assert found.content.records == 2
    assert found.headline.endswith("content of 2 (3 have expired in Kafka)")
