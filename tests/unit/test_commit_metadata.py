"""Commit metadata that does not fit is reported with its key, and repaired."""

import json
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse.audit.proof import Verdict
from lakehouse.audit.run import topic_of
from lakehouse.core.errors import TableDamaged
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.report import freshness
from lakehouse.operations.deep import read_whole
from lakehouse.operations.repair import Repair
from lakehouse.sinks.parquet_files import TAKEN, taken
from lakehouse.storage.metadata import NOTE, metadata_of
from tests.conftest import long
from tests.support.audited import Kafka, path, proof, says
from tests.support.lake import copied
from tests.support.logs import retold

ENDS = {"topic": "sales", "topic_id": "t1", "next": {"0": 10}, "newest": None, "batch": 1}
SUM = "0" * 32
SOURCE = {"table": "bronze.sales", "id": "x", "version": 2, "time": 1}


@pytest.fixture
def lake(audited_root, settings):
    return copied(audited_root, settings)


def ends(**changes):
    return {"flow": "sales.bronze", "ends": {**ENDS, **changes}}


def added(**changes):
    return {"fingerprint": {"total": [1, SUM], "since": [1, 0], **changes}}


BAD = {
    "a number for ends": ({"ends": 5}, "$.ends"),
    "a list for ends": ({"ends": []}, "$.ends"),
    "ends that lack keys": ({"ends": {"next": []}}, "$.ends"),
    "an offset as text": (ends(next={"0": "7"}), "$.ends.next[...]"),
    "a huge offset": (ends(next={"0": 10**30}), "$.ends.next[...]"),
    "an offset beyond 64 bits": (ends(next={"0": 2**63}), "$.ends.next[...]"),
    "a negative offset": (ends(next={"0": -3}), "$.ends.next[...]"),
    "a partition's name": (ends(next={"zero": 3}), "$.ends.next"),
    "a topic that is a number": (ends(topic=5), "$.ends.topic"),
    "a topic id that is a number": (ends(topic_id=5), "$.ends.topic_id"),
    "a time that is none": (ends(newest="soon"), "$.ends.newest"),
    "a time without a zone": (ends(newest="2026-11-20T11:00:00"), "$.ends.newest"),
    "a time at the calendar's end": (ends(newest="9999-12-31T23:59:59-14:00"), "$.ends"),
    "lost that says nothing": (ends(lost=[{}]), "$.ends.lost[0]"),
    "rules cut short": (ends(rules=[[1]]), "$.ends.rules[0]"),
    "quarantine's version alone": (ends(quarantine=7), "$.ends.quarantine"),
    "rows that are text": ({**ends(), "rows": "many"}, "$.rows"),
    "a total that is text": (added(total=["1", SUM]), "$.fingerprint.total[0]"),
    "a sum that is none": (added(total=[1, "x"]), "$.fingerprint.total[1]"),
    "a huge count": (added(total=[10**40, SUM]), "$.fingerprint.total[0]"),
    "since that is a number": (added(since=1), "$.fingerprint.since"),
    "batches of nobody": (added(batches={"x": [1, SUM]}), "$.fingerprint.batches"),
    "a source without a number": ({"source": {**SOURCE, "version": "2"}}, "$.source.version"),
    "an id that is a number": ({"source": {**SOURCE, "id": 2}}, "$.source.id"),
    "a source of no calendar's time": ({"source": {**SOURCE, "time": 10**18}}, "$.source.time"),
    "an erasure since nobody knows when": ({"erase": {"begun": True}}, "$.erase"),
}


@pytest.mark.parametrize(("said", "key"), BAD.values(), ids=[*BAD])
def test_metadata_that_does_not_fit_is_told_with_its_key(said, key):
    with pytest.raises(ValueError, match="carries metadata that does not fit") as told:
        metadata_of({NOTE: json.dumps(said)})
    assert key in str(told.value)


def test_deep_nesting_is_another_programs_word():
    assert metadata_of({NOTE: "[" * 100_000}) == {}


@pytest.mark.parametrize(
    ("which", "checkpoint"),
    [
        ("a number for ends", False),
        ("a sum that is none", False),
        ("a huge offset", True),
        *long(("a huge offset", False), ("a number for ends", True), ("a sum that is none", True)),
    ],
)
def test_bronze_with_such_a_commit_is_refused_in_words_and_repaired(lake, which, checkpoint):
    said, key = BAD[which]
    uri = path(lake, "bronze/sales")
    says(lake, "bronze/sales", json.dumps(said))
    if checkpoint:
        DeltaTable(uri).create_checkpoint()
    place = f"{DeltaTable(uri).version():020}.json"
    for look in (lake.restart, lambda: freshness(Catalogue(lake.settings.lake.root))):
        if checkpoint and look is not lake.restart:
            continue  # rows and files are what the checkpoint says
        with pytest.raises(TableDamaged) as told:
            look()
        assert "bronze.sales" in told.value.place
        assert place in told.value.fault
        assert key in told.value.fault
        assert told.value.remedy.startswith("lakehouse repair bronze.sales --root ")
    assert topic_of(lake.settings, "sales") == "sales"
    found = proof(lake)
    assert found.verdict is Verdict.CANNOT_TELL, found.faults
    assert any(place in doubt and "lakehouse repair" in doubt for doubt in found.doubts)
    if not checkpoint:
        damage = {
            name: fault
            for name, _, fault in read_whole(Catalogue(lake.settings.lake.root).lake, "1GB")
        }
        assert place in damage["bronze.sales"].fault
    assert len(Repair("bronze.sales", lake.settings, Kafka().topic, print).run()) == 1
    lake.restart()
    assert proof(lake).verdict is Verdict.PROVEN


@pytest.mark.parametrize("which", ["a source without a number", "an id that is a number"])
def test_silver_with_such_a_commit_cannot_be_told(lake, which):
    said, key = BAD[which]
    says(lake, "silver/sales_by_country", json.dumps({"flow": "sales.silver", **said}))
    found = proof(lake)
    assert found.verdict is Verdict.CANNOT_TELL, found.faults
    assert any(key in doubt and "rebuild" in doubt for doubt in found.doubts)


@pytest.mark.parametrize(
    "info",
    [{"timestamp": "x"}, {"timestamp": 10**30}, {"operation": 5}, {"operationMetrics": []},
     {"operationParameters": 1}],
)  # fmt: skip
def test_odd_words_in_a_commit_stop_nobody(lake, info):
    says(lake, "bronze/sales", "nightly")
    uri = path(lake, "bronze/sales")
    entry = Path(uri, "_delta_log", f"{DeltaTable(uri).version():020}.json")
    retold(entry, lambda action: action.get("commitInfo", {}).update(info))
    lake.restart()
    assert Catalogue(lake.settings.lake.root).history("bronze.sales", 5)
    assert proof(lake).faults == ()


@pytest.mark.parametrize("text", ["7", "{}", "{", b"\xff", '{"bronze": 1, "version": 2}',
                                  '{"bronze": "a", "version": "2"}',
                                  '{"bronze": "a", "version": 2, "time": 1e18}'])  # fmt: skip
def test_a_parquet_record_that_does_not_fit_is_told(tmp_path, text):
    (tmp_path / TAKEN).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(TableDamaged, match="is not what the writer of the files wrote"):
        taken(tmp_path)
