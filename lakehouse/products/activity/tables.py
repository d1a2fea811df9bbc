"""Activity: what the silver tables of users on pages are."""

from __future__ import annotations

from datetime import timedelta

from lakehouse.model.flow import (
    Aggregate,
    BronzeFlow,
    Estimate,
    Exact,
    Flow,
    Measure,
    ParquetFlow,
    SilverFlow,
    sketch_of,
)
from lakehouse.model.sink import KafkaSink, PostgresSink, PostgresTable
from lakehouse.model.window import Session, Window
from lakehouse.products.activity.contract import ACTIVITY

MINUTE = Window(timedelta(minutes=1))
PAGE_VIEW_COUNTS = MINUTE.over(
    Aggregate(
        name="page_view_counts",
        keys={"page_url": ("page_url", "VARCHAR")},
        docs={"page_url": "the page"},
        measures={"views": Measure("count(*)", "BIGINT", "sum", "views of the page")},
        where="event_type = 'page_view'",
        doc="one row per page and minute in which it was viewed",
    )
)
ACTIVE_USERS = Window(timedelta(minutes=5), timedelta(minutes=1)).over(
    Aggregate(
        name="active_users",
        keys={},
        measures={
            "events": Measure("count(*)", "BIGINT", "sum", "what they did"),
            "users_sketch": sketch_of("user_id", "HyperLogLog sketch of user_id, as Spark has it"),
        },
        estimates={
            "users": Estimate("users_sketch", "different users; standard error 1.6 % of them")
        },
        exact={
            "exact_users": Exact(
                "user_id",
                "different users, exactly; null unless `[activity] exact_users` asks",
                setting="exact_users",
            )
        },
        doc="one row per five minutes, one every minute, in which anybody did anything",
    )
)
USER_SESSIONS = Session(
    name="user_sessions",
    key="user_id",
    key_doc="who was there",
    ends="event_type = 'session_end'",
    counts={
        "pages": ("event_type = 'page_view'", "pages that were viewed, again ones too"),
        "clicks": ("event_type = 'click'", "clicks"),
    },
    timeout="session_timeout",
    doc="one row per user and session: from the first event, be it `session_start` or not, to "
    "`session_end` or a silence; a `session_start` in between divides nothing",
)

_IN_SESSION = (
    "CASE WHEN NOT is_late AND rows.event_time <= sessions.session_end "
    "THEN sessions.session_start END"
)
"""The session that an event belongs to, as it is known when it is sent; null of a late one."""

FLOWS: tuple[Flow, ...] = (
    BronzeFlow(ACTIVITY),
    SilverFlow(ACTIVITY, (PAGE_VIEW_COUNTS, ACTIVE_USERS), sessions=(USER_SESSIONS,)),
    ParquetFlow(
        ACTIVITY,
        columns=(
            "event_id", "event_time", "user_id", "page_url", "event_type",
            "topic", "partition", "offset",
        ),
        date="CAST(event_time AS DATE)",
        folder="event_date",
        where="true",
        doc="one row per event, by the UTC date of event_time",
    ),
    PostgresSink(
        ACTIVITY,
        into=(
            PostgresTable(
                "silver.activity_page_view_counts", "page_view_counts",
                key=("window_start", "page_url"), indexes=(("page_url", "window_start"),),
            ),
            PostgresTable(
                "silver.activity_active_users", "active_users",
                key=("window_start",), without=("users_sketch",),
            ),
            PostgresTable(
                "silver.activity_user_sessions", "user_sessions",
                key=("user_id", "session_start"), indexes=(("session_start",), ("ended",)),
            ),
        ),
    ),
    KafkaSink(
        ACTIVITY,
        topic="enriched_activity",
        setting="enriched_topic",
        key="user_id",
        columns={"session_start": _IN_SESSION},
        join="ASOF LEFT JOIN sessions ON rows.user_id = sessions.user_id "
        "AND rows.event_time >= sessions.session_start",
        states={"sessions": "silver.activity_user_sessions"},
        floors={"sessions": ("session_end", "CASE WHEN NOT is_late THEN event_time END")},
        touched=("sessions",),
    ),
)  # fmt: skip
