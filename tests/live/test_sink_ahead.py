"""A Postgres sink that is handed sessions before silver's table has them, and what ends it."""

from contextlib import closing
from datetime import UTC

import psycopg
import pytest

from lakehouse.audit.pins import Snapshots, engine
from lakehouse.audit.postgres_sink import compare_postgres
from lakehouse.explorer.status import _held
from lakehouse.model.sink import PostgresSink
from lakehouse.products.registry import products
from lakehouse.silver.handed import Handed
from lakehouse.sinks.postgres import PostgresWriter
from tests.support.activity import Lake, did
from tests.support.engine import connected

pytestmark = pytest.mark.live
SINK = next(f for f in products()["activity"].flows if isinstance(f, PostgresSink))
SESSIONS = SINK.into[2]
SAID = "user_id, session_start, session_end, pages, clicks, ended, is_final"


class Sunk(Lake):
    """A lake of activity, and its sink in the process of silver."""

    def restart(self):
        """Both anew, as after a kill: what was handed is gone."""
        super().restart()
        self.handed = self.silver.handed = Handed([SESSIONS.source])
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
            found = compare_postgres(snapshots, SINK, self.settings, bronze)[2]
        assert (found.doubt, found.fault) == ("", "")
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

    # nobody knows what was ahead: filled anew
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
