"""Activity: its contract, its producer, and what of both ends in the lake."""

import gzip
import itertools
import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from lakehouse.audit.extent import Content
from lakehouse.core.errors import UsageError
from lakehouse.explorer.named_checks import seen
from lakehouse.ingest.ledger import Ledger
from lakehouse.ingest.verdict import explain
from lakehouse.model.contract import Record
from producers.activity.faults import FAULTS
from producers.activity.generator import LATE_MARK, Sent, Shares
from producers.activity.replay import mapping, read
from producers.activity.visits import Visits
from tests.conftest import NOW, RULES
from tests.support.activity import ACTIVITY, Lake, decoded, did
from tests.support.product_lake import proof_of

END = datetime(2026, 11, 20, 12, tzinfo=UTC)


def ids(*values):
    return decoded(values, first=5, partition=1)["event_id"].to_pylist()


def test_without_an_id_the_address_is_it():
    bare = did("10:00")
    [own] = ids(bare)
    assert own.startswith("1-5-")
    assert ids(bare, bare)[1].startswith("1-6-")
    assert ids(did("10:00", event_id=None)) == [own]
    assert ids(did("10:00", event_id="e1"), b" \n" + did("10:00", event_id="e2")) == ["e1", "e2"]
    assert ids(did("10:00", page='"event_id": null', event_id="e3")) == ["e3"]
    assert ids(did("10:00", page="event_id null")) == [own]
    escaped = did("10:00", event_id="e4").replace(b"event_id", b"event\\u005fid")
    assert ids(escaped) == ["e4"]


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (did("10:00", what="scroll"), "'event_type' is"),
        (did("10:00", user=""), "'user_id' is empty"),
        (did("10:00", event_id=7), "'event_id' must be text"),
        (b"{}", "'event_time' is missing"),
        (b"[]", "is not a JSON object"),
        (b"", "is empty"),
        (b'{"event_id": null', "is not valid JSON"),
        (None, "null (a tombstone)"),
    ],
)
def test_what_breaks_the_contract(value, verdict):
    [told] = decoded([value])["verdict"].to_pylist()
    assert verdict in told


def test_an_event_without_an_id_that_is_read_twice_counts_once(settings):
    lake = Lake(settings)
    lake.land(did("10:00"), did("10:00"), did("10:01", event_id="e"), did("10:01", event_id="e"))
    lake.parquet.catch_up()
    assert [row[3] for row in lake.windows()] == [2, 1]
    names = sorted(p.parent.name for p in lake.parquet.folder.glob("*/*.parquet"))
    assert names == ["event_date=2026-11-20"]


def sent(count, shares, seed=3):
    users = Visits(seed, users=200, pages=50)
    return [*Sent(seed, "run", shares).messages(users.history(count, END, hours=6))]


def test_the_same_seed_gives_the_same_events_and_all_keep_the_contract():
    shares = Shares(late=0.02, out_of_order=0.1, duplicates=0.05)
    messages = sent(3000, shares)
    assert [m.value for m in messages] == [m.value for m in sent(3000, shares)]
    assert len(messages) - sum(m.kind == "duplicate" for m in messages) == 3000
    told = {explain(Record(m.key, m.value, None, END), ACTIVITY, RULES).verdict for m in messages}
    assert told == {None}
    assert messages[-1].event_time <= END


def test_somebody_new_is_found_among_many_who_are_there():
    class Counting(set):
        asked = 0

        def __contains__(self, user):
            Counting.asked += 1
            return super().__contains__(user)

    visits = Visits(7, 40_000, 10)
    visits._busy = Counting()
    done = list(itertools.islice(visits.now(1_000), 1))
    assert done
    assert len(visits._busy) >= 19_999
    assert Counting.asked < 64 * 20_000


def test_late_events_are_sent_after_what_happened_minutes_later_and_others_within_the_delay():
    newest = datetime.min.replace(tzinfo=UTC)
    for message in sent(3000, Shares(late=0.02, out_of_order=0.1)):
        behind = newest - message.event_time if newest > message.event_time else timedelta(0)
        newest = max(newest, message.event_time)
        assert (behind >= timedelta(minutes=9)) == (message.kind == "late")
        assert (LATE_MARK.encode() in message.value) == (message.kind == "late")
        if message.kind == "good":
            assert behind <= timedelta(0)
        assert message.kind == "late" or behind <= timedelta(seconds=90)


def test_users_are_believable():
    events = [*Visits(5, users=300, pages=50).history(4000, END, hours=24)]
    kinds = {kind: sum(e.type == kind for e in events) for kind in {e.type for e in events}}
    assert set(kinds) == {"page_view", "click", "session_start", "session_end"}
    assert kinds["session_start"] > kinds["session_end"] > 0.4 * kinds["session_start"]
    pages = sorted(sum(e.page == p for e in events) for p in {e.page for e in events})
    assert pages[-1] > 10 * pages[0]
    by_hour = [sum(e.time.hour == hour for e in events) for hour in range(24)]
    assert by_hour[20] > 4 * by_hour[3]


def test_every_fault_breaks_the_contract():
    event = json.loads(did("10:00", event_id="e"))
    values = [fault(event) for fault in FAULTS.values()]
    told = [explain(Record(None, value, None, NOW), ACTIVITY, RULES).verdict for value in values]
    assert all(told)


def test_another_sites_lines_are_replayed(tmp_path):
    path = tmp_path / "edits.json.gz"
    lines = [
        {"time": "2015-09-12T00:46:58.771Z", "actor": {"login": "GELongstreet"}, "page": "Talk:Ä"},
        {"time": "2015-09-12T00:47:00", "actor": {"login": "x"}, "page": "P", "kind": "click"},
        {"time": "2015-09-12T00:47:01Z", "actor": {}, "page": "P"},
    ]
    path.write_bytes(gzip.compress(b"\n".join(json.dumps(x).encode() for x in lines) + b"\n{oops"))
    fields = mapping(["user_id=actor.login", "page_url=page event_time=time", "event_type=kind"])
    messages = [*read(path, fields)]
    assert [m.kind for m in messages] == ["good", "good", "corrupt:line", "corrupt:line"]
    rows = decoded([m.value for m in messages]).to_pylist()
    assert [r["verdict"] is None for r in rows].count(True) == 2
    assert (rows[0]["user_id"], rows[0]["page_url"], rows[0]["event_type"]) == (
        "GELongstreet", "Talk:Ä", "page_view",
    )  # fmt: skip
    assert rows[1]["event_type"] == "click"
    assert messages[0].key == b"GELongstreet"


@pytest.mark.parametrize("word", ["user=x", "user_id", "user_id="])
def test_a_map_that_says_nothing_is_refused(word):
    with pytest.raises(UsageError, match="is no field of the event"):
        mapping([word])


def test_the_verification_is_the_audit_by_named_checks(settings):
    lake = Lake(settings)
    lake.land(did("10:00"), did("10:10", "bob"), b"{")
    lake.land(did("10:00:30"))
    lake.silver.persist()
    lake.parquet.catch_up()
    ledger = Ledger.at_bronze("activity", settings, lake.connection)
    ledger.catch_up()
    ledger.persist()
    proof = proof_of("activity", settings, lake.next, Content.NONE)
    checks = {check.name: check for check in seen(proof, "run", "again")}
    assert len(checks) >= 10
    tables = {"page_view_counts", "active_users", "user_sessions"}
    assert {f"silver.activity_{t}" for t in tables} <= checks.keys()
    away = {name for name in checks if name.startswith(("postgres.", "kafka."))}
    assert len(away) == 4  # no Postgres and no broker are here: the sinks fail, and nothing else
    failed = {name for name, check in checks.items() if not check.ok}
    assert failed - {"versions", "audit"} == away, checks
    assert checks["late events"].detail.startswith("1 late, 0 sent twice")


def test_the_logs_bounds_hold_for_texts_beyond_the_basic_plane(settings):
    """delta-rs reads a character above U+FFFF wrongly where the log has it escaped."""
    lake, page = Lake(settings), "\U0002028e\u8a71"
    lake.land(did("10:00", page=page))
    lake.silver.persist()
    for table in (lake.bronze.bronze, lake.silver.tables["page_view_counts"]):
        [told] = pa.table(DeltaTable(table.uri).get_add_actions(flatten=True))["max.page_url"]
        assert told.as_py() == page
