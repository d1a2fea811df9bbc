"""What the scheduler of `make test` names is there."""

from pathlib import Path

from tests.apart import LONGEST, OF_A_BROKER

ROOT = Path(__file__).parents[2]


def test_files_that_are_given_out_first_are_there():
    assert [name for name in (*LONGEST, *OF_A_BROKER) if not [*ROOT.glob(f"{name}*")]] == []
