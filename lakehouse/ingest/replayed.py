"""Which quarantined rows a replay has brought into bronze, as SQL that every reader uses.

A mark (``replayed_version``) says that a replay began. It is true once bronze holds the
row's address: only the replay's own commit makes it so, whatever else commits to bronze.

Before: quarantine has 0/7 unmarked. The replay marks it. Crash here: bronze lacks 0/7, so
0/7 counts as quarantined, also when `maintain` or a RESTORE commits next. After bronze's
commit it holds 0/7, and 0/7 counts there alone.
"""

from __future__ import annotations

from lakehouse.ingest.ends import Ends

_SAME = 'q.topic = t.topic AND q."partition" = t."partition" AND q."offset" = t."offset"'
_MARKED = 'SELECT topic, "partition", "offset" FROM {rows} WHERE replayed_version IS NOT NULL'
_TAKEN = """
SELECT topic, "partition", "offset", {gone} AS gone
FROM {held} SEMI JOIN ({marked}) USING (topic, "partition", "offset")
"""
_TRUE_MARKS = """
SELECT q.* REPLACE (
    CASE WHEN t.topic IS NOT NULL THEN q.replayed_version END AS replayed_version,
    CASE WHEN t.topic IS NOT NULL THEN q.replayed_at END AS replayed_at)
FROM {rows} AS q LEFT JOIN (SELECT DISTINCT * FROM ({taken})) AS t
ON {same} AND t.gone = {gone} AND q.replayed_version IS NOT NULL
"""


def true_marks(rows: str, bronze: str, erased: str | None, ends: Ends) -> str:
    """SQL for quarantine's rows, their marks null where bronze lacks their addresses.

    ``rows``, ``bronze`` and ``erased`` are FROM items; all need a ``batch_id``, and
    ``rows`` both marks. What was erased from bronze had been taken. ``ends`` tell the
    logs apart in which an address came again.
    """
    marked = _MARKED.format(rows=rows)
    held = [bronze]
    if erased is not None:
        held.append(f"(SELECT * FROM {erased} WHERE \"table\" LIKE 'bronze.%')")
    gone = ends.logs_gone()
    taken = " UNION ALL ".join(_TAKEN.format(gone=gone, held=h, marked=marked) for h in held)
    return _TRUE_MARKS.format(rows=rows, taken=taken, same=_SAME, gone=ends.logs_gone("q."))
