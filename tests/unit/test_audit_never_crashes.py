"""Whatever is broken, the audit ends with an answer that names the file; none is "not proven"."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from lakehouse.audit.proof import Verdict
from lakehouse.audit.run import topic_of
from lakehouse.audit.steps import Steps
from tests.support.audited import path, proof
from tests.support.lake import left_alone


@pytest.fixture
def lake(audited_root, settings):
    return left_alone(audited_root, settings)


def data_files(lake, table):
    return sorted(map(Path, DeltaTable(path(lake, table)).file_uris()))


def assert_told(found, name):
    assert found.verdict is Verdict.CANNOT_TELL, found.faults
    assert any(name in doubt for doubt in found.doubts), found.doubts


@pytest.mark.parametrize("table", ["bronze/sales", "quarantine/sales", "silver/sales_by_country"])
def test_a_corrupt_page_is_told_with_its_file(lake, table):
    file = data_files(lake, table)[-1]
    data = bytearray(file.read_bytes())
    column = pq.read_metadata(file).row_group(0).column(1)
    first = column.dictionary_page_offset or column.data_page_offset
    data[first : first + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    file.write_bytes(data)
    assert_told(proof(lake), file.name)


@pytest.mark.parametrize("table", ["bronze/sales", "quarantine/sales", "silver/sales_by_country"])
def test_a_file_without_its_footer_is_told_with_its_file(lake, table):
    file = data_files(lake, table)[-1]
    data = file.read_bytes()
    file.write_bytes(data[:-8] + b"\0" * 8)
    assert_told(proof(lake), file.name)


@pytest.mark.parametrize("table", ["bronze/sales", "quarantine/sales", "silver/sales_by_country"])
def test_a_file_that_is_gone_is_told_with_its_name(lake, table):
    file = data_files(lake, table)[-1]
    file.unlink()
    assert_told(proof(lake), file.name)


@pytest.mark.parametrize("text", ["", "{", "\0" * 90])
@pytest.mark.parametrize("table", ["bronze/sales", "quarantine/sales", "silver/sales_by_country"])
def test_a_broken_newest_commit_is_told(lake, table, text):
    entry = sorted(Path(path(lake, table), "_delta_log").glob("*.json"))[-1]
    entry.write_text(text)
    assert_told(proof(lake), entry.name)


@pytest.mark.parametrize("note", ["7", '{"ends": 7}', '{"ends": {"next": []}}', "{"])
def test_a_note_that_says_nonsense_is_told(lake, note):
    log = Path(path(lake, "bronze/sales"), "_delta_log")
    for entry in log.glob("*.json"):
        text = entry.read_text()
        if '"userMetadata":"' in text:
            start = text.index('"userMetadata":"') + len('"userMetadata":"')
            end = start
            while text[end] != '"' or text[end - 1] == "\\":
                end += 1
            entry.write_text(text[:start] + note.replace('"', '\\"') + text[end:])
    assert topic_of(lake.settings, "sales") == "sales"
    assert proof(lake).verdict is not Verdict.NOT_PROVEN


def test_too_little_memory_is_told(lake):
    lake.settings = lake.settings.changed(silver={"engine_memory": "1MB"})
    found = proof(lake)
    assert found.verdict is Verdict.CANNOT_TELL
    assert any("raise [silver] engine_memory" in doubt for doubt in found.doubts)


def test_an_interrupt_is_no_doubt():
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Steps().run("a step", interrupted)


def test_another_error_is_told_as_the_audits_own():
    steps = Steps()
    assert steps.run("a step", lambda: 1 // 0) is None
    assert "the audit itself failed: ZeroDivisionError" in steps.doubts[0]
