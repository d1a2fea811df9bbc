"""``up`` on its way out: flows are stopped once all has landed, or where that cannot be told."""

import threading
from pathlib import Path

from lakehouse.cli.drained import landed_first
from lakehouse.products.registry import products
from tests.conftest import encode, sale
from tests.support.lake import Lake


def test_a_damaged_log_ends_the_wait_in_one_line_and_no_traceback(settings, monkeypatch):
    raised = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    lake = Lake(settings)
    lake.land(encode(sale()), 0)
    newest = max(Path(settings.lake.root, "bronze/sales/_delta_log").glob("*.json"))
    newest.write_text(newest.read_text().replace("topic_id", "topic_ix"))
    stop = threading.Event()
    with landed_first(products()["sales"].flows, settings, stop, lambda: None) as landed:
        stop.set()
        assert landed.wait(60)
    assert not raised
