"""What activity's sinks make in Postgres is what db/activity.sql says."""

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from lakehouse.model.sink import PostgresSink
from lakehouse.products.registry import products
from lakehouse.runtime import job
from lakehouse.sinks.postgres_tables import RECORD_DDL, ddl
from tests.support.activity import Lake

ROOT = Path(__file__).parents[2]
POSTGRES = next(f for f in products()["activity"].flows if isinstance(f, PostgresSink))


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
    assert made == [s.strip() for s in [*ddl(POSTGRES, schemas), RECORD_DDL]]


@pytest.mark.parametrize(("sink", "key"), [("postgres", "[postgres] url"), ("enriched", "[kafka]")])
def test_a_deployed_sink_starts_no_service(sink, key, settings, monkeypatch, capsys):
    monkeypatch.setattr(job, "load_settings", lambda _: settings)
    with pytest.raises(SystemExit) as ended:
        job.main([f"activity.{sink}"], [])
    assert (ended.value.code, key in capsys.readouterr().err) == (2, True)
