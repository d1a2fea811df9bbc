"""The producer of customers: believable ones, files in chunks, records broken on purpose."""

import itertools
import json
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lakehouse.core.errors import UsageError
from lakehouse.ingest.verdict import explain
from lakehouse.model.contract import Record
from lakehouse.products.registry import contract
from producers.churn import table
from producers.churn.batch import Batch
from producers.churn.customers import Customers
from producers.churn.faults import FAULTS
from producers.churn.producer import history
from producers.command import counted
from tests.conftest import RULES

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
IBM = Path(__file__).parents[2].parent / "shared/data/telco_customer_churn.csv.gz"
HEADER = ",".join(table.COLUMNS)
ROW = (
    "7590-VHVEG,Female,0,Yes,No,1,No,No phone service,DSL,No,Yes,No,No,No,No,Month-to-month,Yes,"
    "Electronic check,29.85,29.85,No"
)


def verdict(message):
    return explain(Record(message.key, message.value, None, NOW), contract("churn"), RULES).verdict


def test_the_same_seed_tells_the_same_customers_and_all_keep_the_contract():
    messages = [*history(2000, 3, 0.0, NOW)]
    assert [m.value for m in messages] == [m.value for m in history(2000, 3, 0.0, NOW)]
    assert {verdict(m) for m in messages} == {None}
    assert len({m.group for m in messages}) == 2000
    again = [m for m in messages if m.kind == "returning"]
    assert {m.key for m in again} <= {m.key for m in messages if m.kind == "good"}
    assert 400 < len(again) < 600


def test_customers_are_believable():
    told = itertools.islice((t for t in Customers(5) if not t.is_again), 4000)
    facts = [dict(t.facts) for t in told]

    def share(name, value, among=None):
        these = [f for f in facts if among is None or f["Contract"] == among]
        return sum(f[name] == value for f in these) / len(these)

    assert 0.23 < share("Churn", "Yes") < 0.30
    assert share("Churn", "Yes", "Month-to-month") > 5 * share("Churn", "Yes", "Two year")
    assert 0.52 < share("Contract", "Month-to-month") < 0.58
    assert 0.40 < share("InternetService", "Fiber optic") < 0.47
    assert {f["TotalCharges"] is None for f in facts if not f["tenure"]} <= {True}


def test_every_fault_breaks_the_contract_and_is_counted():
    event = json.loads(next(iter(history(1, 3, 0.0, NOW))).value)
    told = [
        explain(Record(None, fault(event), None, NOW), contract("churn"), RULES).verdict
        for fault in FAULTS.values()
    ]
    assert all(told)
    messages = [*history(1000, 3, 0.2, NOW)]
    kinds = [m.kind.startswith("corrupt") for m in messages]
    assert [verdict(m) is not None for m in messages] == kinds
    assert 150 < sum(kinds) < 250


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "customers.csv"
    odd = [
        ROW.replace("29.85,No", " ,No"), ROW.replace(",29.85,No", ",abc,No"), ROW + ",more",
        ROW.replace("Female,0", f"Female,{'9' * 5000}"), ROW.replace("29.85,29.85", "-1,29.85"),
    ]  # fmt: skip
    path.write_text("\ufeff" + "\n".join([HEADER, ROW, *odd, ""]), "utf-8")
    return path


def test_rows_of_a_file_are_judged_by_the_contract(file, tmp_path):
    batch = Batch(file, tmp_path / "c.json", "t", 10, 0.0)
    messages = [*batch.messages(batch.checkpoint(NOW, anew=False))]
    assert [verdict(m) is None for m in messages] == [True, True, False, False, False, False]
    assert [m.kind for m in messages] == ["good", "good", *["corrupt:row"] * 4]
    assert messages[0].key == b"7590-VHVEG"


def test_what_is_wrong_with_another_file_is_said_with_its_row(tmp_path, capsys):
    """Columns in another order, TotalCharges not there, Yes and No in other cases."""
    path = tmp_path / "other.csv"
    names = [name for name in reversed(table.COLUMNS) if name != "TotalCharges"]
    row = dict(zip(table.COLUMNS, ROW.split(","), strict=True))
    rows = [row, row | {"Partner": "yes"}, row | {"SeniorCitizen": "No"}]
    lines = [",".join(names), *(",".join(one[name] for name in names) for one in rows)]
    path.write_text("\n".join(lines), "utf-8")
    batch = Batch(path, tmp_path / "c.json", "t", 2, 0.0)
    stop = threading.Event()
    done = batch.send(NOW, None, lambda some: counted(some, stop, None), stop)
    assert done.by_kind == {"good": 1, "corrupt:row": 2}
    told = " ".join(capsys.readouterr().err.split())
    assert "2 of 3 rows break the contract" in told
    assert "row 2: Invalid enum value 'yes' - at `$.Partner`" in told


def test_a_file_that_was_cut_is_gone_on_with_by_the_same_ids(file, tmp_path):
    place, sent = tmp_path / "lake" / "c.json", []

    def run(chunks, *, anew=False, size=2):
        def deliver(messages):
            done = counted(messages, threading.Event(), None)
            sent.append([m.group for m in messages])
            if len(sent) > chunks:
                done.failed = 1
            return done

        sent.clear()
        batch = Batch(file, place, "t", size, 0.0)
        return batch.send(NOW, None, deliver, threading.Event(), anew=anew)

    assert run(1).failed == 1
    first, second = (list(ids) for ids in sent)
    assert json.loads(place.read_bytes())["rows"] == 2
    assert run(9).sent == 4
    assert sent[0] == second
    assert run(9).sent == 0
    assert run(9, anew=True).sent == 6
    assert sent[0] == first

    other = Batch(file, place, "another", 2, 0.0)
    with pytest.raises(UsageError, match="topic t"):
        other.checkpoint(NOW, anew=False)
    place.write_bytes(b"{")
    with pytest.raises(UsageError, match="is no checkpoint"):
        run(9)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a,b\n1,2\n", "has no column customerID"),
        (b"", "has no column customerID"),
        (HEADER.replace("Partner", "partner").encode(), "no column Partner; it has 'partner'"),
        (f"{HEADER},tenure".encode(), "names column tenure more than once"),
        (HEADER.replace(",", ";").encode(), "its first line is 'customerID;gender"),
        (f"{HEADER}\n\xff".encode("latin-1"), "cannot be read"),
        (f'{HEADER}\n"a'.encode(), "cannot be read"),
    ],
)
def test_a_file_that_is_none_is_refused_in_words(tmp_path, content, fault):
    path = tmp_path / "c.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=fault):
        table.count_rows(path)
    with pytest.raises(UsageError, match="cannot be read"):
        table.digest_of(tmp_path / "none.csv")


@pytest.mark.skipif(not IBM.exists(), reason="../shared/data/telco_customer_churn.csv.gz is absent")
def test_every_row_of_the_real_file_keeps_the_contract(tmp_path):
    batch = Batch(IBM, tmp_path / "c.json", "t", 1000, 0.0)
    messages = [*batch.messages(batch.checkpoint(NOW, anew=False))]
    assert len(messages) == 7043
    assert {verdict(m) for m in messages} == {None}
    assert sum("TotalCharges" not in json.loads(m.value) for m in messages) == 11
