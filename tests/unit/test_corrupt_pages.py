"""One flipped bit in a page: the doctor, the audit and a repair find it, and Kafka has the rest."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import lakehouse.doctor.doctor as doctor_module
from lakehouse.audit.proof import Verdict
from lakehouse.cli.doctor import doctor
from lakehouse.core.errors import TableDamaged
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.health import opened
from tests.conftest import long
from tests.earlier import without_fingerprints
from tests.support.lake import left_alone
from tests.support.recovered import GOOD, go_on, proof, repair, topic, uri


@pytest.fixture
def lake(recovered_root, settings):
    return left_alone(recovered_root, settings)


def flip(lake, name, column, number=0):
    """Flip one bit at the end of a column's data of one file; the file."""
    file = sorted(files_of(opened(str(uri(lake, name)))))[number]
    group = pq.read_metadata(file).row_group(0)
    chunk = next(
        one for n in range(group.num_columns)
        if (one := group.column(n)).path_in_schema == column
    )  # fmt: skip
    data = bytearray(Path(file).read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 4
    Path(file).write_bytes(data)
    return file


@pytest.mark.parametrize(
    ("name", "column", "number"),
    [
        ("bronze.sales", "unit_price", 0),
        ("quarantine.sales", "value", 2),
        *long(("bronze.sales", "unit_price", 2), ("quarantine.sales", "value", 0)),
    ],
)
def test_a_flipped_bit_is_found_named_and_read_again_from_kafka(lake, name, column, number):
    file = flip(lake, name, column, number)
    found = proof(lake)
    assert found.verdict is not Verdict.PROVEN
    assert Path(file).name in str(found)
    [done] = repair(lake, name)
    assert file in done
    go_on(lake)
    assert sorted(lake.rows("bronze/sales")["offset"]) == GOOD
    assert sorted(lake.rows("quarantine/sales")["offset"]) == [2, 5, 9]
    assert repair(lake, name) == []


@pytest.mark.parametrize(
    ("name", "column"),
    [("bronze.sales", "extra"), ("quarantine.sales", "headers.list.element.key")],
)
def test_a_flipped_bit_in_a_table_without_fingerprints_is_named(lake, name, column):
    without_fingerprints(uri(lake, name))
    file = flip(lake, name, column)
    found = proof(lake)
    assert found.verdict is Verdict.CANNOT_TELL, found.faults
    [doubt] = [doubt for doubt in found.doubts if Path(file).name in doubt]
    assert f"lakehouse repair {name}" in doubt


def test_a_corrupt_page_that_kafka_no_longer_has_asks_for_a_backup(lake):
    flip(lake, "bronze.sales", "unit_price")
    with pytest.raises(TableDamaged, match="lakehouse restore"):
        repair(lake, "bronze.sales", at=topic(first=11))


def test_the_doctor_reads_every_page_when_asked(lake, monkeypatch, capsys):
    monkeypatch.setattr(doctor_module, "CHECKS", ())  # those of the machine need its services
    file = flip(lake, "quarantine.sales", "value")

    def checks(**how):
        with pytest.raises(SystemExit):
            doctor(None, True, Path(lake.settings.lake.root), **how)
        return {c["name"]: c for c in json.loads(capsys.readouterr().out)}

    assert "quarantine.sales" not in checks(deep=False)
    found = checks(deep=True)
    assert (found["bronze.sales"]["state"], found["quarantine.sales"]["state"]) == ("pass", "fail")
    assert file in found["quarantine.sales"]["detail"]
    assert "lakehouse repair quarantine.sales" in found["quarantine.sales"]["fix"]
