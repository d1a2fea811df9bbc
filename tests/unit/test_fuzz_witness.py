"""The audit's second decoder on drawn records: it says what the oracle says, and never raises."""

import pickle
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from lakehouse.audit.declared import recomputes_of
from lakehouse.audit.tellers import Tellers
from lakehouse.audit.told import Told
from lakehouse.audit.topic import records
from lakehouse.model.witness import Broken as NotSaid
from lakehouse.model.witness import Kind, Raw, Witness
from tests.fuzz.compare import PRODUCTS, batch_of
from tests.fuzz.oracle import Broken, parse

SEED = 77
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def as_raw(record):
    time = (record.time - EPOCH) // timedelta(milliseconds=1)
    headers = [(header["key"], header["value"]) for header in record.headers]
    return Raw(0, 0, time, record.key, record.value, headers)


def said(product, record):
    """The witness's columns as the oracle has them; None where it calls the record broken."""
    witness = recomputes_of(product.of).witness
    try:
        row = dict(zip([*witness.fields, "extra"], witness.tell(as_raw(record)), strict=True))
    except NotSaid:
        return None
    for name in product.json:
        row[name] = None if row[name] is None else parse(row[name])
    for name in ("event_time", "created_at"):
        if row.get(name) is not None:
            row[name] = EPOCH + timedelta(microseconds=row[name])
    return row


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda p: p.name)
@pytest.mark.parametrize("number", range(3))
def test_the_witness_says_what_the_oracle_says(product, number):
    for record in batch_of(product, SEED, number):
        try:
            wanted = product.oracle(record)
        except Broken:
            tell_or_not(product, record)
            continue
        assert said(product, record) == wanted, record


def tell_or_not(product, record):
    """Of a record that bronze refuses; but it must not raise: the audit reads these too."""
    with suppress(NotSaid):
        recomputes_of(product.of).witness.tell(as_raw(record))


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda p: p.name)
def test_another_process_may_be_handed_it(product):
    """An audit of many records is the work of several."""
    [record, *_] = batch_of(product, SEED, 0)
    witness = recomputes_of(product.of).witness
    tell_or_not(product, record)
    assert pickle.loads(pickle.dumps(witness)) == witness


def test_a_witness_that_no_process_can_be_handed_is_asked_here(settings):
    """Somebody's product may read its events by a lambda; the audit of many records goes on."""
    own = Witness({"id": Kind.TEXT}, frozenset(), lambda _: {"id": "1"})
    with Tellers(settings, own, records(settings.kafka, "t")) as tellers:
        assert not tellers


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda p: p.name)
def test_a_range_with_any_records_is_told(product):
    """One record whose numbers fit no column must not end the audit of all."""
    records = [r for number in range(3) for r in batch_of(product, SEED, number)]
    with duckdb.connect() as connection:
        told = Told(connection, recomputes_of(product.of).witness)
        assert told.hashes(map(as_raw, records)).num_rows == len(records)
