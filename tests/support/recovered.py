"""A lake in three batches that is damaged, and how its flow goes on."""

from pathlib import Path

from lakehouse.audit.run import audit
from lakehouse.ingest.topic import Topic
from lakehouse.operations.repair import Repair
from lakehouse.operations.restore import restore
from tests.conftest import NOW, encode, sale
from tests.support.audited import Kafka
from tests.support.lake import assert_silver_is_a_function_of_bronze


def events(first, count, *, bad=()):
    """Values for offsets from ``first``; those in ``bad`` break the contract."""
    return [
        b"{" if n in bad else encode(sale(event_id=f"e{n}", order_id=f"o{n}"))[0]
        for n in range(first, first + count)
    ]


VALUES = events(0, 12, bad={2, 5, 9})
GOOD = [0, 1, 3, 4, 6, 7, 8, 10, 11]
"""Offsets that bronze holds of them."""
BATCHES = ((0, 4), (4, 8), (8, 12))


def topic(first=0, after=12, id_="t1"):
    return Topic("sales", id_, {0: (first, after)})


def uri(lake, name):
    return Path(lake.settings.lake.root).absolute().joinpath(*name.split("."))


def entry(lake, name, version):
    return uri(lake, name) / "_delta_log" / f"{version:020}.json"


def go_on(lake, *, upto=12, values=VALUES, id_="t1", first=0):
    """A start of the flow: open again, meet the topic, land what Kafka has from the ends."""
    lake.restart(topic_id=None)
    lake.bronze.position.refuse(lake.bronze.position.reconcile_topic(topic(first, upto, id_)))
    start = lake.bronze.position.ends.next.get(0, 0)
    if start < upto:
        lake.land(values[start:upto], start)
    lake.persist()


def proof(lake, kafka=None):
    broker = (kafka or Kafka(end=12)).broker()
    return audit("sales", lake.settings, broker, NOW, lambda _: None)


def restored(lake, folder):
    """The lake in another root, as the backup ``b`` of the folder has it."""
    other = lake.settings.with_root(folder / "other")
    restore(folder / "b", other, lambda _: None, force=False)
    lake.settings = other
    lake.restart()
    return lake


def assert_proven(lake, kafka=None):
    found = proof(lake, kafka)
    assert (found.faults, found.doubts) == ((), ())
    assert sorted(lake.rows("bronze/sales")["offset"]) == GOOD
    assert sorted(lake.rows("quarantine/sales")["offset"]) == [2, 5, 9]
    assert_silver_is_a_function_of_bronze(lake)


def repair(lake, name, at=None):
    return Repair(name, lake.settings, lambda: at or topic(), lambda _: None).run()


def cut_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_at_line(path):
    """What is left says what the commit is, and adds nothing."""
    path.write_bytes(path.read_bytes().splitlines()[0])


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": cut_half,
    "cut at a line": cut_at_line,
    "garbage": lambda path: path.write_bytes(b"\x00\xff garbage"),
    "not an object": lambda path: path.write_bytes(b"[1]"),
}
