"""A server that crashes gives transaction ids again: nothing that stays is skipped."""

from __future__ import annotations

import threading
from contextlib import closing, suppress

import psutil
import psycopg
import pytest

from lakehouse.services.postgres import EmbeddedPostgres
from tests.conftest import long
from tests.live.conftest import open_folder
from tests.live.orders_table import INSERT, ROOT, Orders, current

pytestmark = pytest.mark.live


def crash(server, folder):
    """The server and all of its processes at once, as in a power cut; then it starts again."""
    parent = psutil.Process(server.pid)
    every = [parent, *parent.children(recursive=True)]
    parent.suspend()  # or it would end the others in order
    for process in reversed(every):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    server.stop()
    return EmbeddedPostgres.start(folder)


def write(orders, stop, durable):
    """Commits, and before each a transaction that is rolled back: it has an id too."""
    with suppress(psycopg.Error), closing(orders.connect()) as connection:
        connection.execute(f"SET synchronous_commit = {durable}")
        number = 0
        while not stop.is_set():
            number += 1
            with suppress(ZeroDivisionError), connection.transaction():
                connection.execute(INSERT + "('rolled back', 'b', 'c', 1)")
                raise ZeroDivisionError
            connection.execute(INSERT + f"('w{number}', 'b', 'c', 1)")


@pytest.mark.parametrize(
    ("mode", "durable"), [("poll", "off"), *long(("poll", "on"), ("slot", "on"), ("slot", "off"))]
)
def test_a_crash_that_gives_ids_again_loses_and_invents_nothing(kafka, mode, durable):
    with open_folder() as folder:
        server = EmbeddedPostgres.start(folder)
        orders = Orders(f"crash{mode}{durable}", server.url, kafka, folder / "lake")
        orders.sql((ROOT / "db" / "orders.sql").read_text("utf-8"))
        try:
            for _ in range(3):
                stop = threading.Event()
                writer = threading.Thread(target=write, args=(orders, stop, durable))
                with orders.following(mode):
                    writer.start()
                    wanted = len(orders.table()) + 20
                    orders.until(lambda now, wanted=wanted: len(now) >= wanted)
                    server = crash(server, folder)
                    stop.set()
                    writer.join()
                orders.capture(mode)
                assert current(orders.records()) == orders.table()
        finally:
            server.stop()
