"""One change of an order as a connector sends it, decoded."""

import json

import pyarrow as pa

from lakehouse.ingest.decode import decode_batch, decoded_schema
from lakehouse.products.registry import contract as contract_of
from tests.conftest import RULES, records

ORDERS = contract_of("orders")


def change(**after):
    row = {
        "order_id": 1, "customer_name": "a", "restaurant_name": "b", "item": "c",
        "amount": "12.50", "order_status": "placed", "created_at": "2026-11-20T11:00:00Z",
    }  # fmt: skip
    source = {"ts_ms": 1_763_636_400_000, "sequence": '["1","2","3"]', "txId": 1, "lsn": 5}
    return {"op": "c", "before": None, "after": {**row, **after}, "source": source}


def order(value):
    value = value if isinstance(value, bytes) else json.dumps(value).encode()
    batches = list(decode_batch(records([value]), ORDERS, RULES))
    return pa.Table.from_batches(batches, decoded_schema(ORDERS)).to_pylist()[0]
