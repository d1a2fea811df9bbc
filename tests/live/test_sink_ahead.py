"""Sinks that are handed sessions before silver's table has them, and what ends it."""

import json
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC

import psycopg
import pytest

from lakehouse.audit.pins import Snapshots, engine
from lakehouse.audit.postgres_sink import compare_postgres
from lakehouse.core.errors import LakehouseError, TableDamaged
from lakehouse.explorer.status import _held
from lakehouse.model.sink import KafkaSink, PostgresSink
from lakehouse.products.registry import products
from lakehouse.silver.handed import Handed
from lakehouse.sinks.kafka import KafkaWriter
from lakehouse.sinks.kafka_records import messages
from lakehouse.sinks.postgres import PostgresWriter
from lakehouse.sinks.postgres_transfer import Transfer
from tests.support.activity import Lake, did
from tests.support.engine import connected

pytestmark = pytest.mark.live
SINK = next(f for f in products()["activity"].flows if isinstance(f, PostgresSink))
ENRICHED = next(f for f in products()["activity"].flows if isinstance(f, KafkaSink))
SESSIONS = SINK.into[2]
SAID = "user_id, session_start, session_end, pages, clicks, ended, is_final"


def refused(*_):
    raise TableDamaged("bronze", "a file is gone", "")


class Sunk(Lake):
    """A lake of activity, and its sink in the process of silver."""

    def restart(self):
        """Both again, as after a kill: what was handed is gone."""
        super().restart()
        self.handed = self.silver.handed = Handed([*SINK.handed, *ENRICHED.handed])
        if "sink" in vars(self):
            self.sink.close()
        self.sink = PostgresWriter(SINK, self.settings, connected(self.settings), self.handed)

    def hold(self):
        """From here on the table of sessions has no turn; nor has any other."""
        self.silver._publishing.turns.due = lambda *_: False

    def ask(self, sql):
        with closing(psycopg.connect(self.settings.postgres.url, autocommit=True)) as connection:
            done = connection.execute(sql)
            return done.fetchall() if done.description else []

    def held(self):
        """Silver's version, bronze's with it, bronze's ahead of it, and keys that are ahead."""
        [row] = self.ask(
            "SELECT silver_version, bronze_version, ahead_version FROM lakehouse_sink "
            "WHERE table_name = 'user_sessions'"
        )
        [(keys,)] = self.ask("SELECT count(DISTINCT key) FROM lakehouse_sink_ahead")
        return (*row, keys)

    def sent(self):
        """Rows in Postgres: the user, start and end by the clock, and what is counted."""
        found = self.ask(f"SELECT {SAID} FROM user_sessions ORDER BY 1, 2")
        return [
            (row[0], *(f"{moment.astimezone(UTC):%H:%M}" for moment in row[1:3]), *row[3:])
            for row in found
        ]

    def compared(self):
        """What the audit says of the sessions: rows, keys left out, keys that differ."""
        with engine(self.settings) as connection:
            snapshots = Snapshots(self.settings.lake.root, connection)
            bronze = snapshots.pin("bronze", "bronze.activity")
            *windows, found = compare_postgres(snapshots, SINK, self.settings, bronze)
        assert all(one.rows and not one.differing for one in windows)
        assert all((one.doubt, one.fault) == ("", "") for one in (*windows, found))
        return found.rows, found.ahead, found.differing

    def assert_level(self):
        """Postgres has what silver has, and nothing is ahead."""
        self.silver.persist()
        self.sink.catch_up()
        told = {row["user_id"]: 0 for row in self.rows(SESSIONS.source)}
        assert self.compared() == (len(self.rows(SESSIONS.source)), 0, 0)
        assert {row[0] for row in self.sent()} == told.keys()
        assert self.held()[2:] == (None, 0)


@pytest.fixture
def lake(settings, database):
    lake = Sunk(settings.with_postgres(database))
    lake.land(did("10:00"), did("10:01", "bob"), did("10:05", "eve"))
    lake.silver.persist()
    lake.sink.catch_up()
    yield lake
    lake.sink.close()


def test_sessions_are_sent_before_silvers_table_has_them(lake):
    assert lake.held() == (1, 1, None, 0)
    lake.hold()
    lake.land(did("10:04"), did("10:06", "dan"))
    lake.land(did("10:05"), did("10:05", "dan"))  # out of order: dan's session begins earlier
    lake.sink.catch_up()
    assert lake.held() == (1, 1, 3, 3)  # ada, and both of dan's starts
    assert lake.sent() == [
        ("ada", "10:00", "10:05", 3, 0, "open", False),
        ("bob", "10:01", "10:01", 1, 0, "open", False),
        ("dan", "10:05", "10:06", 2, 0, "open", False),
        ("eve", "10:05", "10:05", 1, 0, "open", False),
    ]
    assert _held(SESSIONS, lake.settings).version == 3
    assert lake.compared() == (2, 3, 0)
    lake.ask("UPDATE user_sessions SET pages = 9 WHERE user_id = 'bob'")
    assert lake.compared() == (2, 3, 1)
    lake.ask("UPDATE user_sessions SET pages = 1 WHERE user_id = 'bob'")

    # what silver publishes is there already: no row is sent again
    before = lake.ask("SELECT user_id, xmin::text FROM user_sessions ORDER BY 1")
    lake.assert_level()
    assert lake.ask("SELECT user_id, xmin::text FROM user_sessions ORDER BY 1") == before

    # silver's table has a part of it: the rest is still ahead
    lake.land(did("10:06"))
    lake.sink.catch_up()
    lake.silver._publishing.everything(lake.silver.applied["state"])
    lake.land(did("10:07", "bob"))
    lake.sink.catch_up()
    assert lake.held()[1:] == (4, 5, 1)
    assert lake.compared() == (3, 1, 0)
    lake.assert_level()


def test_rows_that_a_rule_keeps_are_not_taken_for_gone(lake):
    lake.land(did("10:06", "dan"))
    lake.sink.catch_up()
    lake.ask("CREATE RULE keeps AS ON DELETE TO user_sessions DO INSTEAD NOTHING")
    lake.land(did("10:05", "dan"))  # dan's session begins earlier: what began at 10:06 is gone
    with pytest.raises(LakehouseError, match="user_sessions: kept rows that are gone"):
        lake.sink.catch_up()
    lake.ask("DROP RULE keeps ON user_sessions")
    lake.assert_level()


def test_windows_are_sent_as_their_turn_made_them(lake, monkeypatch):
    def held():
        return lake.ask("SELECT DISTINCT bronze_version, ahead_version FROM lakehouse_sink")

    def views():
        return lake.ask("SELECT page_url, sum(views) FROM page_view_counts GROUP BY 1 ORDER BY 1")

    with monkeypatch.context() as patch:
        patch.setattr(Transfer, "send", lambda *_: pytest.fail("it read the table's files"))
        lake.land(did("10:05", page="/b"), did("10:06", "bob"))
        lake.sink.catch_up()
        assert (held(), views()) == ([(2, None)], [("/a", 4), ("/b", 1)])
        for clock in ("10:06", "10:07", "10:09"):  # the last one closes windows
            lake.land(did(clock, "bob"))
        lake.sink.catch_up()
        assert (held(), views()) == ([(5, None)], [("/a", 7), ("/b", 1)])
        lake.assert_level()

        # a turn that came between: what it made is sent, and then the version is said
        versions = lake.sink._silver[SINK.into[0]]
        old = versions.newest()
        lake.land(did("10:10", "bob"))
        patch.setattr(versions, "newest", lambda: old)
        lake.sink.catch_up()
        assert sorted(held()) == [(5, 6), (6, None)]
        patch.delattr(versions, "newest")
        lake.assert_level()
    lake.handed._pieces[SINK.into[0].source].clear()
    lake.land(did("10:11", "bob"))
    lake.handed._pieces[SINK.into[0].source].clear()
    lake.assert_level()


def test_what_was_ahead_is_put_right_after_a_kill(lake):
    lake.hold()
    lake.land(did("10:07", "dan"), did("10:06"))
    lake.sink.catch_up()
    assert lake.held() == (1, 1, 2, 2)
    lake.restart()
    lake.hold()
    lake.sink.catch_up()  # silver's table is older: it is waited for
    lake.land(did("10:06", "dan"))
    lake.sink.catch_up()
    assert lake.held() == (1, 1, 2, 2)
    lake.assert_level()  # dan's session of 10:07 came and went between two versions of silver
    assert [row[:3] for row in lake.sent() if row[0] == "dan"] == [("dan", "10:06", "10:07")]

    # a gap, as after Postgres was away: the table is followed
    lake.hold()
    lake.land(did("10:30", "dan"))
    lake.sink.catch_up()
    assert lake.held()[2] == 4
    lake.handed._pieces[SESSIONS.source].clear()
    lake.land(did("10:31", "dan"))
    lake.land(did("10:32", "eve"))
    lake.handed._pieces[SESSIONS.source].popleft()
    lake.sink.catch_up()
    assert lake.held()[2] == 4
    lake.assert_level()

    # nobody knows what was ahead: refilled
    lake.hold()
    lake.land(did("10:40", "dan"))
    lake.sink.catch_up()
    lake.ask("DELETE FROM lakehouse_sink_ahead; DELETE FROM user_sessions WHERE user_id = 'eve'")
    lake.restart()
    lake.sink.catch_up()
    lake.assert_level()
    lake.hold()
    lake.land(did("10:41", "dan"))
    lake.sink.catch_up()
    lake.ask("UPDATE lakehouse_sink SET ahead_time = 1, ahead_version = 99 WHERE ahead_time > 0")
    lake.restart()
    lake.assert_level()


def test_the_enriched_topic_is_sent_what_folds_left_and_nothing_twice(lake, kafka, tmp_path):
    settings = lake.settings.with_kafka(kafka)
    sink = replace(ENRICHED, topic=f"ahead-{tmp_path.name}", setting="")
    topic = KafkaWriter(sink, settings, connected(settings), lake.handed)

    def sent(count):
        """Offset → session; a transaction is seen in all partitions a moment after its commit."""
        deadline, told = time.monotonic() + 120, []
        while len(told) < count and time.monotonic() < deadline:
            found = (one for part in messages(settings.kafka, sink.topic) for one in part)
            told = [json.loads(one.value()) for one in found]
        assert len({e["offset"] for e in told}) == len(told) == count
        return {e["offset"]: (e["session_start"] or "")[11:16] for e in told}

    topic.catch_up()
    first = {0: "10:00", 1: "10:01", 2: "10:05"}
    assert sent(3) == first
    lake.hold()
    lake.land(did("10:06", "dan"), did("10:05", "dan"), did("10:06"))
    lake.land(did("09:00", "late"))
    topic.catch_up()
    assert topic.version == 3
    assert sent(7) == {**first, 3: "10:05", 4: "10:05", 5: "10:00", 6: ""}

    # after a kill silver's table is waited for; a refill, too
    topic.close()
    topic = KafkaWriter(sink, settings, connected(settings), Handed(sink.handed))
    topic.catch_up()
    with pytest.raises(LakehouseError, match=r"run activity\.silver first"):
        topic.refill()
    lake.land(did("10:07", "dan"))
    topic.catch_up()
    assert (topic.version, len(sent(7))) == (3, 7)
    lake.silver.persist()
    topic.catch_up()
    assert (topic.version, sent(8)[7]) == (4, "10:05")
    assert topic.refill() == 0

    # where all of bronze is to be sent, what folds left is not enough: the table is waited for
    topic._handed = lake.handed
    lake.hold()
    lake.land(did("10:08", "dan"))
    topic.steps = refused
    topic.catch_up()
    assert topic.version == 4
    lake.silver.persist()
    topic.catch_up()
    assert (topic.version, sent(9)[8]) == (5, "10:05")
    topic.close()
