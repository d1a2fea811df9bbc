"""A file of customers scored in parts: each row once, however often it is begun."""

import csv
import json
from datetime import timedelta

import pytest

from lakehouse.core.errors import DiskFull, ServiceUnavailable, UsageError
from lakehouse.core.signals import Stop
from lakehouse.products.churn.model import files
from lakehouse.products.churn.model.scoring import Scorer
from producers.churn.table import COLUMNS
from tests.conftest import RULES
from tests.support.churn import customer
from tests.support.full_disk import KIB, disk_at, full
from tests.support.models import MADE, small


@pytest.fixture
def scorer():
    return Scorer(small().card, small().graph, "the model")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "customers.csv"
    with path.open("w", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for n in range(2500):
            odd = {"Contract": "Weekly"} if n % 500 == 7 else {}
            writer.writerow(customer(customerID=f"c{n}", tenure=n % 72, TotalCharges=" ", **odd))
    return path


def lines(out, name):
    return [
        json.loads(line)
        for path in sorted(out.glob(f"{name}-*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def test_a_file_that_was_cut_is_gone_on_with(file, tmp_path, scorer, monkeypatch):
    monkeypatch.setattr(files, "PART", 400)
    out, later = tmp_path / "out", MADE + timedelta(days=1)
    whole, written = files.write_whole, []

    def cut(path, data):
        written.append(path.name)
        if len(written) == 7:
            raise KeyboardInterrupt
        whole(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_whole", cut)
        with pytest.raises(KeyboardInterrupt):
            files.score_file(file, out, scorer, RULES, Stop(), MADE)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("predictions-*")}
    assert len(before) == 2
    for _ in range(2):
        scored = files.score_file(file, out, scorer, RULES, Stop(), later)
        assert (scored.predictions, scored.dead_letters) == (2495, 5)
    assert all((out / name).stat().st_mtime_ns == time for name, time in before.items())
    said, refused = lines(out, "predictions"), lines(out, "refused")
    rows = [one["input_offset"] for one in said] + [one["row"] for one in refused]
    assert sorted(rows) == [*range(2500)]
    assert {one["scored_at"] for one in said} == {"2026-11-20T12:00:00Z"}
    assert all("'Contract' is \"Weekly\"" in one["verdict"] for one in refused)


def test_a_folder_of_another_model_is_refused(file, tmp_path, scorer):
    files.score_file(file, tmp_path / "out", scorer, RULES, Stop(), MADE)
    other = Scorer(small(2).card, small(2).graph, "another")
    with pytest.raises(UsageError, match="another file or model"):
        files.score_file(file, tmp_path / "out", other, RULES, Stop(), MADE)
    (tmp_path / "out" / "job.json").write_text("{")
    with pytest.raises(UsageError, match="another file or model"):
        files.score_file(file, tmp_path / "out", scorer, RULES, Stop(), MADE)


def test_a_full_disk_stops_it_in_words_and_it_goes_on_once_there_is_room(
    file, tmp_path, scorer, monkeypatch
):
    monkeypatch.setattr(files, "PART", 400)
    with disk_at(tmp_path / "out") as out:
        with full(out, 700 * KIB), pytest.raises(DiskFull, match="its disk is full"):
            files.score_file(file, out, scorer, RULES, Stop(), MADE)
        assert 0 < len(lines(out, "predictions")) < 2495
        scored = files.score_file(file, out, scorer, RULES, Stop(), MADE)
        assert (scored.predictions, scored.dead_letters) == (2495, 5)
        assert len(lines(out, "predictions")) == 2495


def test_a_folder_that_cannot_be_written_is_refused_in_words(file, scorer):
    with pytest.raises(ServiceUnavailable, match="cannot be written"):
        files.score_file(file, file, scorer, RULES, Stop(), MADE)
