"""The ``lakehouse`` command: one verb a function, exit codes that scripts can trust."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from pyspark.sql import SparkSession
from rich.console import Console

from lakehouse.cli.audit import audit_command
from lakehouse.cli.erase import erase_command
from lakehouse.cli.explore import MOST, explore
from lakehouse.cli.quarantine import quarantine_app
from lakehouse.cli.recovery import recovery_commands
from lakehouse.core.errors import Exit, LakehouseError, TableLocked, UsageError, too_many_files
from lakehouse.core.logging import configure_logging
from lakehouse.core.paths import own_command
from lakehouse.core.signals import Stopped, stop_on_signals, stopped_by_sigterm
from lakehouse.doctor.doctor import doctor
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.reference import write_docs
from lakehouse.operations.maintain import maintain
from lakehouse.products.orders.verbs import capture_command, orders_verbs
from lakehouse.products.registry import contract, load_settings
from lakehouse.products.sales.tables import FLOWS
from lakehouse.runtime.archive import with_archive
from lakehouse.runtime.driver import flow, run, say_stopping
from lakehouse.runtime.session import Engine, session
from lakehouse.services.jars import default_cache, kafka_jars, spark_jars
from lakehouse.services.java import find_java
from lakehouse.services.kafka import EmbeddedKafka
from lakehouse.services.postgres import EmbeddedPostgres
from lakehouse.settings.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="A streaming medallion lakehouse that proves its own numbers. Start with: lakehouse demo",
)
NARRATION = Console(stderr=True)
Config = Annotated[Path | None, typer.Option(help="config.ini to read")]
Root = Annotated[Path | None, typer.Option(help="the lake's root")]
AsJson = Annotated[bool, typer.Option("--json", help="for machines, on stdout")]
UNLESS_ENDED = suppress(Stopped)
"""Around a flow: SIGTERM before there is anything in hand ends it too, and is no fault."""


def say(text: str) -> None:
    """Narration: on stderr, so that stdout is data."""
    NARRATION.print(text, markup=False, highlight=False)


def settings_of(config: Path | None, root: Path | None = None) -> Settings:
    """Settings for one command, and logging as they say."""
    settings = load_settings(config)
    configure_logging(settings.logging.format, settings.logging.level)
    return settings.with_root(root) if root else settings


def engine(narrate: Callable[[str], None] = say) -> Engine:
    """Java and Spark's jars on this machine."""
    cache = default_cache()
    java = find_java(cache)
    return with_archive(Engine(java.home, spark_jars(cache, java, narrate)), cache, narrate)


@contextmanager
def broker(settings: Settings) -> Iterator[Settings]:
    """Settings that name a running broker: the given one, or the embedded one, started here."""
    if settings.kafka.bootstrap_servers:
        yield settings
        return
    cache = default_cache()
    java = find_java(cache)
    root = Path(settings.lake.root)
    with EmbeddedKafka.start(root, java=java, jars=kafka_jars(cache, java, say), say=say) as kafka:
        yield settings.with_kafka(kafka.bootstrap_servers)


@contextmanager
def database(settings: Settings) -> Iterator[Settings]:
    """Settings that name a running Postgres: the given one, or the embedded one, started here."""
    if settings.postgres.url:
        yield settings
        return
    with EmbeddedPostgres.start(Path(settings.lake.root), say=say) as postgres:
        yield settings.with_postgres(postgres.url)


def session_in_background(
    settings: Settings, name: str, stop: threading.Event | None = None
) -> Callable[[], SparkSession]:
    """Begin to start Spark now; the function given waits for it, and for no longer than ``stop``.

    Then it raises Stopped.
    """
    found: list[SparkSession] = []
    failed: list[BaseException] = []

    def start() -> None:
        try:
            found.append(session(settings, name, engine()))
        except BaseException as error:  # noqa: BLE001  # raised again by whoever waits
            failed.append(error)

    thread = threading.Thread(target=start, name="spark-start", daemon=True)
    thread.start()

    def wait() -> SparkSession:
        while thread.is_alive():
            thread.join(0.1)
            if stop is not None and stop.is_set():
                raise Stopped
        if failed:
            raise failed[0]
        return found[0]

    return wait


@app.command("run")
def run_flows(
    flows: Annotated[list[str], typer.Argument(help="flows, as in sales.bronze sales.silver")],
    available_now: Annotated[
        bool, typer.Option("--available-now", help="take in what is there, then end")
    ] = False,
    root: Root = None,
    config: Config = None,
) -> None:
    """Run flows in this process until Ctrl-C, or until what is there is taken in.

    Examples: lakehouse run sales.bronze sales.silver   |
    lakehouse run sales.silver --available-now
    """
    settings = settings_of(config, root)
    chosen = [flow(name) for name in flows]
    with UNLESS_ENDED, broker(settings) as settings, stop_on_signals(say_stopping) as stop:
        run(
            chosen,
            settings,
            lambda: session(settings, "+".join(flows), engine()),
            available_now=available_now,
            stop=stop,
        )


@app.command("up")
def up(
    rate: Annotated[float | None, typer.Option(min=0.001, help="orders a second")] = None,
    root: Root = None,
    config: Config = None,
) -> None:
    """A live shop until Ctrl-C: the broker, the producer of sales, sales.bronze and sales.silver.

    Orders run beside it: lakehouse capture orders, and run orders.bronze orders.silver.

    Examples: lakehouse up   |   lakehouse up --rate 50
    """
    from producers.sales.generator import Shares  # noqa: PLC0415  # Faker loads slowly
    from producers.sales.producer import generator, live, show  # noqa: PLC0415
    from producers.sending import Summary, send  # noqa: PLC0415

    settings = settings_of(config, root)
    given = settings.producer
    shop = generator(
        settings, given.seed, f"s{given.seed}t{int(time.time() * 1000):x}",
        Shares(given.late, given.duplicates, given.corrupt),
    )  # fmt: skip
    sent: list[Summary] = []
    with UNLESS_ENDED, broker(settings) as settings, stop_on_signals(say_stopping) as stop:
        wait = session_in_background(settings, "up", stop)
        quiet = Console(file=sys.stderr, force_terminal=False)
        messages = live(shop, rate or given.rate, stop)
        producer = threading.Thread(
            target=lambda: sent.append(send(settings, messages, stop=stop, console=quiet))
        )
        producer.start()
        say(f"producing; Ctrl-C ends it. Look with: {own_command()} explore")
        try:
            run(FLOWS, settings, wait, stop=stop)
        finally:
            stop.set()
            producer.join()
    for summary in sent:
        show(summary, as_json=False)


@app.command("demo")
def demo_command(
    product: Annotated[str, typer.Argument(help="sales or orders")] = "sales",
    replay: Annotated[Path | None, typer.Option(help="a retail CSV to send instead")] = None,
    count: Annotated[int, typer.Option(min=100, help="sales to generate")] = 100_000,
    root: Annotated[
        Path | None, typer.Option(help="the demo's own lake, made anew; var/demo")
    ] = None,
    config: Config = None,
) -> None:
    """Produce, land, aggregate, report, and prove: produced = landed. Exit 0 when it holds.

    Of orders: a table in Postgres, captured and landed in two rounds, and compared with it.

    Examples: lakehouse demo   |   lakehouse demo --replay online_retail.csv.gz   |
    lakehouse demo orders
    """
    from lakehouse.products.orders import demo as orders_demo  # noqa: PLC0415  # likewise
    from lakehouse.products.sales.demo import demo  # noqa: PLC0415

    if product not in {"sales", "orders"}:
        raise UsageError(f"product {product!r}", "has no demo", "use sales or orders")
    root = root or Path("var/demo" if product == "sales" else f"var/demo-{product}")
    settings = settings_of(config, root)
    _refuse_services(root)
    settings = settings.model_copy(
        update={"logging": settings.logging.model_copy(update={"level": "warning"})}
    )
    configure_logging(settings.logging.format, settings.logging.level)
    if product == "orders":
        raise SystemExit(
            orders_demo.demo(
                settings, say,
                broker=broker, database=database, start_session=session_in_background,
            )
        )  # fmt: skip
    raise SystemExit(
        demo(settings, count, replay, say, broker=broker, start_session=session_in_background)
    )


def _refuse_services(root: Path) -> None:
    """A root whose broker or database runs is another process's: its files are not removed."""
    postgres = EmbeddedPostgres.running(root)
    for name, pid in (
        ("Kafka", EmbeddedKafka.running(root)), ("Postgres", postgres and postgres.pid),
    ):  # fmt: skip
        if pid:
            raise TableLocked(
                str(root),
                f"its {name}, process {pid}, runs: another command uses this lake",
                f"end that command, or what a kill -9 left: kill {pid}; or give another --root",
            )


@app.command("produce", context_settings={"ignore_unknown_options": True, "help_option_names": []})
def produce(
    context: typer.Context, arguments: Annotated[list[str] | None, typer.Argument()] = None
) -> None:
    """Send sales events; options are those of producers/sales/producer.py (see --help there)."""
    from producers.sales.producer import run as produce_sales  # noqa: PLC0415

    sales = typer.Typer(add_completion=False, rich_markup_mode=None)
    sales.command()(produce_sales)
    command = partial(sales, prog_name="lakehouse produce")
    words = [*(arguments or []), *context.args]
    if "--help" in words or "--bootstrap-servers" in words:
        command(words)
    with broker(load_settings(None)) as settings:
        command([*words, "--bootstrap-servers", settings.kafka.bootstrap_servers])


@app.command("tables")
def tables(root: Root = None, config: Config = None, as_json: AsJson = False) -> None:
    """The lake's tables: rows, files, bytes, version.

    Examples: lakehouse tables   |   lakehouse tables --root var/demo --json
    """
    settings = settings_of(config, root)
    catalogue = Catalogue(settings.lake.root)
    catalogue.require()
    _show("tables", [catalogue.info(name).as_dict() for name in catalogue.names()], as_json)


@app.command("history")
def history(
    table: Annotated[str, typer.Argument(help="as in silver.sales_by_country")],
    limit: Annotated[int, typer.Option(min=1, max=MOST)] = 20,
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """A table's commits: when, what, how many rows, and which Kafka ends or bronze version.

    Examples: lakehouse history bronze.sales --root var/demo
    """
    settings = settings_of(config, root)
    _show(table, Catalogue(settings.lake.root).history(table, limit), as_json)


@app.command("maintain")
def maintain_command(
    tables: Annotated[
        list[str] | None, typer.Argument(help="as in bronze.sales; all without one")
    ] = None,
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Compact tables and remove what is past its retention, now; refused while a flow writes them.

    A running flow does this itself, as [maintenance] says. Exit 6 names who holds a table.

    Examples: lakehouse maintain   |   lakehouse maintain bronze.sales --json
    """
    settings = settings_of(config, root)
    done = [upkeep.as_dict() for upkeep in maintain(tables or [], settings, datetime.now(UTC))]
    _show("maintained", done, as_json)


def _show(title: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    import pyarrow as pa  # noqa: PLC0415

    from lakehouse.explorer.show import Format, render  # noqa: PLC0415

    form = Format.json if as_json else Format.table
    sys.stdout.write(render({title: pa.Table.from_pylist(rows)}, form, max(Console().width, 132)))


@app.command("jars")
def jars() -> None:
    """The resolved jars, comma-separated, for spark-submit --jars.

    Example: spark-submit --jars "$(lakehouse jars)" jobs/sales_bronze.py
    """
    sys.stdout.write(",".join(str(jar) for jar in engine().jars) + "\n")


@app.command("schema")
def schema(product: Annotated[str, typer.Argument()]) -> None:
    """A product's contract as JSON Schema.

    Example: lakehouse schema sales
    """
    sys.stdout.write(json.dumps(contract(product).json_schema(), indent=2) + "\n")


@app.command("docs")
def docs(
    check: Annotated[
        bool, typer.Option("--check", help="only say whether they are current")
    ] = False,
) -> None:
    """Write docs/tables.md, docs/settings.md and config.ini from the code.

    Examples: lakehouse docs   |   lakehouse docs --check
    """
    stale = write_docs(Path(), check=check)
    for path in stale:
        say(f"{path}: {'is not what the code says: run `lakehouse docs`' if check else 'written'}")
    raise SystemExit(Exit.FAULT if check and stale else Exit.OK)


app.command("capture")(capture_command(settings_of, broker, database))
app.add_typer(orders_verbs(settings_of, broker, database, say), name="orders")
app.command("audit")(audit_command(broker, say))
app.command("erase")(erase_command(broker, say))
app.add_typer(quarantine_app(say), name="quarantine")
for verb, function in recovery_commands(broker, say).items():
    app.command(verb)(function)
app.command("explore")(explore)
app.command("doctor")(doctor)


def main() -> None:
    """The command; a user's mistake is one message, never a traceback."""
    stopped_by_sigterm()
    _name_files_in_utf8()
    code = int(Exit.OK)
    try:
        app()
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(Exit.OK)
    except LakehouseError as error:
        say(str(error))
        code = int(error.exit_code)
    except OSError as error:
        if error.errno not in {errno.EMFILE, errno.ENFILE}:
            raise
        sys.stderr.write(f"{too_many_files(error)}\n")  # a console would open more
        code = int(Exit.UNAVAILABLE)
    except KeyboardInterrupt:
        code = int(Exit.INTERRUPTED)
    except Stopped:
        say("stopped before it was done")
        code = int(Exit.INTERRUPTED)
    leave(code)


def _name_files_in_utf8() -> None:
    """Let the JVMs that are started name files as Python does: under LC_ALL=C an ü is a ?."""
    locale = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "")
    if "utf" not in locale.lower():
        os.environ["LC_ALL"] = "C.UTF-8"


def leave(code: int) -> None:
    """End the process at once: threads that Spark calls back on never return.

    Everything is committed, synced and closed by now; a slow end would only print
    what native libraries still hold. What nobody reads of stderr is not waited for.
    """
    sys.stdout.flush()
    narration = threading.Thread(target=sys.stderr.flush, daemon=True)
    narration.start()
    narration.join(1)
    os._exit(code)
