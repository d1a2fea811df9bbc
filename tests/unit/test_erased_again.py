"""A data file of the ledger `erased` that is lost does not leave the lake unproven for good."""

from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse.audit.proof import Verdict
from lakehouse.core.errors import TableDamaged
from lakehouse.operations.repair import Repair
from tests.conftest import encode, long, sale
from tests.support.audited import Kafka, proof, without
from tests.support.erased import OTHER, erased
from tests.support.lake import left_alone


@pytest.fixture
def lake(erased_root, settings):
    """The client was erased, and its addresses are in the ledger."""
    return left_alone(erased_root, settings)


def addresses(lake):
    return sorted({*lake.rows("erased/sales")["offset"]})


def lose_a_file(lake, damage, which=-1):
    file = Path(sorted(DeltaTable(path(lake)).file_uris())[which])
    damage(file)
    return file


def path(lake):
    return f"{lake.settings.lake.root}/erased/sales"


def flip(file):
    data = bytearray(file.read_bytes())
    data[20] ^= 1
    file.write_bytes(data)


def repair(lake, kafka):
    return Repair("erased.sales", lake.settings, kafka.topic, print, kafka.judge).run()


@pytest.mark.parametrize(
    ("damage", "beginning"),
    [
        (Path.unlink, 0),
        (flip, 6),
        (Path.unlink, 10),
        *long((flip, 0), (Path.unlink, 6), (flip, 10)),
    ],
)
def test_what_was_erased_is_found_again(lake, damage, beginning):
    """Kafka has all of its records, some or none; the file is lost, or one bit of it flipped."""
    kafka = Kafka(end=10, beginning=beginning)
    before = addresses(lake)
    file = lose_a_file(lake, damage)
    told = proof(lake, kafka)
    assert told.verdict is Verdict.CANNOT_TELL, told.faults
    assert any("lakehouse repair erased.sales" in d and file.name in d for d in told.doubts)
    [done] = repair(lake, kafka)
    assert "its 7 addresses are found again" in done
    assert addresses(lake) == before == [1, 2, 4, 5, 6, 7, 9]
    assert repair(lake, kafka) == []
    found = proof(lake, kafka)
    assert (found.verdict, found.faults, found.doubts) == (Verdict.PROVEN, (), ())
    lake.restart()
    lake.land(encode(sale(event_id="n")), 10)
    erased(lake, OTHER)
    assert 3 in addresses(lake)


def test_markers_are_not_taken_for_erased_records(lake):
    lake.restart()
    lake.land(encode(sale(event_id="n", order_id="n")), 14)
    lake.persist()
    lose_a_file(lake, Path.unlink)
    kafka = Kafka(end=15, markers=(10, 11, 12, 13))
    assert len(repair(lake, kafka)) == 1
    assert addresses(lake) == [1, 2, 4, 5, 6, 7, 9]
    assert proof(lake, kafka).verdict is Verdict.PROVEN


def test_more_than_was_erased_is_not_concealed(lake):
    lose_a_file(lake, Path.unlink)
    without(lake, "bronze/sales", '"offset" = 0')
    version = DeltaTable(path(lake)).version()
    with pytest.raises(TableDamaged, match="more is lacking in the tables than it held") as told:
        repair(lake, Kafka(end=10))
    assert "lakehouse restore BACKUP" in told.value.remedy
    assert DeltaTable(path(lake)).version() == version


def test_of_two_files_one_is_found_again(lake):
    erased(lake, OTHER)
    before = addresses(lake)
    lose_a_file(lake, Path.unlink)
    assert len(repair(lake, Kafka(end=10))) == 1
    assert addresses(lake) == before
    assert proof(lake, Kafka(end=10)).verdict is Verdict.PROVEN
