"""Windows: events in, tables out. Aligned, final by the watermark, late events left out."""

from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest

from lakehouse.core.errors import DeclarationError
from lakehouse.model.flow import Aggregate, Measure, SilverFlow
from lakehouse.model.window import Window
from lakehouse.products.activity.tables import ACTIVE_USERS
from tests.support.activity import ACTIVITY, Lake, did

COUNT = Measure("count(*)", "BIGINT", "sum", "how many")


def by(window, **keys):
    """A flow with one table of windows."""
    plain = Aggregate(
        name="events", keys={n: (sql, "VARCHAR") for n, sql in keys.items()},
        measures={"events": COUNT}, doc="one row a window",
    )  # fmt: skip
    return SilverFlow(ACTIVITY, (window.over(plain),))


def test_page_views_by_minute(settings):
    lake = Lake(settings)
    lake.land(
        did("10:00:00"), did("10:00:59.999999"), did("10:01:00"),
        did("10:00:30", page="/b"), did("10:00:31", what="click"),
    )  # fmt: skip
    assert lake.windows() == [
        ("10:00", "10:01", "/a", 2, False),
        ("10:00", "10:01", "/b", 1, False),
        ("10:01", "10:02", "/a", 1, False),
    ]
    assert lake.audited() == []


def test_a_window_is_final_when_the_watermark_has_passed_its_end(settings):
    lake = Lake(settings)
    lake.land(did("10:00:30"))
    lake.land(did("10:02:59.999999"))
    assert lake.windows()[0] == ("10:00", "10:01", "/a", 1, False)
    lake.land(did("10:03:00", what="click"))
    assert lake.windows() == [
        ("10:00", "10:01", "/a", 1, True),
        ("10:02", "10:03", "/a", 1, False),
    ]
    assert lake.audited() == []


def test_one_batch_alone_makes_windows_final(settings):
    lake = Lake(settings)
    lake.land(did("10:00:30"), did("10:30"))
    assert [row[-1] for row in lake.windows()] == [True, False]
    assert lake.audited() == []


def test_a_late_event_is_not_counted_and_one_out_of_order_is(settings):
    lake = Lake(settings)
    lake.land(did("10:00:30"), did("10:10"))
    lake.land(did("10:09:30"), did("10:07:59"))
    assert lake.windows() == [
        ("10:00", "10:01", "/a", 1, True),
        ("10:09", "10:10", "/a", 1, False),
        ("10:10", "10:11", "/a", 1, False),
    ]
    assert lake.audited() == []


def test_a_late_event_corrects_where_the_window_says_so(settings):
    lake = Lake(settings, by(Window(timedelta(minutes=1), late="correct"), page="page_url"))
    lake.land(did("10:00:30"), did("10:10"))
    lake.land(did("10:00:59"), did("10:05"))
    assert lake.windows("events", "page, events") == [
        ("10:00", "10:01", "/a", 2, True),
        ("10:05", "10:06", "/a", 1, True),
        ("10:10", "10:11", "/a", 1, False),
    ]
    assert lake.audited() == []


def test_sliding_windows(settings):
    lake = Lake(settings, by(Window(timedelta(minutes=3), timedelta(minutes=1)), who="user_id"))
    lake.land(did("10:00:00"), did("10:00:59"), did("10:02:00"))
    assert lake.windows("events", "who, events") == [
        ("09:58", "10:01", "ada", 2, False),
        ("09:59", "10:02", "ada", 2, False),
        ("10:00", "10:03", "ada", 3, False),
        ("10:01", "10:04", "ada", 1, False),
        ("10:02", "10:05", "ada", 1, False),
    ]
    assert lake.audited() == []


def test_active_users_of_five_minutes_one_every_minute(settings):
    lake = Lake(settings)
    lake.land(did("10:00"), did("10:00:30", "bob"), did("10:01", what="click"))
    lake.land(did("10:04", "eve"), did("10:09"))
    assert lake.windows("active_users", "events, users") == [
        ("09:56", "10:01", 2, 2, True),
        ("09:57", "10:02", 3, 2, True),
        ("09:58", "10:03", 3, 2, True),
        ("09:59", "10:04", 3, 2, True),
        ("10:00", "10:05", 4, 3, True),
        ("10:01", "10:06", 2, 2, True),
        ("10:02", "10:07", 1, 1, True),
        ("10:03", "10:08", 1, 1, False),
        ("10:04", "10:09", 1, 1, False),
        *((f"10:{m:02}", f"10:{m + 5}", 1, 1, False) for m in range(5, 10)),
    ]
    assert lake.audited() == []


def asking(settings):
    """Settings that ask for exact counts of users."""
    return settings.changed(activity={"exact_users": True})


def exact(lake):
    """Start by the clock → users and exact users of its windows that anybody was in."""
    return {row[0]: row[2:4] for row in lake.windows("active_users", "users, exact_users")}


def test_users_are_counted_exactly_where_settings_ask(settings):
    lake = Lake(asking(settings))
    lake.land(did("10:00"), did("10:00:30", "bob"), did("10:01", what="click"))
    lake.land(did("10:00:10"), did("10:01:59", "bob"), did("10:04", "eve"), did("10:07"))
    lake.land(did("10:04:59"), did("10:06", "eve"), did("10:05:30", "bob"))
    found = exact(lake)
    assert {users for users, exact in found.values() if users != exact} == set()
    assert [found[f"10:0{n}"][1] for n in (0, 1, 2, 4, 5, 6)] == [3, 3, 2, 3, 3, 2]
    assert lake.audited() == []


def test_what_is_counted_exactly_is_bounded_by_the_watermark(settings):
    lake = Lake(asking(settings))
    for minute in range(40):
        lake.land(*(did(f"10:{minute:02}", f"u{n}") for n in range(5)))
    space = "exact active_users exact_users"
    assert len([*lake.silver.kept.store.before(space, b"\xff")]) <= 5 * 5 * 3
    assert lake.audited() == []


def test_a_lost_store_counts_nobody_twice(settings):
    lake = Lake(asking(settings))
    lake.land(did("10:00"), did("10:01", "bob"))
    for clock in ("10:02", "10:04:30"):
        lake.silver.persist()
        lake.silver.kept.store.forget()
        lake.restart()
        lake.land(did(clock), did(clock, "bob"), did(clock, f"new at {clock}"))
        assert lake.audited() == []
    assert exact(lake)["10:00"] == (4, 4)


def test_asking_for_exact_counts_makes_them_again_and_so_does_asking_no_more(settings):
    lake = Lake(settings)
    lake.land(did("10:00"), did("10:00:30", "bob"), did("10:10"))
    assert {exact for _, exact in exact(lake).values()} == {None}
    assert lake.audited() == []
    for now, wanted in ((asking(settings), 2), (settings, None)):
        lake.silver.close()
        lake.settings = now
        lake.restart()
        lake.silver.catch_up()
        assert exact(lake)["10:00"] == (2, wanted)
        assert lake.audited() == []
        lake.land(did("10:11"), did("10:12", "bob"))
        assert lake.audited() == []
    version = lake.silver.tables["active_users"].version
    lake.silver.catch_up()
    assert lake.silver.tables["active_users"].version == version


def test_exact_counts_rebuilt_in_parts_across_midnight_are_the_same(settings):
    lake = Lake(asking(settings).changed(silver={"max_rows_per_fold": 2}))
    users = ("ada", "bob", "eve")

    def on(day, clock, who):
        return did(clock, who).replace(b"11-20", b"11-%d" % day)

    lake.land(*(on(18, clock, who) for clock in ("23:58", "23:59") for who in users))
    lake.land(*(on(19, "00:00", who) for who in users))
    lake.land(on(19, "10:00", "ada"))
    before = exact(lake)
    assert before["23:58"] == (3, 3)
    lake.silver.start_over(lake.silver.version)
    assert exact(lake) == before
    assert lake.audited() == []


def test_a_table_without_the_column_gets_it(settings):
    plain = replace(ACTIVE_USERS, exact=None)
    flow = SilverFlow(ACTIVITY, (plain,))
    lake = Lake(settings, flow)
    lake.land(did("10:00"))
    lake.silver.close()
    lake.flow = SilverFlow(ACTIVITY, (ACTIVE_USERS,))
    lake.settings = asking(settings)
    lake.restart()
    lake.land(did("10:00:10", "bob"))
    assert exact(lake)["10:00"] == (2, 2)
    assert lake.audited() == []


def test_exact_counts_that_late_events_correct_are_refused():
    with pytest.raises(DeclarationError, match="late events would correct"):
        Window(timedelta(minutes=1), late="correct").over(replace(ACTIVE_USERS, window=None))


def test_windows_without_a_key_of_their_own_are_aligned_to_the_epoch(settings):
    lake = Lake(settings, by(Window(timedelta(minutes=7))))
    lake.land(did("10:00"))
    [row] = lake.rows("silver.activity_events", "epoch_us(window_start) AS start, events")
    assert (row["start"] % (7 * 60_000_000), row["events"]) == (0, 1)
    assert lake.audited() == []


def test_a_store_that_is_lost_is_rebuilt_from_the_open_windows(settings):
    lake = Lake(settings)
    lake.land(did("10:00:30"), did("10:01:30"))
    lake.silver.persist()
    lake.silver.kept.store.forget()
    lake.restart()
    lake.land(did("10:04", what="click"))
    assert [row[-1] for row in lake.windows()] == [True, True]
    assert lake.audited() == []


def test_a_store_of_an_older_version_follows_windows_that_the_table_has(settings):
    lake = Lake(settings)
    lake.land(did("10:00:30"))
    lake.silver.close()
    store = lake.silver.kept.store.folder
    store.rename(older := store.with_name("older"))
    lake.restart()
    lake.land(did("10:01:30"))
    lake.silver.persist()
    lake.silver.close()
    store.rename(store.with_name("newer"))
    older.rename(store)
    lake.restart()
    lake.land(did("10:04", what="click"))
    assert [row[-1] for row in lake.windows()] == [True, True]
    assert lake.audited() == []


def test_state_is_bounded_by_the_watermark(settings):
    lake = Lake(settings)
    for minute in range(30):
        lake.land(did(f"10:{minute:02}"))
    assert len([*lake.silver.kept.store.before("open page_view_counts", b"\xff")]) <= 3
    assert len(lake.windows()) == 30


def test_made_again_it_is_the_same(settings):
    lake = Lake(settings)
    for minute in range(6):
        lake.land(did(f"10:{minute:02}"), did(f"10:{minute:02}:30", "bob", page="/b"))
    before = lake.windows()
    lake.silver.start_over(lake.silver.version)
    assert lake.windows() == before
    assert lake.audited() == []


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"size": timedelta(0)}, "one every"),
        ({"size": timedelta(minutes=5), "every": timedelta(minutes=2)}, "whole number of times"),
        ({"size": timedelta(minutes=5), "every": timedelta(minutes=9)}, "whole number of times"),
        ({"size": timedelta(minutes=5), "late": "keep"}, "late is 'keep'"),
    ],
)
def test_a_window_that_cannot_be_is_refused(given, fault):
    with pytest.raises(DeclarationError, match=fault):
        Window(**given)


def test_a_batch_of_what_happens_now_touches_few_rows_of_a_large_day(settings):
    lake = Lake(settings)
    clock = [f"{minute // 60:02}:{minute % 60:02}" for minute in range(720)]
    lake.land(*(did(at, page=f"/{n}") for at in clock for n in range(12)))
    lake.silver.persist()
    table = lake.silver.tables["page_view_counts"]
    before = files_of(table)
    assert sum(before.values()) == 12 * len(clock)
    lake.land(did("11:59:59"), did("12:00", page="/new"))
    lake.silver.persist()
    new = {path: rows for path, rows in files_of(table).items() if path not in before}
    assert 0 < sum(new.values()) < 4_100, new
    assert lake.audited() == []


def files_of(table):
    found = pa.table(table.dt.get_add_actions(flatten=True))
    return dict(zip(found["path"].to_pylist(), found["num_records"].to_pylist(), strict=True))
