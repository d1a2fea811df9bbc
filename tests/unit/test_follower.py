"""The one follower: when it goes on, when it starts over, and what a crash leaves, of any kind."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from structlog.testing import capture_logs

from lakehouse.core.errors import TableMissing
from lakehouse.ingest.ledger import Ledger
from lakehouse.storage.duck import query, reads
from lakehouse.storage.follower import NOTHING, Applied, Follower, why_start_over
from lakehouse.storage.log import commit_time
from lakehouse.storage.table import Table
from tests.support import orders
from tests.support.engine import connected
from tests.support.lake import cut_log, warned

SCHEMA = pa.schema([("n", pa.int64())])
PARTS = ("country", "client")


class Crash(Exception):
    """A process that ends here."""


class Sums(Follower):
    """Two sums of bronze's numbers, each with its record in one file; a crash when told."""

    def __init__(self, settings, connection):
        super().__init__("sums", "numbers", settings, most_rows=0)
        self.folder, self._connection = Path(settings.lake.root, "sums"), connection
        self.folder.mkdir(exist_ok=True)
        self.crash_after, self.steps_taken = None, []
        held = {name: self._read(name) for name in PARTS}
        self.sums = {name: one["sum"] if one else 0 for name, one in held.items()}
        self.applied = {
            name: Applied(**one["applied"]) if one else None for name, one in held.items()
        }

    def _read(self, name):
        path = self.folder / name
        return json.loads(path.read_text()) if path.exists() else None

    def has_rows(self):
        return any(self.sums.values())

    def apply(self, step):
        self.steps_taken.append((step.version, self.behind(step.version)))
        added = 0
        if step.files:
            added = query(self._connection, f"SELECT sum(n) AS n FROM {reads(step.files)}")
            added = int(added["n"][0].as_py())
        elif step.rows is not None:
            added = sum(step.rows["n"].to_pylist())
        applied = self.at(step.version if step.is_last else NOTHING)
        for name in self.behind(step.version):
            self.sums[name] += added
            told = {"sum": self.sums[name], "applied": vars(applied)}
            (self.folder / name).write_text(json.dumps(told))
            self.applied[name] = applied
            if self.crash_after == name:
                raise Crash

    def start_over(self, target):
        self.sums = dict.fromkeys(PARTS, 0)
        self.applied = dict.fromkeys(PARTS, Applied(self.bronze_id))
        for step in self.whole(target):
            self.apply(step)


class Numbers:
    """A bronze of numbers and its follower; ``restart`` opens it as another process would."""

    def __init__(self, settings):
        self.settings = settings
        self.uri = f"{settings.lake.root}/bronze/numbers"
        self.restart()

    def bronze(self):
        return Table.open(self.uri, SCHEMA, self.settings)

    def land(self, *numbers):
        bronze = self.bronze()
        for n in numbers:
            bronze.append(pa.table({"n": [n]}, SCHEMA), {})
        return bronze.version

    def restart(self):
        Path(self.settings.lake.root).mkdir(exist_ok=True)
        self.sums = Sums(self.settings, connected(self.settings))
        return self.sums


@pytest.fixture
def numbers(settings):
    return Numbers(settings)


def reason(numbers):
    """Why it starts over as it catches up; nothing where it goes on."""
    with capture_logs() as logs:
        numbers.sums.catch_up()
    assert numbers.sums.sums == dict.fromkeys(PARTS, sum(numbers.bronze().rows()["n"].to_pylist()))
    return next((event["reason"] for event in warned(logs)), "")


def test_there_is_nothing_to_follow_before_bronze_is_there(numbers):
    with pytest.raises(TableMissing, match="does not exist yet"):
        numbers.sums.catch_up()


def test_the_worked_example(numbers):
    numbers.land(*range(1, 7))
    assert numbers.sums.catch_up() == 6
    numbers.land(100)
    numbers.sums.crash_after = "country"
    with pytest.raises(Crash):
        numbers.sums.catch_up()
    sums = numbers.restart()
    assert [one.version for one in sums.applied.values()] == [7, 6]
    assert reason(numbers) == ""
    assert sums.steps_taken == [(7, ["client"])]
    numbers.restart()
    assert reason(numbers) == ""
    assert numbers.sums.steps_taken == []


def test_parts_at_two_versions_meet_before_they_go_on(numbers):
    numbers.land(1)
    numbers.sums.catch_up()
    numbers.sums.crash_after = "country"
    numbers.land(2)
    with pytest.raises(Crash):
        numbers.sums.catch_up()
    numbers.land(4)
    sums = numbers.restart()
    assert reason(numbers) == ""
    assert sums.steps_taken == [(2, ["client"]), (3, [*PARTS])]


def test_what_only_compacts_bronze_adds_nothing(numbers):
    numbers.land(1, 2)
    numbers.sums.catch_up()
    DeltaTable(numbers.uri).optimize.compact()
    assert reason(numbers) == ""
    assert numbers.sums.version == 3


def test_rows_at_hand_are_applied_and_a_gap_is_read(numbers):
    numbers.land(1)
    numbers.sums.catch_up()
    numbers.sums.take(1, numbers.land(2), pa.table({"n": [2]}, SCHEMA))
    assert numbers.sums.sums["country"] == 3
    numbers.sums.take(3, numbers.land(4, 8), pa.table({"n": [8]}, SCHEMA))
    assert numbers.sums.sums["country"] == 15


def test_bronze_that_was_rebuilt(numbers):
    numbers.land(1, 2)
    numbers.sums.catch_up()
    shutil.rmtree(numbers.uri)
    numbers.land(5, 6, 7)
    assert reason(numbers) == "it is of another bronze table"


def test_bronze_that_went_back(numbers):
    numbers.land(1)
    shutil.copytree(numbers.uri, f"{numbers.uri}.kept")
    numbers.land(2, 3)
    numbers.sums.catch_up()
    shutil.rmtree(numbers.uri)
    Path(f"{numbers.uri}.kept").rename(numbers.uri)
    assert reason(numbers) == "it has applied version 3, and bronze is at 1"
    numbers.land(2)
    numbers.sums.catch_up()
    shutil.copytree(numbers.uri, f"{numbers.uri}.kept")
    numbers.land(3)
    numbers.sums.catch_up()
    shutil.rmtree(numbers.uri)
    Path(f"{numbers.uri}.kept").rename(numbers.uri)
    numbers.land(9, 10)
    assert reason(numbers) == "bronze went back, and wrote other commits since"


def test_rows_that_left_bronze(numbers):
    numbers.land(1, 2)
    numbers.sums.catch_up()
    DeltaTable(numbers.uri).delete("n = 1")
    assert "rows were removed in version 3" in reason(numbers)


def test_bronze_whose_log_was_cut(numbers):
    numbers.land(1)
    numbers.sums.catch_up()
    numbers.land(2, 3)
    cut_log(numbers.uri)
    assert reason(numbers).startswith("bronze no longer has /")


def test_a_start_again_that_was_cut_is_begun_again(numbers):
    numbers.land(1, 2)
    numbers.sums.catch_up()
    DeltaTable(numbers.uri).delete("n = 1")
    numbers.sums.crash_after = "country"
    with pytest.raises(Crash):
        numbers.sums.catch_up()
    numbers.restart()
    assert reason(numbers)
    numbers.restart()
    assert reason(numbers) == ""


@pytest.fixture
def bronze(numbers):
    numbers.land(1, 2)
    return numbers.uri


@pytest.mark.parametrize(
    ("parts", "state", "has_rows", "why"),
    [
        ([None, None], [], False, ""),
        ([None], [], True, "does not say of which version"),
        ([("b", NOTHING, None)], [], True, "does not say of which version"),
        ([("b", NOTHING, None)], [], False, ""),
        ([None, ("b", 1, None)], [], False, "does not say of which version"),
        ([("b", 1, None), ("b", 2, None)], [None], True, ""),
        ([("a", 2, None)], [], True, "another bronze table"),
        ([("b", 2, None)], [("a", 1, None)], True, "another bronze table"),
        ([("b", 3, None)], [], True, "applied version 3, and bronze is at 2"),
        ([("b", 2, 7)], [], True, "wrote other commits since"),
        ([("b", 2, None)], [("b", 1, 7)], True, "wrote other commits since"),
        ([("b", 2, "real")], [("b", 1, "real")], True, ""),
    ],
)
def test_why_a_follower_starts_again(bronze, parts, state, has_rows, why):
    def record(told):
        if told is None:
            return None
        id_, version, time = told
        return Applied(id_, version, commit_time(bronze, version) if time == "real" else time)

    found = why_start_over(bronze, "b", 2, [*map(record, parts)], [*map(record, state)],
                     has_rows=has_rows)  # fmt: skip
    assert why in found
    assert bool(found) is bool(why)


# The kinds: each records what the follower reads back


@pytest.fixture
def lake(settings):
    lake = orders.Lake(settings)
    for number in range(3):
        lake.land([orders.change("c", number, orders.row(order_id=number))])
    return lake


def followers(lake):
    """A follower of each kind, opened as another process would."""
    lake.restart()
    ledger = Ledger.open("orders", lake.settings, lake.connection)
    return {"silver": lake.silver, "parquet": lake.parquet, "ledger": ledger}


@pytest.mark.parametrize("kind", ["silver", "parquet", "ledger"])
def test_each_kind_goes_on_from_its_record_and_starts_again_from_another_bronze(lake, kind):
    follower = followers(lake)[kind]
    assert follower.catch_up() == 3
    follower.persist()
    again = followers(lake)[kind]
    assert again.version == 3
    lake.land([orders.change("c", 3, orders.row(order_id=3))])
    with capture_logs() as logs:
        assert again.catch_up() == 4
    assert warned(logs) == []
    again.persist()
    shutil.rmtree(lake.bronze.bronze.uri)
    lake.restart()
    lake.next = 0
    lake.land([orders.change("c", 9, orders.row(order_id=9))])
    last = followers(lake)[kind]
    with capture_logs() as logs:
        last.catch_up()
    [warning] = warned(logs)
    assert warning["reason"] == "it is of another bronze table"
    assert last.version == 1
