"""A client in every place of a lake, and what is left of it."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from lakehouse.audit.proof import Verdict
from lakehouse.operations.erase import erase
from lakehouse.operations.person import naming
from tests.conftest import NOW, encode, sale
from tests.support.audited import Kafka, proof
from tests.support.lake import assert_silver_is_a_function_of_bronze
from tests.support.quarantined import OLD

GONE = "Müller-4711"
"""The client to erase; a name that JSON may escape."""
OTHER = "client-0815"
ROOT = Path(__file__).parents[2]


def bad(client, **more):
    return sale(client_id=client, event_time=OLD, **more)


def values():
    """Offsets 0 to 9; the client's are 1, 2 (a copy), 4 (another's copy), 5, 6, 7 and 9."""
    return [
        *encode(
            sale(event_id="a"),
            sale(event_id="m", client_id=GONE, order_id="o2", country="France"),
            sale(event_id="m", client_id=GONE, order_id="o2", country="France"),
            sale(event_id="b", client_id=OTHER, order_id="o3"),
            sale(event_id="m", client_id=OTHER, order_id="o2"),
            bad(GONE, event_id="q1"),
        ),
        b'{"client_id": "' + GONE.encode(),
        json.dumps(bad(GONE, event_id="q2"), ensure_ascii=False).encode(),
        *encode(bad(GONE + "2", event_id="q3")),
        *encode(sale(event_id="z", client_id=GONE, order_id="o9")),
    ]


def erased(lake, client=GONE, now=NOW):
    done = erase(client, "sales", lake.settings, now)
    lake.restart()
    return done


def traces(root, client=GONE):
    """Files anywhere below the root that hold the client's name, as bytes or in a column."""
    named = naming(client)
    found = []
    for path in Path(root).rglob("*"):
        if path.is_file():
            texts = [path.read_bytes()]
            if path.suffix == ".parquet":
                texts.append(json.dumps(pq.read_table(path).to_pylist(), default=as_text).encode())
            if any(named.search(text) for text in texts):
                found.append(str(path.relative_to(root)))
    return found


def as_text(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def assert_gone(lake, end=10):
    assert traces(lake.settings.lake.root) == []
    lake.fold()
    found = proof(lake, Kafka(end=end))
    assert (found.faults, found.doubts) == ((), ())
    assert found.verdict is Verdict.PROVEN
    assert_silver_is_a_function_of_bronze(lake)
    return found
