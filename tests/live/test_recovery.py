"""Recovery with a real broker and real Spark: checkpoints damaged, topics gone, lakes gone back."""

import json
import shutil
import threading
import time
from pathlib import Path

import pytest
from deltalake import DeltaTable
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from lakehouse.audit.proof import Verdict
from lakehouse.core.errors import LakehouseError, TableDamaged
from lakehouse.ingest.topic import TopicReader
from lakehouse.products.registry import load_settings
from lakehouse.products.sales.tables import FLOWS
from lakehouse.runtime.driver import run
from lakehouse.settings.kafka_client import ensure_topic
from tests.conftest import encode, long, sale
from tests.live.conftest import command, proof, sales_from, verb

pytestmark = pytest.mark.live
TIMES = {"event_time": "2026-01-05T10:00:00Z"}
BRONZE = FLOWS[:1]


class Shop:
    """A lake and a topic of the test's own, on the shared broker."""

    def __init__(self, kafka, spark, root, topic):
        self.kafka, self.spark, self.topic, self.sent = kafka, spark, topic, 0
        self.root = root
        settings = load_settings().with_kafka(kafka).with_root(root)
        self.settings = settings.changed(sales={"topic": topic, "partitions": 1})
        self.admin = KafkaAdminClient(bootstrap_servers=kafka)

    @property
    def environment(self):
        return sales_from(self.kafka, self.topic, LAKEHOUSE_SALES_PARTITIONS="1")

    def send(self, count):
        """Events of ids never used before; each fifth breaks the contract."""
        producer = KafkaProducer(bootstrap_servers=self.kafka, acks="all")
        for n in range(self.sent, self.sent + count):
            event = encode(sale(event_id=f"e{n}", order_id=f"o{n}", **TIMES))[0]
            producer.send(self.topic, b"{" if n % 5 == 4 else event, partition=0)
        producer.close()
        self.sent += count

    def run(self, flows=FLOWS, **how):
        run(flows, self.settings, lambda: self.spark, **{"available_now": True, **how})

    def lakehouse(self, *words, check=True):
        return verb(*words, "--root", self.root, check=check, **self.environment)

    def assert_proven(self, held=None):
        found = proof(self.settings)
        assert (found.faults, found.doubts) == ((), ())
        assert found.verdict is Verdict.PROVEN
        account = found.account
        wanted = self.sent if held is None else held
        assert account.total("bronze") + account.total("quarantine") == wanted
        assert {table.behind for table in found.tables} == {0}
        return account

    def expire(self, before):
        self.admin.delete_records({TopicPartition(self.topic, 0): before})

    def recreate(self):
        self.admin.delete_topics([self.topic])
        deadline = time.monotonic() + 200
        while True:
            try:
                self.admin.create_topics([NewTopic(self.topic, 1, 1)])
                return
            except Exception:  # noqa: BLE001  # it is still being deleted
                assert time.monotonic() < deadline
                time.sleep(0.1)


@pytest.fixture
def new_shop(kafka, spark, tmp_path, request):
    """One whose topic nobody has made."""
    shop = Shop(kafka, spark, tmp_path / "lake", f"recovery-{abs(hash(request.node.name))}")
    yield shop
    shop.admin.close()


@pytest.fixture
def shop(new_shop):
    ensure_topic(new_shop.settings.kafka, new_shop.settings.product("sales"))
    return new_shop


def newest(folder):
    return max((p for p in folder.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))


def ahead(checkpoint):
    """As if it had planned and done what never landed."""
    path = newest(checkpoint / "offsets")
    *lines, offsets = path.read_text().splitlines()
    raised = {
        t: {p: o + 1000 for p, o in parts.items()} for t, parts in json.loads(offsets).items()
    }
    path.write_text("\n".join([*lines, json.dumps(raised)]))


def each(pattern, content):
    def damage(checkpoint):
        for path in checkpoint.glob(pattern):
            if path.is_file():
                path.write_bytes(content)

    return damage


def a_file(checkpoint):
    shutil.rmtree(checkpoint)
    checkpoint.write_text("no folder")


DAMAGES = {
    "lost": shutil.rmtree,
    "a file in its place": a_file,
    "metadata empty": each("metadata", b""),
    "metadata garbage": each("metadata", b"{\x00"),
    "offsets empty": each("offsets/*", b""),
    "offsets garbage": each("offsets/*", b"v1\n{}\n{"),
    "newest offsets missing": lambda c: newest(c / "offsets").unlink(),
    "offsets missing": lambda c: shutil.rmtree(c / "offsets"),
    "commits empty": each("commits/*", b""),
    "commits missing": lambda c: shutil.rmtree(c / "commits"),
    "sources garbage": each("sources/0/0", b"\xff"),
    "hidden sums garbage": each("**/.*", b"crc\x00garbage"),
    "ahead of the table": ahead,
}
LIKE_OTHERS = {
    "metadata empty", "offsets empty", "offsets missing", "commits empty", "hidden sums garbage",
}  # fmt: skip
"""Ways to what the others show: a part of the checkpoint is no longer what Spark wrote."""
FEWER = [name for name in DAMAGES if name not in LIKE_OTHERS]


@pytest.mark.parametrize("names", [FEWER, *long([*DAMAGES])], ids=len)
def test_whatever_became_of_the_checkpoint_nothing_is_lost_or_doubled(shop, names):
    checkpoint = shop.root / "_checkpoints" / "sales.bronze"
    shop.send(5)
    shop.run()
    shutil.copytree(checkpoint, shop.root / "before")

    def rolled_back(folder):
        shutil.rmtree(folder)
        shutil.copytree(shop.root / "before", folder)

    damages = {**DAMAGES, "rolled back": rolled_back}
    for name in (*names, "rolled back"):
        damages[name](checkpoint)
        shop.send(5)
        shop.run(BRONZE)
        assert DeltaTable(shop.root / "bronze" / "sales").version() >= shop.sent // 5, name
        table = DeltaTable(shop.root / "bronze" / "sales")
        assert sum(table.get_add_actions()["num_records"].to_pylist()) == shop.sent * 4 // 5, name
    shop.run()
    shop.assert_proven()


def test_expired_records_are_refused_and_once_accepted_listed(shop):
    shop.send(10)
    shop.run()
    shop.send(20)
    shop.expire(before=18)
    with pytest.raises(TableDamaged, match=r"partition 0: expired: offsets 10 to 17 \(8 offsets\)"):
        shop.run()
    refused = shop.lakehouse("audit", check=False)
    assert refused.returncode == 3
    assert "8 offsets expired in Kafka before bronze took them" in refused.stdout
    accepted = shop.lakehouse("accept-gap", "sales", "--json")
    assert [gap["offsets"] for gap in json.loads(accepted.stdout)["accepted"]] == [8]
    assert "no gap" in shop.lakehouse("accept-gap", "sales").stderr
    shop.run()
    account = shop.assert_proven(held=22)
    assert account.partitions[0].accepted == 8
    listed = shop.lakehouse("audit")
    assert "1 gaps were accepted as lost" in listed.stdout
    assert "GIVEN UP" in listed.stdout


def test_without_fail_on_data_loss_a_gap_is_recorded_and_not_passed_in_silence(shop):
    shop.send(10)
    shop.run()
    shop.send(10)
    shop.expire(before=15)
    shop.settings = shop.settings.changed(kafka={"fail_on_data_loss": False})
    shop.run()
    account = shop.assert_proven(held=15)
    assert account.partitions[0].accepted == 5
    assert [gap["offsets"] for gap in account.lost] == [5]


def test_a_topic_rebuilt_is_refused_and_once_accepted_goes_on(shop):
    shop.send(10)
    shop.run()
    shop.recreate()
    shop.send(15)
    with pytest.raises(TableDamaged, match="topic recreated: what it held from offset 10"):
        shop.run()
    assert "recreated" in shop.lakehouse("audit", check=False).stdout
    shop.lakehouse("accept-gap", "sales")
    shop.run()
    account = shop.assert_proven(held=15)
    assert account.former == 10
    with TopicReader(shop.settings.kafka, shop.topic) as reader:
        took = []
        for _ in range(20):
            started = time.perf_counter()
            reader.read()
            took.append(time.perf_counter() - started)
    print(f"asking Kafka where a topic stands takes {1000 * min(took):.1f} ms")
    assert min(took) < 0.1, "it waits for something: each batch asks"


def test_a_topic_rebuilt_while_the_flow_runs_is_refused_before_a_row_lands(shop):
    shop.send(10)
    ended = []
    stop, landed = threading.Event(), threading.Event()

    def flow():
        try:
            shop.run(available_now=False, stop=stop, on_landed=lambda _: landed.set())
        except LakehouseError as error:
            ended.append(error)

    thread = threading.Thread(target=flow)
    thread.start()
    try:
        assert landed.wait(200)
        shop.recreate()
        shop.send(40)
        thread.join(200)
        assert not thread.is_alive()
    finally:
        stop.set()
        thread.join()
    assert ended, "the flow went on with another topic"
    table = DeltaTable(shop.root / "bronze" / "sales")
    assert sum(table.get_add_actions()["num_records"].to_pylist()) == 8
    shop.lakehouse("accept-gap", "sales")
    shop.run()
    assert shop.assert_proven(held=40).former == 10


def test_tables_restored_to_an_older_version_are_brought_forward(shop):
    for _ in range(3):
        shop.send(10)
        shop.run()
    for name in ("bronze", "quarantine", "silver"):
        table = "sales" if name != "silver" else "sales_by_client"
        DeltaTable(shop.root / name / table).restore(2)
        if name == "bronze":
            shop.send(5)
        shop.run()
        shop.assert_proven()
    assert shop.lakehouse("audit").stdout.startswith("PROVEN")


def test_a_cut_commit_is_repaired_and_landed_again(new_shop):
    shop = new_shop
    shop.run()  # makes the topic, and ends, as it is empty
    shop.send(10)
    shop.run()
    log = sorted(Path(shop.root, "bronze", "sales", "_delta_log").glob("*.json"))[-1]
    log.write_bytes(log.read_bytes()[:100])
    with pytest.raises(TableDamaged, match=r"lakehouse repair bronze\.sales"):
        shop.run()
    assert shop.lakehouse("explore", "--sql", "FROM bronze.sales", check=False).returncode == 1
    told = json.loads(shop.lakehouse("repair", "bronze.sales", "--json").stdout)
    assert len(told["done"]) == 1
    shop.run()
    shop.assert_proven()


def test_a_backup_taken_while_the_flow_runs_is_restored_and_proven(shop):
    shop.send(10)
    stop, landed = threading.Event(), threading.Event()
    how = {"available_now": False, "stop": stop, "on_landed": lambda _: landed.set()}
    thread = threading.Thread(target=lambda: shop.run(**how))
    thread.start()
    try:
        assert landed.wait(200)
        shop.send(10)
        shop.lakehouse("backup", shop.root.parent / "backup")
        shop.send(10)
        shop.lakehouse("rebuild", "sales", check=False)
        words = ["restore", shop.root.parent / "backup", "--force", "--root", shop.root]
        refused = command(*words, check=False, **shop.environment)
        assert refused.returncode == 6
    finally:
        stop.set()
        thread.join(200)
    shutil.rmtree(shop.root)
    shop.lakehouse("restore", shop.root.parent / "backup")
    shop.run()
    shop.assert_proven()
    DeltaTable(shop.root / "silver" / "sales_by_country").update({"units": "1"})
    assert shop.lakehouse("audit", check=False).returncode == 1
    assert "keys differed" in shop.lakehouse("rebuild", "sales").stdout
    shop.assert_proven()
