"""kill -9 at a random time; and for the long tests at several, and a row that is drawn.

A failure of a row names the command that tries the row again with the same seed.
"""

import os
import random
from types import SimpleNamespace

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from tests.conftest import long
from tests.matrix.broker import running
from tests.matrix.check import check, counted
from tests.matrix.faults import killed_at_random, killed_once
from tests.matrix.products.sales import SalesStage
from tests.matrix.rows import attempt, rows_of
from tests.matrix.stage import MAIN

pytestmark = pytest.mark.live
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID")
SEED = random.Random(RUN).randrange(10**6)
"""The same in every worker of a run."""
LONG = ("driver-paused", "broker-paused", "driver-clock", "broker-clock", "random")
DRAWN = random.Random(SEED).sample(
    [row for row in rows_of(MAIN) if not row.name.startswith(LONG)], 1
)


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with running(tmp_path_factory.mktemp("matrix")) as broker:
        yield broker


@pytest.mark.parametrize("act", [killed_once, *long(killed_at_random)])
def test_kill_nine_at_random_and_what_the_check_sees(act, kafka, tmp_path):
    """Several times: `python -m tests.matrix --only random`."""
    with SalesStage(
        SimpleNamespace(servers=kafka), tmp_path / "random", f"{SEED} random 1"
    ) as stage:
        act(stage)
        stage.finish()
        found = check(stage)
        assert (found.lost, found.doubled, found.wrong) == (0, 0, []), f"seed {SEED}"
        assert found.records == stage.summaries[0]["sent"] > 2_000

        bronze = DeltaTable(stage.lake.table("bronze.sales"))
        query = QueryBuilder().register("bronze", bronze)
        one = pa.table(query.execute("SELECT * FROM bronze LIMIT 1").read_all())
        write_deltalake(bronze, one, mode="append")
        spoilt = counted(stage)
        assert (spoilt.lost, spoilt.doubled) == (0, 1)
        where = " AND ".join(f'"{c}" = {one[c][0]}' for c in ("partition", "offset"))
        DeltaTable(stage.lake.table("bronze.sales")).delete(where)
        spoilt = check(stage)
        assert (spoilt.lost, spoilt.doubled) == (1, 0)
        assert any(fault.startswith("audit exits 1") for fault in spoilt.wrong)


@pytest.mark.long
@pytest.mark.parametrize("row", DRAWN, ids=[row.name for row in DRAWN])
def test_a_drawn_row_holds(row, broker, tmp_path):
    print(f"python -m tests.matrix --only {row.name} --seed {SEED}")
    outcome = attempt(MAIN, row, 1, SEED, broker, tmp_path)
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert (outcome.lost, outcome.doubled, outcome.wrong) == (0, 0, [])
    assert outcome.records > 1_000
