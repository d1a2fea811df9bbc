"""What the silver tables of activity must hold, as SQL over bronze: the audit's own words.

Each statement reads ``counted``, the rows of bronze that are neither duplicates nor late,
``moment``, the watermark that bronze had then, ``timeout``, by which the table says that
its sessions were divided, and ``asked``, the columns that it says settings asked for.
"""

from __future__ import annotations

from typing import Any

from lakehouse.model.recompute import Recompute, Recomputes
from lakehouse.model.witness import Kind, Raw, Witness, parse_object

COUNTED = "SELECT * FROM bronze_then WHERE NOT is_duplicate AND NOT is_late"

PAGE_VIEW_COUNTS = """
WITH viewed AS (
    SELECT date_trunc('minute', event_time) AS window_start, page_url, count(*) AS views
    FROM counted WHERE event_type = 'page_view' GROUP BY ALL
)
SELECT window_start, window_start + INTERVAL 1 MINUTE AS window_end, page_url, views,
    coalesce(watermark >= window_start + INTERVAL 1 MINUTE, false) AS is_final,
    CAST(window_start AS DATE) AS window_date
FROM viewed, moment
"""

ACTIVE_USERS = """
WITH done AS (
    SELECT date_trunc('minute', event_time) - INTERVAL 1 MINUTE * back AS window_start, user_id
    FROM counted, range(5) AS earlier(back)
), seen AS (
    SELECT window_start, count(*) AS events, sketch_of(list(DISTINCT user_id)) AS users_sketch,
        count(DISTINCT user_id) AS different
    FROM done GROUP BY ALL
)
SELECT window_start, window_start + INTERVAL 5 MINUTE AS window_end, events, users_sketch,
    coalesce(watermark >= window_start + INTERVAL 5 MINUTE, false) AS is_final,
    sketch_count(users_sketch) AS users, CAST(window_start AS DATE) AS window_date,
    CASE WHEN 'exact_users' IN (SELECT name FROM asked) THEN different END AS exact_users
FROM seen, moment
"""

# What happens at one moment is taken together: whether it ends a session, and what it counts.
USER_SESSIONS = """
WITH moments AS (
    SELECT user_id, epoch_us(event_time) AS us, count_if(event_type = 'session_end') > 0 AS ends,
        count_if(event_type = 'page_view') AS pages, count_if(event_type = 'click') AS clicks
    FROM counted GROUP BY ALL
), beside AS (
    SELECT *, max(us) OVER earlier AS previous, arg_max(ends, us) OVER earlier AS is_ended
    FROM moments WINDOW earlier AS (
        PARTITION BY user_id ORDER BY us ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
), numbered AS (
    SELECT beside.*, count_if(previous IS NULL OR is_ended OR us - previous > micros) OVER (
        PARTITION BY user_id ORDER BY us) AS number
    FROM beside, timeout
), made AS (
    SELECT user_id, number, min(us) AS first, max(us) AS last, bool_or(ends) AS ended,
        CAST(sum(pages) AS BIGINT) AS pages, CAST(sum(clicks) AS BIGINT) AS clicks
    FROM numbered GROUP BY ALL
), judged AS (
    SELECT made.*, number < max(number) OVER (PARTITION BY user_id) AS is_followed,
        coalesce(epoch_us(watermark) > last + micros, false) AS is_silent,
        coalesce(epoch_us(watermark) > last, false) AS is_passed
    FROM made, moment, timeout
)
SELECT user_id, make_timestamptz(first) AS session_start, make_timestamptz(last) AS session_end,
    CAST(((last - first) // 1000) / CAST(1000 AS DECIMAL(18, 0)) AS DECIMAL(18, 3))
        AS duration_seconds,
    pages, clicks,
    CASE WHEN ended THEN 'end' WHEN is_followed OR is_silent THEN 'timeout' ELSE 'open' END
        AS ended,
    CASE WHEN ended THEN is_passed ELSE is_silent END AS is_final,
    CAST(make_timestamptz(first) AS DATE) AS session_date
FROM judged
"""

TABLES = (
    Recompute("page_view_counts", ("window_start", "page_url"), PAGE_VIEW_COUNTS),
    Recompute("active_users", ("window_start",), ACTIVE_USERS),
    Recompute("user_sessions", ("user_id", "session_start"), USER_SESSIONS),
)


def _event(record: Raw) -> dict[str, Any]:
    """The record's object; one without an id, or a null for it, is named by its address."""
    event = parse_object(record.value)
    if event.get("event_id") is None:
        event["event_id"] = f"{record.partition}-{record.offset}-{record.time}"
    return event


_FIELDS = {
    "event_id": Kind.TEXT, "event_time": Kind.TIME, "user_id": Kind.TEXT,
    "page_url": Kind.TEXT, "event_type": Kind.TEXT,
}  # fmt: skip
WITNESS = Witness(_FIELDS, frozenset(_FIELDS), _event)
"""What a record of activity says: bronze's own columns, in the audit's words."""

RECOMPUTES = {"activity": Recomputes(COUNTED, TABLES, WITNESS)}
