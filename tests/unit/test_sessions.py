"""Sessions: events in, tables out; a function of one user's events in order of time."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from deltalake import DeltaTable

from lakehouse.core.paths import Lake as Place
from lakehouse.model.flow import SilverFlow
from lakehouse.products.activity.tables import PAGE_VIEW_COUNTS, USER_SESSIONS
from tests.support.activity import ACTIVITY, DAY, Lake, did

NOON = did("12:00", "zoe", "click")


@pytest.mark.parametrize(
    ("events", "sessions"),
    [
        pytest.param(
            [did("10:00", what="session_start"), did("10:01"), did("10:02", what="click"),
             did("10:03", what="session_end")],
            [("ada", "10:00:00", "10:03:00", 180.0, 1, 1, "end", True)],
            id="from its start to its end",
        ),
        pytest.param(
            [did("10:00"), did("10:30"), did("11:00:00.001")],
            [("ada", "10:00:00", "10:30:00", 1800.0, 2, 0, "timeout", True),
             ("ada", "11:00:00", "11:00:00", 0.0, 1, 0, "timeout", True)],
            id="a silence of the timeout goes on and a longer one ends it",
        ),
        pytest.param(
            [did("11:50")],
            [("ada", "11:50:00", "11:50:00", 0.0, 1, 0, "open", False)],
            id="open",
        ),
        pytest.param(
            [did("10:00", what="session_end"), did("10:01")],
            [("ada", "10:00:00", "10:00:00", 0.0, 0, 0, "end", True),
             ("ada", "10:01:00", "10:01:00", 0.0, 1, 0, "timeout", True)],
            id="an end alone, and what comes after it",
        ),
        pytest.param(
            [did("10:00"), did("10:05", what="session_start"), did("10:06")],
            [("ada", "10:00:00", "10:06:00", 360.0, 2, 0, "timeout", True)],
            id="a start within a session is an event like others",
        ),
        pytest.param(
            [did("10:00", what="session_end"), did("10:00"), did("10:00", what="session_end")],
            [("ada", "10:00:00", "10:00:00", 0.0, 1, 0, "end", True)],
            id="what happens at the moment of its end belongs to it",
        ),
        pytest.param(
            [did("10:00"), did("10:01", "bob"), did("10:02", "bob", "session_end")],
            [("ada", "10:00:00", "10:00:00", 0.0, 1, 0, "timeout", True),
             ("bob", "10:01:00", "10:02:00", 60.0, 1, 0, "end", True)],
            id="users apart",
        ),
    ],
)  # fmt: skip
def test_events_and_their_sessions(settings, events, sessions):
    lake = Lake(settings)
    lake.land(*events, NOON)
    assert lake.sessions()[:-1] == sessions
    assert lake.audited() == []
    backwards = Lake(settings.with_root(f"{settings.lake.root}-2"))
    backwards.land(NOON, *reversed(events))
    assert backwards.sessions()[:-1] == sessions


def test_an_event_in_between_makes_one_session_of_two(settings):
    lake = Lake(settings)
    lake.land(did("10:00"), did("10:40"))
    assert [row[1:3] for row in lake.sessions()] == [
        ("10:00:00", "10:00:00"), ("10:40:00", "10:40:00"),
    ]  # fmt: skip
    lake.land(did("10:39", what="click"), did("10:38:30", "bob"))
    assert [row[:3] for row in lake.sessions()] == [
        ("ada", "10:00:00", "10:00:00"),
        ("ada", "10:39:00", "10:40:00"),
        ("bob", "10:38:30", "10:38:30"),
    ]
    assert lake.audited() == []


def test_an_earlier_event_moves_the_start_and_the_old_row_goes(settings):
    lake = Lake(settings)
    lake.land(did("10:01:30"), did("10:02", what="session_end"), did("10:02:30"))
    lake.land(did("10:00:45"), did("10:02:15", what="session_end"))
    assert [row[1:7] for row in lake.sessions()] == [
        ("10:00:45", "10:02:00", 75.0, 2, 0, "end"),
        ("10:02:15", "10:02:15", 0.0, 0, 0, "end"),
        ("10:02:30", "10:02:30", 0.0, 1, 0, "open"),
    ]
    assert lake.audited() == []


def test_the_watermark_alone_closes_a_session_and_the_state_forgets_it(settings):
    lake = Lake(settings)
    lake.land(did("10:00"))
    lake.land(did("10:32", "bob"))
    assert lake.sessions()[0][-2:] == ("open", False)
    lake.land(did("10:32:00.000001", "bob"))
    assert lake.sessions()[0][-2:] == ("timeout", True)
    assert len([*lake.silver.kept.store.before("session user_sessions", b"\xff" * 32)]) == 1
    assert lake.audited() == []


def test_a_late_event_is_in_no_session(settings):
    lake = Lake(settings)
    lake.land(did("10:00"), did("11:00", "bob"))
    lake.land(did("10:10"))
    assert lake.sessions()[0] == ("ada", "10:00:00", "10:00:00", 0.0, 1, 0, "timeout", True)
    assert lake.audited() == []


def test_a_long_session_is_kept_as_few_pieces(settings):
    lake = Lake(settings)
    for minute in range(40):
        lake.land(did(f"10:{minute:02}"), did(f"10:{minute:02}:30", what="click"))
    [(_, value)] = lake.silver.kept.store.before("session user_sessions", b"\xff" * 32)
    assert value.count(b"[") < 20
    assert lake.sessions() == [("ada", "10:00:00", "10:39:30", 2370.0, 40, 40, "open", False)]
    assert lake.audited() == []


def test_a_store_that_is_lost_is_rebuilt_from_bronze(settings):
    lake = Lake(settings)
    lake.land(did("10:00"), did("10:01", what="click"), did("10:05", "bob", "session_end"))
    lake.silver.persist()
    lake.silver.kept.store.forget()
    lake.restart()
    lake.land(did("10:04"), did("10:03:30", what="session_end"))
    assert [row[:7] for row in lake.sessions()] == [
        ("ada", "10:00:00", "10:03:30", 210.0, 1, 1, "end"),
        ("ada", "10:04:00", "10:04:00", 0.0, 1, 0, "open"),
        ("bob", "10:05:00", "10:05:00", 0.0, 0, 0, "end"),
    ]
    assert lake.audited() == []


def test_tables_that_were_put_back_to_different_versions_close_no_session_early(settings):
    """The steps that one table lacks are not judged by the watermark after all of them."""
    short = replace(USER_SESSIONS, name="short", timeout=timedelta(minutes=1))
    flow = SilverFlow(ACTIVITY, (PAGE_VIEW_COUNTS,), sessions=(USER_SESSIONS, short))
    lake = Lake(settings.changed(silver={"max_rows_per_fold": 1}), flow)
    tables = [Place(settings.lake.root).table(name) for name in flow.tables[1:]]
    versions = []
    for events in (
        [did("10:00")],
        [did("10:02:30", "bob"), did("10:00:50")],
        [did("10:01:40"), did("10:10", "bob")],
        [did("10:09"), did("10:20", "bob")],
    ):
        lake.land(*events)
        lake.silver.persist()
        versions.append([DeltaTable(uri).version() for uri in tables])
    for uri, version in zip(tables, (versions[1][0], versions[0][1]), strict=True):
        DeltaTable(uri).restore(version)
    lake.restart()
    lake.silver.catch_up()
    assert lake.audited() == []


def test_another_timeout_makes_them_again(settings):
    lake = Lake(settings)
    lake.land(did("10:00"), did("10:10"), NOON)
    lake.silver.persist()
    starting = [["10:00:00", "12:00:00"], ["10:00:00", "10:10:00", "12:00:00"]]
    for minutes, starts in zip((120, 5), starting, strict=True):
        lake.settings = settings.changed(activity={"session_timeout": timedelta(minutes=minutes)})
        lake.restart()
        lake.silver.catch_up()
        assert [row[1] for row in lake.sessions()] == starts
        assert lake.audited() == []
    uri = Place(settings.lake.root).table("silver.activity_user_sessions")
    before = DeltaTable(uri).version()
    lake.silver.catch_up()
    assert DeltaTable(uri).version() == before


def test_made_again_in_parts_they_are_the_same(settings):
    lake = Lake(settings.changed(silver={"max_rows_per_fold": 1}))
    for day in range(1, 4):
        old = [
            v.replace(b"2026-11-20", b"2026-11-%02d" % (10 + day))
            for v in (
                did("23:50"),
                did("23:59"),
                did("10:00", "bob"),
                did("10:01", "bob", "session_end"),
            )
        ]
        lake.land(*old)  # fmt: skip
        over = did("00:10").replace(b"2026-11-20", b"2026-11-%02d" % (11 + day))
        lake.land(over)
    before = lake.sessions()
    lake.silver.start_over(lake.silver.version)
    assert lake.sessions() == before
    assert lake.audited() == []


@pytest.mark.parametrize("passed", ["12:01:30", "11:31"], ids=["final", "open"])
def test_a_delay_that_is_raised_takes_no_watermark_back(settings, passed):
    lake = Lake(settings)
    lake.land(did("10:50"), did("11:00"), did("11:20"), did("11:25"), did("11:30", "bob"))
    lake.land(did(passed, "bob"))
    lake.silver.persist()
    lake.settings = settings.changed(activity={"watermark_delay": timedelta(hours=2)})
    lake.restart()
    for clock in ("11:10", passed, "11:28:30"):
        lake.land(did(clock))
        assert lake.audited() == []
    assert lake.rows("bronze.activity", "max(watermark) = arg_max(watermark, batch_id) AS up") == [
        {"up": True}
    ]


def moments(lake):
    """When the store looks at each user whose sessions are not all final, as it keeps it."""
    state = lake.silver._state._sessions["user_sessions"]
    found = lake.silver.kept.store.under(state.due_space, [b""])
    return [int.from_bytes(key[:8]) - (1 << 63) for key, _ in found]


def at(clock):
    """A time of the day in microseconds since 1970."""
    return int(datetime.fromisoformat(f"{DAY}T{clock}+00:00").timestamp()) * 1_000_000


def test_a_session_that_goes_on_keeps_the_moment_at_which_it_is_looked_at(settings):
    """Each event wrote another: a fifth of what it takes to fold ten thousand events a second."""
    lake = Lake(settings)
    lake.land(did("10:00"))
    assert moments(lake) == [at("10:30")]
    lake.land(did("10:10"))
    lake.land(did("10:31", "bob"))
    assert moments(lake) == [at("10:30"), at("11:01")]
    lake.land(did("10:33", "bob"))  # the watermark passes Ada's moment: she gets another
    assert moments(lake) == [at("10:40"), at("11:01")]
    lake.land(did("10:35", "bob", "session_end"))  # it is final sooner
    assert moments(lake) == [at("10:35"), at("10:40"), at("11:01")]
    lake.land(did("10:50", "cy"))
    assert moments(lake) == [at("11:01"), at("11:20")]
    lake.land(did("11:10", "cy"))  # what was Bob's is gone, too
    assert moments(lake) == [at("11:20")]
    assert lake.sessions() == [
        ("ada", "10:00:00", "10:10:00", 600.0, 2, 0, "timeout", True),
        ("bob", "10:31:00", "10:35:00", 240.0, 2, 0, "end", True),
        ("cy", "10:50:00", "11:10:00", 1200.0, 2, 0, "open", False),
    ]
    assert lake.audited() == []
