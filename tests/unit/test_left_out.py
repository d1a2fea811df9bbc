"""A record beyond the limit of size is in quarantine by its address, size and hash alone."""

import json

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from confluent_kafka import Message
from deltalake import write_deltalake
from typer.testing import CliRunner

from lakehouse.audit.extent import Content
from lakehouse.audit.left_out import COUNTED
from lakehouse.audit.proof import Verdict
from lakehouse.cli.app import app
from lakehouse.ingest.decode import decode_batch, decoded_schema
from lakehouse.ingest.left_out import sha256
from lakehouse.ingest.reader.records import as_rows
from lakehouse.ingest.schemas import QUARANTINE_SCHEMA
from lakehouse.ingest.writers.arrow import ArrowWriter
from lakehouse.model.witness import Raw
from lakehouse.operations.quarantine import Choice
from lakehouse.operations.replay_quarantine import dry_run, replay
from tests.conftest import NOW, RULES, SALES, encode, sale
from tests.support.audited import path, put, rewrite
from tests.support.content import TIME, Topic, proof
from tests.support.lake import Lake

MIB = 2**20
GOOD = encode(sale())[0]
LARGE = GOOD[:-1] + b',"note":"' + b"x" * MIB + b'"}'
SENT = {
    "a value": (b"k", LARGE, [("h", b"v")]),
    "a key": (b"k" * (MIB + 1), GOOD, []),
    "no key": (None, LARGE, [("h", None)]),
    "a header": (b"k", GOOD, [("h", b"v" * MIB), ("ö", None)]),
    "headers": (b"k", GOOD, [("", b"")] * 20_000),
}


def rows(*sent, most=MIB):
    messages = [
        Message(topic="sales", partition=0, offset=n, key=k, value=v, headers=h,
                timestamp=(1, TIME))
        for n, (k, v, h) in enumerate(sent)
    ]  # fmt: skip
    batch = as_rows("sales", 0, messages, lambda *_: [], most)
    return pa.Table.from_batches(decode_batch(batch, SALES, RULES), decoded_schema(SALES))


SMALL = (b"k", GOOD, [("h", b"v")])


@pytest.mark.parametrize("kind", SENT)
def test_its_bytes_go_and_its_size_and_hash_stay(kind):
    key, value, headers = SENT[kind]
    [large, small] = sorted(rows(SMALL, SENT[kind]).to_pylist(), key=lambda row: -row["offset"])
    assert small["event_id"] == "e1"
    assert (large["key"], large["value"], large["headers"]) == (None, None, None)
    assert large["left_out_sha256"] == sha256(key, value, headers)
    assert large["verdict"].startswith("the record is larger than [bronze] max_record_mb allows: ")
    assert large["left_out_bytes"] > MIB
    assert len(large["verdict"]) < 200


def test_one_that_fits_is_whole():
    size = len(LARGE) + 1 + 64 + 2
    [row] = rows(SENT["a value"], most=size).to_pylist()
    assert (row["event_id"], row["verdict"]) == ("e1", None)
    [row] = rows(SENT["a value"], most=size - 1).to_pylist()
    assert row["left_out_bytes"] == size


class Given(Topic):
    """A broker that gives these records."""

    def records(self, gaps):
        for gap in gaps:
            for offset in range(gap.first, gap.next):
                yield Raw(0, offset, TIME, *self.values[offset])


@pytest.fixture
def lake(settings):
    lake = Lake(settings)
    ArrowWriter(lake.bronze).publish(rows(*SENTS), {0: len(SENTS)}, NOW)
    lake.fold()
    return lake


SENTS = [SMALL, *SENT.values(), (b"k", b"{", [])]


@pytest.mark.parametrize("how", [Content.ALL, Content.SAMPLE])
def test_the_audit_proves_it_and_counts_it(lake, how):
    found = proof(lake, Given(SENTS), how)
    assert (found.faults, found.doubts) == ((), ())
    assert found.headline.startswith("PROVEN so far: 7 of 7 records")
    assert found.headline.endswith("content of all")
    assert next(c.counts for c in found.checks if COUNTED in c.counts)[COUNTED] == 5


@pytest.mark.parametrize(
    ("column", "value"), [("left_out_sha256", "0" * 64), ("left_out_bytes", MIB * 9)]
)
def test_another_hash_or_size_is_named(lake, column, value):
    rewrite(lake, "quarantine/sales", put(column, ("offset", 2), value))
    found = proof(lake, Given(SENTS))
    assert found.verdict is Verdict.NOT_PROVEN
    assert "content: 1 rows of quarantine are not Kafka's bytes" in found.faults
    first = next(c.first for c in found.checks if c.name == "content against Kafka")
    assert [(row["offset"], row["column"]) for row in first] == [(2, column)]


def test_a_small_record_cannot_be_left_out(lake):
    def change(table):
        bare = pc.equal(table["offset"], 6)
        for name, value in (("left_out_bytes", 3), ("value", None)):
            place = table.schema.get_field_index(name)
            told = pc.if_else(bare, pa.scalar(value, table.field(name).type), table[name])
            table = table.set_column(place, name, told)
        return table

    rewrite(lake, "quarantine/sales", change)
    assert proof(lake, Given(SENTS)).verdict is Verdict.NOT_PROVEN


def test_a_replay_leaves_it_and_says_why(lake):
    looked = dry_run("sales", lake.settings, Choice())
    assert (looked.asked, looked.entered, looked.refused) == (6, 0, 6)
    done = replay("sales", lake.settings, Choice(), NOW)
    assert (done.entered, done.refused) == (0, 6)
    words = {row["verdict_now"] for row in done.changes}
    assert "the record is larger than [bronze] max_record_mb allows" in words
    lake.restart()
    assert proof(lake, Given(SENTS)).verdict is Verdict.PROVEN


def test_show_and_list_say_what_it_is(lake):
    root = ["--root", str(lake.settings.lake.root)]
    shown = CliRunner().invoke(app, ["quarantine", "show", "0/1", *root]).stdout
    size, hash_ = len(LARGE) + 1 + 64 + 2, sha256(*SENT["a value"])
    assert f"not kept      {size:,} bytes of key, value and headers" in shown
    assert hash_ in shown
    assert "null" not in shown
    listed = CliRunner().invoke(app, ["quarantine", "list", "--json", *root]).stdout
    [row] = [row for row in json.loads(listed)["sales"] if row["address"] == "sales/0/1"]
    assert (row["bytes"], row["beginning"], row["left_out_sha256"]) == (size, None, hash_)


def test_a_lake_of_an_earlier_release_goes_on(settings):
    lake = Lake(settings)
    ArrowWriter(lake.bronze).publish(rows((b"k", b"{", [])), {0: 1}, NOW)
    old = pa.schema([f for f in QUARANTINE_SCHEMA if not f.name.startswith("left_out")])
    kept = lake.bronze.quarantine.dt.to_pyarrow_table().select(old.names).cast(old)
    write_deltalake(path(lake, "quarantine/sales"), kept, mode="overwrite", schema_mode="overwrite")
    assert proof(lake, Given([(b"k", b"{", [])])).faults == ()
    assert dry_run("sales", lake.settings, Choice()).asked == 1
    lake.restart()
    sent = [(b"k", b"{", []), SENT["a value"]]
    new = rows(*sent).filter(pc.greater(rows(*sent)["offset"], 0))
    ArrowWriter(lake.bronze).publish(new, {0: 2}, NOW)
    assert proof(lake, Given(sent)).faults == ()
