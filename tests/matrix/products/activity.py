"""Activity in the matrix: sessions that end while it runs, and users that are counted exactly."""

from __future__ import annotations

from lakehouse.core.failpoint import Step
from tests.matrix.faults import killed_at
from tests.matrix.row import Row

SHORT = {
    "LAKEHOUSE_ACTIVITY_SESSION_TIMEOUT": "3 seconds",
    "LAKEHOUSE_ACTIVITY_WATERMARK_DELAY": "2 seconds",
    "LAKEHOUSE_ACTIVITY_EXACT_USERS": "true",
}
"""The watermark passes sessions and windows in each batch, and the state forgets them."""
ROWS = [
    Row(
        f"short-{step.value}",
        f"kill -9: {what}; short sessions, exact counts",
        killed_at(step, range(1, 6)),
        SHORT,
    )
    for step, what in (
        (Step.SESSIONS_CHANGED, "sessions' events changed, the state not committed"),
        (Step.STATE_STORED, "sessions' events changed, their table not"),
    )
]
