"""What tests share: records by hand, settings on a temporary lake, real data where it is."""

from __future__ import annotations

import atexit
import gc
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import structlog
from hypothesis import settings as hypothesis
from typer import testing

from lakehouse.ingest.decode import decode_batch, decoded_schema
from lakehouse.ingest.headers import HEADERS
from lakehouse.ingest.verdict import TimeRules
from lakehouse.model.contract import Contract
from lakehouse.products.registry import contract, load_settings
from lakehouse.settings.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
RULES = TimeRules(datetime(2000, 1, 1, tzinfo=UTC), timedelta(minutes=5))
SALES = contract("sales")
if "LAKEHOUSE_STATE" not in os.environ:  # what tests start leaves nothing with the user
    os.environ["LAKEHOUSE_STATE"] = tempfile.mkdtemp(prefix="lakehouse-state-")
    Path(os.environ["LAKEHOUSE_STATE"]).chmod(0o711)  # root's database runs as another user
    atexit.register(shutil.rmtree, os.environ["LAKEHOUSE_STATE"], ignore_errors=True)
hypothesis.register_profile("lakehouse", deadline=None)  # a busy machine is no fault
hypothesis.load_profile("lakehouse")
testing._get_command = cache(testing._get_command)
"""The command is made once a process: it takes longer than most of what tests make it do."""
TIMES = int(os.environ.get("DRAWN_TIMES", "1"))
DATA = Path(__file__).parents[2] / "shared" / "data"


def sale(**changes: Any) -> dict[str, Any]:
    """A good event's fields, with changes; None for a field named with a trailing ``_drop``."""
    fields = {
        "event_id": "e1", "event_time": "2026-11-20T11:00:00+00:00", "order_id": "o1",
        "client_id": "c1", "country": "Germany", "segment": "B2C", "product_id": "p1",
        "product_name": "mug", "quantity": 2, "unit_price": 2.5, "currency": "EUR",
        "channel": "web",
    }  # fmt: skip
    return {**fields, **changes}


def records(
    values: Sequence[bytes | None],
    *,
    keys: Sequence[bytes | None] | None = None,
    headers: Sequence[list[dict[str, Any]]] | None = None,
    topic: str = "sales",
    first: int = 0,
    partition: int = 0,
    times: Sequence[datetime] | None = None,
) -> pa.RecordBatch:
    """Kafka rows as Spark gives them, offsets from ``first``."""
    size = len(values)
    return pa.RecordBatch.from_pydict(
        {
            "key": pa.array(keys or [b"k"] * size, pa.binary()),
            "value": pa.array(values, pa.binary()),
            "headers": pa.array(headers or [[{"key": "h", "value": b"v"}]] * size, HEADERS),
            "topic": pa.array([topic] * size, pa.string()),
            "partition": pa.array([partition] * size, pa.int32()),
            "offset": pa.array(range(first, first + size), pa.int64()),
            "timestamp": pa.array(times or [NOW] * size, pa.timestamp("us", "UTC")),
        }
    )


def decoded(values: Sequence[bytes | None], of: Contract = SALES, **where: Any) -> pa.Table:
    """What the executors give for these values."""
    batches = list(decode_batch(records(values, **where), of, RULES))
    return pa.Table.from_batches(batches, decoded_schema(of))


def encode(*events: dict[str, Any]) -> list[bytes]:
    """Events as Kafka values."""
    return [json.dumps(event).encode() for event in events]


def long(*values: Any) -> list[Any]:
    """More parameters of a test, for `make test-long`: see CONTRIBUTING.md."""
    return [
        pytest.param(*v if isinstance(v, tuple) else (v,), marks=pytest.mark.long) for v in values
    ]


def drawn(examples: int, **more: Any) -> Callable[[Callable[..., None]], Any]:
    """A test of so many drawn examples; `make test-long` tries ten times as many.

    ``more`` are other settings of Hypothesis.
    """
    settings = hypothesis(max_examples=examples * TIMES, **more)
    return lambda test: pytest.mark.drawn(settings(test))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """For `make test`: see tests/apart.py."""
    from tests.apart import workers  # noqa: PLC0415  # only the process that schedules

    return workers()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For `make test`: see tests/apart.py."""
    from tests.apart import Apart  # noqa: PLC0415  # only the process that schedules

    return Apart(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection() -> None:
    """To look through what is being imported takes a quarter of the collection's time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What is collected stays as long as the process: nobody looks through it again."""
    gc.freeze()
    gc.enable()


_UMASK = os.umask(0o022)
os.umask(_UMASK)


@pytest.fixture(autouse=True)
def _narration() -> Iterator[None]:
    """Narration goes to no stream of an earlier test's command, and what is made has our rights."""
    yield
    structlog.reset_defaults()
    os.umask(_UMASK)


def settings_at(root: Path) -> Settings:
    """The project's settings on a lake at this root."""
    ours = (pair for pair in os.environ.items() if pair[0].startswith("LAKEHOUSE_"))
    return _settings(frozenset(ours)).with_root(root)


@cache
def _settings(environment: frozenset[tuple[str, str]]) -> Settings:
    """Read once for each environment: it takes as long as a small commit."""
    return load_settings(Path(__file__).parents[1] / "config.ini")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The project's settings on a lake of the test's own."""
    return settings_at(tmp_path / "lake")


@pytest.fixture(scope="session")
def spark() -> SparkSession:
    """A local session with the pinned jars, for all tests of a process."""
    from lakehouse.cli.start import engine  # noqa: PLC0415  # most tests do without Spark
    from lakehouse.core.lock import one_at_a_time  # noqa: PLC0415  # likewise
    from lakehouse.runtime.session import session  # noqa: PLC0415  # likewise
    from lakehouse.services.jars import default_cache  # noqa: PLC0415  # likewise

    settings = load_settings()
    # to compile a query costs many times what it costs to run it over a test's few rows;
    # tests/live/test_jobs.py has Spark compile what its writer does
    conf = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
    conf = {**settings.spark_conf, **conf}
    found = engine(print)
    if not any("SharedArchiveFile" in option for option in found.java_options):
        # another process makes the archive: wait for it
        with one_at_a_time(default_cache() / "archives" / "lock"):
            found = engine(print)
    return session(settings.model_copy(update={"spark_conf": conf}), "tests", found)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real broker; its address."""
    from lakehouse.services.jars import default_cache, kafka_jars, spark_jars  # noqa: PLC0415  # as above
    from lakehouse.services.java import find_java  # noqa: PLC0415  # likewise
    from lakehouse.services.kafka import EmbeddedKafka  # noqa: PLC0415  # likewise

    cache = default_cache()
    java = find_java(cache)
    spark_jars(cache, java, print)
    jars = kafka_jars(cache, java, print)
    with EmbeddedKafka.start(tmp_path_factory.mktemp("broker"), java=java, jars=jars) as broker:
        yield broker.bootstrap_servers


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data, or a skip that says so."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA.name}: this test needs it")
    return DATA
