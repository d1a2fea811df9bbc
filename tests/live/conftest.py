"""Real parts for the live tests: a broker, Spark's jars, a lake that the demo made."""

import os
import pickle
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import psycopg
import pytest
import structlog
from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from typer.testing import CliRunner

from lakehouse.audit.extent import Content
from lakehouse.audit.proof import Verdict
from lakehouse.audit.run import audit, broker_of
from lakehouse.cli import flows as verbs_of_flows
from lakehouse.cli.app import app
from lakehouse.core.errors import LakehouseError
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.sql import read
from lakehouse.ingest.reader import Start
from lakehouse.ingest.reader.process import ReaderProcess
from lakehouse.ingest.verdict import TimeRules
from lakehouse.products.registry import sections_of_products
from lakehouse.runtime.driver import flow, run
from lakehouse.services.postgres import EmbeddedPostgres
from lakehouse.settings.kafka_client import ensure_topic, reader_options
from lakehouse.settings.settings import load
from tests.conftest import SALES
from tests.live.orders_table import Orders
from tests.live.secured_broker import secured_broker

ROOT = Path(__file__).parents[2]
RULES = TimeRules(datetime(2000, 1, 1, tzinfo=UTC), timedelta(days=9999))
LAKEHOUSE = [sys.executable, "-c", "from lakehouse.cli.app import main; main()"]


def command(*words, timeout=400, check=True, **environment):
    """Run the lakehouse command in a process of its own."""
    done = subprocess.run(
        [*LAKEHOUSE, *map(str, words)],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stderr[-3000:]
    return done


def verb(*words, check=True, **environment):
    """The same in this process, for what starts no JVM and is not ended by a signal."""
    done = CliRunner().invoke(app, [*map(str, words)], env=environment)
    structlog.reset_defaults()  # what flows of this process say goes to no stream of the verb's
    code, said = done.exit_code, done.stderr
    if isinstance(done.exception, LakehouseError):
        code, said = int(done.exception.exit_code), f"{said}{done.exception}\n"
    elif done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    if check:
        assert code == 0, said[-3000:]
    return subprocess.CompletedProcess(words, code, done.stdout, said)


def settings_of(environment):
    """What the lakehouse command would read in this environment."""
    return load(sections_of_products(), ROOT / "config.ini", environment)


def sales_from(kafka, topic, **more):
    """The environment of a flow of sales that reads this topic."""
    return {"LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": kafka, "LAKEHOUSE_SALES_TOPIC": topic, **more}


def rows(root, sql):
    """A SELECT's rows, read as the explorer reads them."""
    return read(Catalogue(str(root)), sql, settings_of({}).explorer).to_pylist()


def proof(settings, content=Content.SAMPLE):
    """What ``lakehouse audit sales`` finds."""
    broker = broker_of(settings, "sales")
    return audit("sales", settings, broker, datetime.now(UTC), lambda _: None, content)


def account(root, environment, *columns):
    """Sums of an account's columns over the partitions; the audit must be proven."""
    found = proof(settings_of(environment).with_root(root))
    assert (found.faults, found.doubts) == ((), ())
    assert found.verdict is Verdict.PROVEN
    return [found.account.total(name) for name in columns]


def make_topic(environment):
    """The topic of sales, before anybody writes to it."""
    settings = settings_of(environment)
    ensure_topic(settings.kafka, settings.products["sales"])


@pytest.fixture(scope="session")
def land(spark):
    """``lakehouse run FLOW... --available-now`` without its process; waits as long."""

    def land(flows, environment, root):
        settings = settings_of(environment).with_root(root)
        run([flow(name) for name in flows], settings, lambda: spark, available_now=True)

    return land


@pytest.fixture
def peak():
    """The most that any reader took meanwhile, in MB."""
    found, done = [0], threading.Event()

    def watch():
        while not done.wait(0.1):
            for p in psutil.process_iter(["cmdline"]):
                if "lakehouse.ingest.reader" in " ".join(p.info["cmdline"] or ()):
                    try:
                        found[0] = max(found[0], p.memory_info().rss // 2**20)
                    except psutil.Error:
                        continue

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield lambda: found[0]
    done.set()
    thread.join()


@pytest.fixture(scope="session")
def demonstrate(spark, kafka):
    """``lakehouse demo`` without its process, on the broker and the session of other tests."""

    def demonstrate(*words, **environment):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(verbs_of_flows, "session_in_background", lambda *_: lambda: spark)
            given = {"LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": kafka, **environment}
            return verb("demo", *words, **given)

    return demonstrate


@pytest.fixture
def admin(kafka):
    """Kafka's client for what is done to topics."""
    client = KafkaAdminClient(bootstrap_servers=kafka)
    yield client
    client.close()


@pytest.fixture
def topic(admin, tmp_path):
    """A topic of two partitions; its name. The broker knows of it a moment after it is made."""
    name = f"topic-{tmp_path.name}"
    admin.create_topics([NewTopic(name, 2, 1)])
    deadline = time.monotonic() + 60
    while name not in admin.list_topics():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return name


@pytest.fixture
def reader(kafka, topic):
    """Makes readers of the topic, and ends them."""
    made = []

    def make(ahead=8 * 2**20, patience=60.0, servers=kafka):
        settings = settings_of({"LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": servers})
        start = Start(
            reader_options(settings.kafka), pickle.dumps(settings.kafka), topic, SALES, RULES,
            largest=64 * 2**20, ahead=ahead,
        )  # fmt: skip
        made.append(ReaderProcess(start, patience))
        return made[-1]

    yield make
    for one in made:
        one.close()


@contextmanager
def open_folder():
    """A folder that others may pass through: root's database does, and pytest's are closed."""
    folder = Path(tempfile.mkdtemp(prefix="lakehouse-live-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres():
    """A real Postgres, as the embedded one is started."""
    with open_folder() as folder, EmbeddedPostgres.start(folder) as server:
        yield server


@pytest.fixture
def database(postgres, tmp_path):
    """The URL of a database of the test's own."""
    name = f"s{abs(hash(tmp_path)) % 10**10}"
    with closing(psycopg.connect(postgres.url, autocommit=True)) as server:
        server.execute(f"CREATE DATABASE {name}")
        yield postgres.url.replace("/postgres?", f"/{name}?")
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def secured(tmp_path_factory):
    """A broker that lets nobody in unproven; its password is a canary."""
    with secured_broker(tmp_path_factory.mktemp("b"), f"c4n4ry-{secrets.token_hex(8)}") as broker:
        yield broker


@pytest.fixture
def orders(request, postgres, kafka, tmp_path):
    """Ten seeded orders in a database of the test's own."""
    name = f"o{abs(hash((request.node.name, tmp_path))) % 10**10}"
    url = postgres.url.replace("/postgres?", f"/{name}?")
    made = Orders(name, url, kafka, tmp_path / "lake")
    with closing(psycopg.connect(postgres.url)) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        cursor.execute(f"CREATE DATABASE {name}")
        made.sql((ROOT / "db" / "orders.sql").read_text("utf-8"))
        yield made
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        time.sleep(0.2)
        cursor.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
            "WHERE database = %s", (name,),
        )  # fmt: skip
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
