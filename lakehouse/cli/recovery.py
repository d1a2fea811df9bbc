"""The verbs of recovery: accept-gap, repair, rebuild, remark, backup, restore."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse.cli.edge import settings_of, write_json
from lakehouse.cli.start import broker
from lakehouse.core.errors import ServiceUnavailable, TableMissing
from lakehouse.core.options import AsJson, Config, OfProduct, Root
from lakehouse.core.paths import Lake
from lakehouse.core.progress import progress
from lakehouse.core.text import of_tables, paragraph, say

if TYPE_CHECKING:
    from lakehouse.audit.topic import Gap, Judged
    from lakehouse.ingest.topic import Topic
    from lakehouse.settings.settings import Settings


def accept_gap(
    product: OfProduct,
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Give up records that Kafka no longer has, so that a refused flow can continue.

    The gap is recorded in bronze's commits, and `lakehouse audit` lists it. If there is no
    gap, nothing changes.

    Examples: lakehouse accept-gap {product}   |   lakehouse accept-gap {product} --json
    """
    from lakehouse.ingest.landing import BronzePublisher
    from lakehouse.ingest.replay import finish
    from lakehouse.products.registry import contract
    from lakehouse.settings.kafka_client import ensure_topic
    from lakehouse.storage.duck import connect

    settings = settings_of(config, root, is_made=True)
    contract(product)
    _must_exist(settings, f"bronze.{product}")
    with (
        broker(settings) as settings,
        _locked(settings, product),
        connect(settings) as connection,
    ):
        ensure_topic(settings.kafka, settings.product(product))
        topic = _topic(settings, product)
        publisher = BronzePublisher.open(contract(product), settings, None, connection)
        finish(publisher, datetime.now(UTC))
        lost = publisher.position.accept(topic) if topic else ()
    for gap in lost:
        say(f"given up: {gap.told()}")
    if not lost:
        say(f"topic {settings.product(product).topic} has no gap: nothing is changed")
    if as_json:
        write_json({"product": product, "accepted": [asdict(gap) for gap in lost]})


def repair(
    table: Annotated[str, typer.Argument(help="as in bronze.{product}")],
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Repair a table with damaged files: take it back to its newest undamaged version.

    Damaged files are set aside. The next run reads from Kafka again what the table loses by
    that; if Kafka no longer has it, nothing changes and the error says so.

    Examples: lakehouse repair bronze.{product}   |   lakehouse repair quarantine.{product}
    """
    from lakehouse.audit.run import broker_of
    from lakehouse.operations.repair import Repair

    settings = settings_of(config, root, is_made=True)
    name = _looked_up(table, settings)
    product = name.partition(".")[2]
    asked = settings
    with ExitStack() as stack:

        def topic() -> Topic | None:
            nonlocal asked
            asked = stack.enter_context(broker(settings))
            return _topic(asked, product)

        def judge(gaps: Iterable[Gap]) -> Iterator[Judged]:
            return broker_of(asked, product).judge(gaps)

        stack.enter_context(_locked(settings, product, name))
        stack.enter_context(progress(quiet=as_json))
        done = Repair(name, settings, topic, say, judge).run()
    if not done:
        say(f"{name} is whole: nothing is changed")
    if as_json:
        write_json({"table": name, "done": done})


def rebuild(
    target: Annotated[str, typer.Argument(help="a product, or one of its silver tables")],
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Recompute silver from bronze beside the old tables, compare, and replace them.

    All silver tables of a product are rebuilt together. Readers see the old rows until the
    new ones replace them.

    Examples: lakehouse rebuild {product}   |   lakehouse rebuild {table}
    """
    from lakehouse.core.lock import write_locks
    from lakehouse.operations.rebuild import rebuild as rebuilt
    from lakehouse.operations.rebuild import silver_flow

    settings = settings_of(config, root, is_made=True)
    flow = silver_flow(target)
    _must_exist(settings, f"bronze.{flow.product}")
    wait, locks = settings.publish.lock_timeout, Lake(settings.lake.root).locks
    with write_locks(locks, flow.tables, "rebuild", wait), progress(quiet=as_json):
        found = rebuilt(flow, settings, say)
    if as_json:
        write_json([asdict(table) for table in found])
    else:
        sys.stdout.write(
            "".join(f"{paragraph(line)}\n" for table in found for line in table.told())
        )


def remark(
    product: OfProduct,
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Correct wrong marks of late and duplicate events in bronze; then bring silver up to date.

    Each batch is judged by the horizon that it recorded. Only rows with wrong marks are
    rewritten. Stop the flows first.

    Examples: lakehouse remark {product}   |   lakehouse remark {product} --root var/demo --json
    """
    from lakehouse.operations.remark import remark as marked_again
    from lakehouse.products.registry import contract

    settings = settings_of(config, root, is_made=True)
    contract(product)
    _must_exist(settings, f"bronze.{product}")
    with progress(quiet=as_json):
        done = marked_again(product, settings, datetime.now(UTC), say)
    say(
        f"{product}: {done.duplicates:,} marks of copies and {done.late:,} of late events are "
        f"set again, at bronze version {done.bronze_version}"
    )
    if as_json:
        write_json(asdict(done))


def backup(
    to: Annotated[Path, typer.Argument(help="a folder that is not there yet")],
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Copy every table into a folder, at versions that fit together, with checksums.

    Flows may run meanwhile. A backup has none of Kafka's records.

    Examples: lakehouse backup /backups/monday   |   lakehouse backup b1 --root var/demo
    """
    from lakehouse.operations.backup import backup as copy

    with _disk(to), progress(quiet=as_json):
        found = copy(settings_of(config, root, is_made=True), to, datetime.now(UTC), say)
    say(f"{len(found)} tables in {to}")
    if as_json:
        write_json([asdict(copied) for copied in found])


def restore(
    source: Annotated[Path, typer.Argument(help="the folder of a backup")],
    force: Annotated[
        bool, typer.Option("--force", help="move tables that are there to _aside")
    ] = False,
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup's tables into a lake, after checking every file.

    The flows then continue from the backup's own ends. Refused while a flow runs, or if
    there are tables already, unless --force is given.

    Examples: lakehouse restore /backups/monday --root var/new   |
    lakehouse restore /backups/monday --force
    """
    from lakehouse.operations.restore import restore as put_back

    with _disk(source), progress(quiet=as_json):
        tables = put_back(source, settings_of(config, root), say, force=force)
    say(f"{len(tables)} tables restored")
    if as_json:
        write_json(tables)


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
        remedy = of_tables(table, names, "name the lake by --root")
        raise TableMissing(f"table {table}", "does not exist", remedy)
    return table


def _folders(path: Path) -> Sequence[Path]:
    return [p for p in path.iterdir() if p.is_dir()] if path.is_dir() else []


def _locked(settings: Settings, product: str, *more: str) -> AbstractContextManager[None]:
    """The locks of a product's bronze and quarantine, which change together, and of more tables."""
    from lakehouse.core.lock import write_locks

    names = {f"bronze.{product}", f"quarantine.{product}", *more}
    locks = Lake(settings.lake.root).locks
    return write_locks(locks, names, "recovery", settings.publish.lock_timeout)


def _topic(settings: Settings, product: str) -> Topic | None:
    from lakehouse.ingest.topic import TopicReader

    with TopicReader(settings.kafka, settings.product(product).topic) as reader:
        return reader.read()
