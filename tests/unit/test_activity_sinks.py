"""What activity's sinks make in Postgres is what db/activity.sql says."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from lakehouse.model.sink import KafkaSink, PostgresSink
from lakehouse.products.registry import products
from lakehouse.runtime import job
from lakehouse.silver.handed import Handed
from lakehouse.sinks import kafka_rows
from lakehouse.sinks.kafka_rows import Rendering
from lakehouse.sinks.postgres_tables import AHEAD_DDL, RECORD_DDL, ddl
from lakehouse.sinks.versions import Versions, rows_of
from lakehouse.storage.increments import increments
from tests.support.activity import Lake, did

ROOT = Path(__file__).parents[2]
POSTGRES = next(f for f in products()["activity"].flows if isinstance(f, PostgresSink))
ENRICHED = next(f for f in products()["activity"].flows if isinstance(f, KafkaSink))


def test_the_file_for_administrators_is_what_the_flow_does(settings):
    Lake(settings)
    schemas = {
        t.source: pa.schema(
            DeltaTable(f"{settings.lake.root}/{t.source.replace('.', '/')}").schema().to_arrow()
        )
        for t in POSTGRES.into
    }
    held = (ROOT / "db" / "activity.sql").read_text("utf-8")
    said = "\n".join(line for line in held.splitlines() if not line.startswith("--"))
    made = [statement.strip() for statement in said.split(";") if statement.strip()]
    assert made == [s.strip() for s in [*ddl(POSTGRES, schemas).values(), RECORD_DDL, AHEAD_DDL]]


def test_the_enriched_topic_reads_no_session_that_ended_before_its_events(settings, monkeypatch):
    lake = Lake(settings)
    for day in range(11, 20):
        lake.land(*(did(f"{h:02}:00").replace(b"11-20", b"11-%02d" % day) for h in range(0, 24, 2)))
    lake.land(did("10:00"), did("10:05", "bob", event_id="last"))
    lake.silver.persist()
    step = list(increments(lake.bronze.bronze.uri, 9, 10, 20_000))
    read = []

    def counted(version, files, none):
        read.append(len(files))
        return rows_of(version, files, none)

    monkeypatch.setattr(kafka_rows, "rows_of", counted)

    def values(sink, step):
        states = {n: Versions(settings.lake.root, table) for n, table in sink.states.items()}
        return [v for _, some in Rendering(sink).of(states, lake.connection, step) for v in some]

    whole = replace(ENRICHED, floors={})
    [last] = step
    sent = values(ENRICHED, last)
    assert (len(sent), sent) == (2, values(whole, last))
    assert all(b'"session_start":"2026-11-20' in value for value in sent)
    assert read[0] == 1 < 9 < read[1]

    # late events have no session, whatever is read; a table without statistics is read whole
    lake.land(did("09:00", "eve"), did("08:00", "bob"))
    lake.silver.persist()
    [late] = increments(lake.bronze.bronze.uri, 10, 11, 20_000)
    assert values(ENRICHED, late) == values(whole, late)
    assert read[2] == 0
    other = replace(ENRICHED, floors={"sessions": ("ended_at", "event_time")})
    assert values(other, late) == values(whole, late)
    assert read[4] == read[5] == read[3]
    assert [*lake.silver.whole(11)]
    for part in lake.silver.whole(11):
        assert values(ENRICHED, part) == values(whole, part)


def test_an_event_finds_its_session_in_what_its_fold_left(settings):
    lake, sessions = Lake(settings), ENRICHED.states["sessions"]
    lake.land(did("10:00"), did("10:00", "bob"), did("09:50", "eve", "session_start"))
    lake.silver.handed = handed = Handed(ENRICHED.handed)
    held = lake.silver.applied["state"]
    lake.silver._publishing.turns.due = lambda *_: False
    lake.land(did("10:31"), did("10:30:30", "bob"), did("09:59", "eve", "session_end"))
    lake.land(did("10:29:30"), did("10:30", "eve"), did("10:31", "new"))  # Ada's two are one
    lake.land(did("10:05", "late"), did("10:30", "bob", "session_end"), did("10:32", "bob"))
    steps = list(increments(lake.bronze.bronze.uri, 1, 4, 4))
    piece = handed.after(sessions, held, "topic")
    own, rendering = lake.connection.cursor(), Rendering(ENRICHED)

    def values(states):
        return [v for s in steps for _, some in rendering.of(states, own, s) for v in some]

    ahead = values({"sessions": piece})
    table = {"sessions": Versions(settings.lake.root, sessions)}
    assert table["sessions"].newest().applied.version < 4
    del lake.silver._publishing.turns.due
    lake.silver.persist()
    assert ahead == values(table)
    starts = [json.loads(value)["session_start"] for value in ahead]
    assert [start and start[11:19] for start in starts] == [
        "10:00:00", "10:30:30", "09:50:00",
        "10:00:00", "10:30:00", "10:31:00",
        None, "10:00:00", "10:30:30",
    ]  # fmt: skip


@pytest.mark.parametrize(("sink", "key"), [("postgres", "[postgres] url"), ("enriched", "[kafka]")])
def test_a_deployed_sink_starts_no_service(sink, key, settings, monkeypatch, capsys):
    monkeypatch.setattr(job, "load_settings", lambda _: settings)
    with pytest.raises(SystemExit) as ended:
        job.main([f"activity.{sink}"], [])
    assert (ended.value.code, key in capsys.readouterr().err) == (2, True)
