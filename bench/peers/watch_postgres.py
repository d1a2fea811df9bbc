"""A reader of its own: when it sees that every table in Postgres holds a bronze version.

Prints one JSON line a step, {version, time}, until it is ended.
"""

from __future__ import annotations

import json
import os
import time

import psycopg

from lakehouse.model.sink import PostgresSink
from lakehouse.products.activity.tables import FLOWS
from lakehouse.sinks.postgres_tables import RECORD

POLL_SECONDS = 0.01


def main() -> None:
    """Watch what the sink of activity records with its rows."""
    tables = next(len(f.into) for f in FLOWS if isinstance(f, PostgresSink))
    seen = -1
    with psycopg.connect(os.environ["LAKEHOUSE_POSTGRES_URL"], autocommit=True) as connection:
        while connection.execute("SELECT to_regclass(%s)", (RECORD,)).fetchall() == [(None,)]:
            time.sleep(POLL_SECONDS)
        while True:
            found = f"SELECT min(coalesce(ahead_version, bronze_version)), count(*) FROM {RECORD}"
            [(held, count)] = connection.execute(found).fetchall()
            if count == tables and held > seen:
                seen = held
                print(json.dumps({"version": held, "time": time.time()}), flush=True)
            time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
