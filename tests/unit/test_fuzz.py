"""Thousands of drawn records through the decoder, against Python's json and Decimal.

Millions are in `make crash-matrix`; a batch that differs there is drawn again by
`python -m tests.fuzz --seed S --first N --records 1000`.
"""

from decimal import Decimal

import pytest

from tests.fuzz.compare import PRODUCTS, batch_of, decoded, differences, faults
from tests.fuzz.oracle import Broken

SEED = 11
BATCHES = 3


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda p: p.name)
@pytest.mark.parametrize("number", range(BATCHES))
def test_the_decoder_says_what_the_oracle_says(product, number):
    assert list(differences(product, batch_of(product, SEED, number))) == []


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda p: p.name)
def test_both_ends_are_drawn_often(product):
    """A fuzzer that draws only broken records, or only whole ones, would find nothing."""
    whole = 0
    for record in (records := batch_of(product, SEED, 0)):
        try:
            product.oracle(record)
            whole += 1
        except Broken:
            pass
    assert 0.3 < whole / len(records) < 0.8


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda p: p.name)
def test_an_edit_of_any_cell_is_told(product):
    records = batch_of(product, SEED, 0, 200)
    rows = decoded(product, records)
    for offset, record in enumerate(records):
        for name, cell in rows[offset].items():
            if name not in {"offset", "partition", "topic"}:
                assert list(faults(product, record, {**rows[offset], name: _other(cell)})), name


def _other(cell):
    """A cell that is not this one, near it where it has a neighbour."""
    if cell is None:
        return "1"
    if isinstance(cell, Decimal):
        return cell + Decimal("0.0001")
    return cell + 1 if isinstance(cell, int) else None
