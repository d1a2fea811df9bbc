"""Windows and sessions, drawn: any order, batching and restart, and they are what bronze says."""

import random
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from lakehouse.model.flow import SilverFlow
from lakehouse.products.activity.tables import ACTIVE_USERS, PAGE_VIEW_COUNTS, USER_SESSIONS
from lakehouse.silver.pieces import Pieces
from tests.conftest import drawn
from tests.support.activity import ACTIVITY, Lake, did

KINDS = ("page_view", "click", "session_start", "session_end")
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 150 * 60), st.sampled_from(["ada", "bob"]), st.sampled_from(KINDS),
        st.sampled_from(["/a", "/b"]),
    ),
    min_size=1, max_size=30,
)  # fmt: skip
SOME = drawn(8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
PLAIN = {name: one for name, one in ACTIVE_USERS.measures.items() if one.type != "BLOB"}
EXACT = replace(ACTIVE_USERS, name="exactly", measures=PLAIN, estimates=None)
FLOW = SilverFlow(ACTIVITY, (PAGE_VIEW_COUNTS, EXACT), sessions=(USER_SESSIONS,))


def record(event):
    second, user, what, page = event
    clock = f"{8 + second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return did(f"{clock}.{second * 7919 % 10**6:06}", user, what, page)


@pytest.fixture
def fresh(settings, tmp_path_factory):
    def lake(delay):
        given = settings.changed(activity={"watermark_delay": delay, "exact_users": True})
        return Lake(given.with_root(tmp_path_factory.mktemp("drawn") / "lake"), FLOW)

    return lake


@SOME
@given(EVENTS, st.lists(st.integers(1, 6), min_size=1), st.integers(0, 99))
def test_with_late_events_they_are_what_bronze_says_at_every_version(fresh, events, sizes, seed):
    dice, lake, rest = random.Random(seed), fresh(timedelta(minutes=2)), events
    for size in sizes * len(events):
        if not rest:
            break
        lake.land(*map(record, rest[:size]), fold=dice.random() < 0.7)
        rest = rest[size:]
        if dice.random() < 0.2:
            lake.restart()
        if dice.random() < 0.1:
            lake.silver.kept.store.forget()
            lake.restart()
    lake.silver.catch_up()
    assert lake.audited() == []


@SOME
@given(EVENTS, st.randoms(), st.integers(1, 9))
def test_without_late_events_any_order_and_batching_give_the_same(fresh, events, dice, size):
    whole, parts = fresh(timedelta(days=1)), fresh(timedelta(days=1))
    whole.land(*map(record, sorted(events)))
    shuffled = dice.sample(events, len(events))
    for first in range(0, len(shuffled), size):
        parts.land(*map(record, shuffled[first : first + size]))
    assert parts.windows() == whole.windows()
    assert parts.windows("exactly", "exact_users") == whole.windows("exactly", "exact_users")
    assert parts.sessions() == whole.sessions()


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=20), st.integers(1, 9))
def test_sessions_are_divided_at_ends_and_silences_and_nowhere_else(events, timeout):
    numbers = np.array([(at, at, closes, 1) for at, closes in events], np.int64).reshape(-1, 4)
    owner = np.zeros(len(events), np.int64)
    pieces = Pieces.ordered(owner, numbers, owner.astype(bool))
    assert pieces.numbers.tolist() == sorted(numbers.tolist(), key=lambda n: (n[0], n[2]))
    made = pieces.divided(timeout)
    cuts = np.flatnonzero(made.begins).tolist()
    groups = [pieces.numbers[a:b].tolist() for a, b in pairwise([*cuts, len(events)])]
    assert made.start.tolist() == [group[0][0] for group in groups]
    assert made.end.tolist() == [group[-1][1] for group in groups]
    assert made.counts[:, 0].tolist() == [*map(len, groups)]
    assert len({*made.start.tolist()}) == len(groups)
    for group in groups:
        assert all(b[0] - a[1] <= timeout for a, b in pairwise(group))
        assert not any(closes and at < group[-1][1] for at, _, closes, _ in group)
    for before, after in pairwise(groups):
        assert before[-1][2] or after[0][0] - before[-1][1] > timeout
