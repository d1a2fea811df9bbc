"""The report of activity: every section a SELECT over the lake."""

from __future__ import annotations

from lakehouse.explorer.report import Series, quality

BLOCKS = "▁▂▃▄▅▆▇█"

VIEWS = f"""
    WITH minutes AS (SELECT window_start AS minute, sum(views) AS views, bool_and(is_final) AS final
        FROM silver.activity_page_view_counts GROUP BY 1),
    span AS (SELECT unnest(generate_series(max(minute) - INTERVAL 59 MINUTE, max(minute),
        INTERVAL 1 MINUTE)) AS minute FROM minutes),
    shown AS (SELECT span.minute, coalesce(views, 0) AS views, final
        FROM span LEFT JOIN minutes USING (minute))
    SELECT min(minute) AS from_minute, max(minute) AS to_minute, sum(views) AS views,
        max(views) AS most_in_a_minute,
        string_agg(CASE WHEN views = 0 THEN '·' ELSE substr('{BLOCKS}',
            1 + CAST(views * 7 // (SELECT max(views) FROM shown) AS INTEGER), 1) END,
            '' ORDER BY minute) AS views_by_minute
    FROM shown HAVING count(*) > 0"""
"""A bar a minute for an hour: the highest is the best minute, a dot one without views."""

ACTIVE = """
    SELECT window_start, window_end, events, users, is_final
    FROM silver.activity_active_users ORDER BY window_start DESC LIMIT 10"""

PAGES = """
    SELECT page_url, sum(views) AS views, max(views) AS most_in_a_minute,
        max(window_start) AS last_minute
    FROM silver.activity_page_view_counts GROUP BY page_url
    ORDER BY views DESC, page_url LIMIT 10"""

LENGTHS = f"""
    WITH lengths AS (SELECT *, list_position([0, 60, 300, 900, 1800, 3600],
            list_last(list_filter([0, 60, 300, 900, 1800, 3600],
                lambda least: least <= duration_seconds))) AS band
        FROM silver.activity_user_sessions),
    counted AS (SELECT band, count(*) AS sessions, CAST(sum(pages) AS BIGINT) AS pages,
            CAST(sum(clicks) AS BIGINT) AS clicks, count_if(ended = 'end') AS by_end,
            count_if(ended = 'timeout') AS by_timeout, count_if(ended = 'open') AS open
        FROM lengths GROUP BY band)
    SELECT ['below a minute', '1 to 5 minutes', '5 to 15 minutes', '15 to 30 minutes',
            '30 to 60 minutes', 'an hour or more'][band] AS lasted,
        sessions, repeat('{BLOCKS[-1]}', CAST(ceil(20.0 * sessions / max(sessions) OVER ())
            AS INTEGER)) AS share, pages, clicks, by_end, by_timeout, open
    FROM counted ORDER BY band"""
"""How long sessions lasted; the longest bar is the most frequent length."""

REPORT = {
    "views_a_minute": VIEWS,
    "active_users": ACTIVE,
    "pages": PAGES,
    "session_lengths": LENGTHS,
    **quality("activity", "activity_"),
}
"""Section → SELECT, in order."""
TITLES = {
    "views_a_minute": "views a minute, the last hour drawn",
    "active_users": "active users in five minutes, one row a minute",
    "pages": "pages that were viewed most",
    "session_lengths": "how long sessions lasted, and how they ended",
    "activity_quality": "activity, data quality: late and duplicate events",
    "activity_late_and_doubled": "activity, late and duplicate events, by batch",
    "activity_quarantine": "activity, quarantine by verdict",
}
"""Section → its title."""

_VIEWS = "FROM silver.activity_page_view_counts"
FIGURES = {
    "page views": f"""
        WITH newest AS (SELECT max(window_start) AS upto {_VIEWS}),
        spans AS (SELECT upto,
                CAST(sum(views) FILTER (window_start > upto - INTERVAL 1 HOUR) AS BIGINT) AS now,
                CAST(coalesce(sum(views) FILTER (window_start <= upto - INTERVAL 1 HOUR), 0)
                    AS BIGINT) AS before
            {_VIEWS} CROSS JOIN newest WHERE window_start > upto - INTERVAL 2 HOUR GROUP BY ALL)
        SELECT now AS value,
            'hour to ' || strftime(upto + INTERVAL 1 MINUTE, '%d %b %H:%M') AS moment,
            CAST(round(100 * (now - before) / nullif(before, 0), 1) AS DECIMAL(18,1)) AS change_pct,
            upto - INTERVAL 59 MINUTE AS since, upto + INTERVAL 1 MINUTE AS upto
        FROM spans""",
    "active users": """
        SELECT users AS value, 'five minutes to ' || strftime(window_end, '%d %b %H:%M') AS moment,
            window_start
        FROM silver.activity_active_users ORDER BY window_start DESC LIMIT 1""",
    "open sessions": """
        SELECT count(*) AS value, 'now' AS moment FROM silver.activity_user_sessions
        WHERE ended = 'open'""",
}
SERIES = {
    "views_over_time": Series(
        "page views a minute, the last three hours",
        f"SELECT window_start AS minute, CAST(sum(views) AS BIGINT) AS views {_VIEWS} "
        f"WHERE window_start > (SELECT max(window_start) {_VIEWS}) - INTERVAL 3 HOUR "
        "GROUP BY 1 ORDER BY 1",
        "minute", ("views",),
    ),
    "users_over_time": Series(
        "active users in five minutes, the last three hours",
        "SELECT window_start AS minute, users FROM silver.activity_active_users WHERE window_start "
        "> (SELECT max(window_start) FROM silver.activity_active_users) - INTERVAL 3 HOUR "
        "ORDER BY 1",
        "minute", ("users",),
    ),
}  # fmt: skip
"""Name → picture over time."""
