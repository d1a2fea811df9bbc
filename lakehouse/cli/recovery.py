"""The verbs of recovery: accept-gap, repair, rebuild, remark, backup, restore."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from lakehouse.audit.check import Say
from lakehouse.core.errors import ServiceUnavailable, TableMissing
from lakehouse.core.lock import write_locks
from lakehouse.core.paths import Lake
from lakehouse.ingest.landing import BronzePublisher
from lakehouse.ingest.replay import finish
from lakehouse.ingest.topic import Topic, TopicReader
from lakehouse.operations.backup import backup, restore
from lakehouse.operations.keep import as_json
from lakehouse.operations.rebuild import rebuild, silver_flow
from lakehouse.operations.remark import remark
from lakehouse.operations.repair import Repair
from lakehouse.products.registry import contract, load_settings
from lakehouse.runtime.driver import tables_of
from lakehouse.settings.kafka_client import ensure_topic
from lakehouse.settings.settings import Settings
from lakehouse.storage.duck import connect

Broker = Callable[[Settings], AbstractContextManager[Settings]]
Root = Annotated[Path | None, typer.Option(help="the lake's root")]
Config = Annotated[Path | None, typer.Option(help="config.ini to read")]
AsJson = Annotated[bool, typer.Option("--json", help="for machines, on stdout")]


def recovery_commands(broker: Broker, say: Say) -> dict[str, Callable[..., None]]:
    """Verb → its function, given how a broker is found or started and where narration goes."""
    return {**_with_kafka(broker, say), **_without_kafka(say)}


def _with_kafka(broker: Broker, say: Say) -> dict[str, Callable[..., None]]:
    def accept_gap(
        product: Annotated[str, typer.Argument(help="as in sales")],
        root: Root = None,
        config: Config = None,
        as_json_: AsJson = False,
    ) -> None:
        """Give up records that Kafka no longer has, so that a refused flow goes on.

        The gap stands in bronze's commits, and `lakehouse audit` lists it. Without a
        gap nothing is changed.

        Examples: lakehouse accept-gap sales   |   lakehouse accept-gap sales --json
        """
        settings = _settings(config, root)
        contract(product)
        _must_exist(settings, f"bronze.{product}")
        with (
            broker(settings) as settings,
            _locked(settings, product),
            connect(settings.silver) as connection,
        ):
            ensure_topic(settings.kafka, settings.product(product))
            topic = _topic(settings, product)
            publisher = BronzePublisher(contract(product), settings, None, connection)
            finish(publisher, datetime.now(UTC))
            lost = publisher.accept(topic) if topic else ()
        for gap in lost:
            say(f"given up: {gap.told()}")
        if not lost:
            say(f"topic {settings.product(product).topic} has no gap: nothing is changed")
        if as_json_:
            _print({"product": product, "accepted": [asdict(gap) for gap in lost]})

    def repair(
        table: Annotated[str, typer.Argument(help="as in bronze.sales")],
        root: Root = None,
        config: Config = None,
        as_json_: AsJson = False,
    ) -> None:
        """Bring a table whose files are damaged back to what is whole.

        A broken checkpoint of the log and a cut last commit are set aside; what the
        table loses by it the next run reads from Kafka again. Where Kafka no longer
        has it, nothing is changed and the error says so.

        Examples: lakehouse repair bronze.sales   |   lakehouse repair quarantine.sales
        """
        settings = _settings(config, root)
        name = _looked_up(table, settings)
        product = name.partition(".")[2]
        with ExitStack() as stack:

            def topic() -> Topic | None:
                return _topic(stack.enter_context(broker(settings)), product)

            stack.enter_context(_locked(settings, product, name))
            done = Repair(name, settings, topic, say).run()
        if not done:
            say(f"{name} is whole: nothing is changed")
        if as_json_:
            _print({"table": name, "done": done})

    return {"accept-gap": accept_gap, "repair": repair}


def _without_kafka(say: Say) -> dict[str, Callable[..., None]]:
    def rebuild_verb(
        target: Annotated[str, typer.Argument(help="a product, or one of its silver tables")],
        root: Root = None,
        config: Config = None,
        as_json_: AsJson = False,
    ) -> None:
        """Make silver anew from bronze beside the old tables, compare, and swap.

        A product's silver tables advance as one group and are made anew as one.
        Readers see the old rows until the new ones take their place.

        Examples: lakehouse rebuild sales   |   lakehouse rebuild silver.sales_by_country
        """
        settings = _settings(config, root)
        flow = silver_flow(target)
        _must_exist(settings, f"bronze.{flow.product}")
        wait, locks = settings.publish.lock_timeout, Lake(settings.lake.root).locks
        with write_locks(locks, tables_of(flow), "rebuild", wait):
            found = rebuild(flow, settings, say)
        if as_json_:
            _print([table.as_dict() for table in found])
        else:
            sys.stdout.write("".join(f"{line}\n" for table in found for line in table.told()))

    def remark_verb(
        product: Annotated[str, typer.Argument(help="as in sales")],
        root: Root = None,
        config: Config = None,
        as_json_: AsJson = False,
    ) -> None:
        """Mark anew what bronze marks late, or a copy, wrongly; then bring silver up to date.

        Each batch by the horizon that it recorded. Only rows whose marks are wrong are
        written again; without one nothing is changed. Stop the flows first.

        Examples: lakehouse remark sales   |   lakehouse remark sales --root var/demo --json
        """
        settings = _settings(config, root)
        contract(product)
        _must_exist(settings, f"bronze.{product}")
        done = remark(product, settings, datetime.now(UTC), say)
        say(
            f"{product}: {done.duplicates:,} marks of copies and {done.late:,} of late events are "
            f"set anew, at bronze version {done.bronze_version}"
        )
        if as_json_:
            _print(asdict(done))

    def backup_verb(
        to: Annotated[Path, typer.Argument(help="a folder that is not there yet")],
        root: Root = None,
        config: Config = None,
        as_json_: AsJson = False,
    ) -> None:
        """Copy every table into a folder, at versions that fit together, with checksums.

        Flows may run meanwhile. Kafka's records are not in it.

        Examples: lakehouse backup /backups/monday   |   lakehouse backup b1 --root var/demo
        """
        with _disk(to):
            found = backup(_settings(config, root), to, datetime.now(UTC), say)
        say(f"{len(found)} tables in {to}")
        if as_json_:
            _print([asdict(copied) for copied in found])

    def restore_verb(
        source: Annotated[Path, typer.Argument(help="the folder of a backup")],
        force: Annotated[
            bool, typer.Option("--force", help="move tables that are there to _aside")
        ] = False,
        root: Root = None,
        config: Config = None,
        as_json_: AsJson = False,
    ) -> None:
        """Put a backup's tables in a lake, every file checked first.

        The flows go on from the backup's own place in Kafka. Refused while a flow runs,
        and where there are tables already, unless told by --force.

        Examples: lakehouse restore /backups/monday --root var/new   |
        lakehouse restore /backups/monday --force
        """
        with _disk(source):
            tables = restore(source, _settings(config, root), say, force=force)
        say(f"{len(tables)} tables restored")
        if as_json_:
            _print(tables)

    return {
        "rebuild": rebuild_verb,
        "remark": remark_verb,
        "backup": backup_verb,
        "restore": restore_verb,
    }


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """A fault of the disk as an error that a person can mend."""
    try:
        yield
    except OSError as error:
        raise ServiceUnavailable(
            str(error.filename or folder), str(error.strerror or error),
            "mend the disk or the folder's rights, then run it again",
        ) from None  # fmt: skip


def _settings(config: Path | None, root: Path | None) -> Settings:
    settings = load_settings(config)
    return settings.with_root(root) if root else settings


def _must_exist(settings: Settings, name: str) -> None:
    if not Path(Lake(settings.lake.root).table(name), "_delta_log").is_dir():
        raise TableMissing(
            f"table {name}", "does not exist (yet)", "run the flow, or name the lake by --root"
        )


def _looked_up(table: str, settings: Settings) -> str:
    """The table's name, from those that the lake has; never a path."""
    root = Path(settings.lake.root)
    folders = [path for layer in _folders(root) for path in _folders(layer)]
    names = sorted(f"{path.parent.name}.{path.name}" for path in folders)
    names = [name for name in names if not name.startswith(("_", "kafka."))]
    if table not in names:
        known = f"tables are: {', '.join(names)}" if names else "name the lake by --root"
        raise TableMissing(f"table {table}", "does not exist", known)
    return table


def _folders(path: Path) -> Sequence[Path]:
    return [p for p in path.iterdir() if p.is_dir()] if path.is_dir() else []


def _locked(settings: Settings, product: str, *more: str) -> AbstractContextManager[None]:
    """The locks of a product's bronze and quarantine, which change together, and of more tables."""
    names = {f"bronze.{product}", f"quarantine.{product}", *more}
    locks = Lake(settings.lake.root).locks
    return write_locks(locks, sorted(names), "recovery", settings.publish.lock_timeout)


def _topic(settings: Settings, product: str) -> Topic | None:
    with TopicReader(settings.kafka, settings.product(product).topic) as reader:
        return reader.read()


def _print(value: Any) -> None:
    sys.stdout.write(json.dumps(json.loads(as_json(value)), indent=2) + "\n")
