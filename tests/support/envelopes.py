"""One change of an order as a connector sends it, decoded."""

import json

from lakehouse.products.registry import contract as contract_of
from tests.conftest import decoded

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
    return decoded([value], ORDERS).to_pylist()[0]
