"""The verbs about tables and declarations: tables, products, history, maintain, docs and so on."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from lakehouse.cli.edge import in_bounds, settings_of, write
from lakehouse.core.errors import Exit, LakehouseError
from lakehouse.core.options import MOST, AsJson, Config, OfProduct, Root
from lakehouse.core.progress import progress
from lakehouse.core.text import say


def tables(root: Root = None, config: Config = None, as_json: AsJson = False) -> None:
    """List the lake's tables: rows, files, bytes, version; and what silver has to remember.

    Examples: lakehouse tables   |   lakehouse tables --root var/demo --json
    """
    from lakehouse.explorer.catalogue import Catalogue
    from lakehouse.explorer.states import states

    settings = settings_of(config, root, logs=False, is_made=True)
    catalogue = Catalogue(settings.lake.root)
    catalogue.require()
    infos, faults = [], []
    with in_bounds(settings):
        for name in catalogue.names():
            try:
                infos.append(catalogue.info(name))
            except LakehouseError as error:  # the others are listed all the same
                faults.append(error)
        sections = {"tables": [asdict(info) for info in infos]}
        if kept := [asdict(state) for state in states(catalogue.lake, infos)]:
            sections["state"] = kept
    show(sections, as_json)
    for fault in faults[:-1]:
        say(str(fault))
    if faults:
        raise faults[-1]


def products(root: Root = None, config: Config = None, as_json: AsJson = False) -> None:
    """List every product: its topics, flows and tables, and which tables the lake has.

    Every declaration is checked, and its SQL planned: exit 2 where one is wrong, which is named.

    Examples: lakehouse products   |   lakehouse products --json
    """
    from lakehouse.cli.products import listed
    from lakehouse.products.registry import broken

    rows = listed(settings_of(config, root, logs=False, is_made=True))
    if as_json:
        write(json.dumps(rows, indent=2) + "\n")
    else:
        drawn = [
            {k: ", ".join(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows
        ]
        show({"products": drawn}, as_json=False)
    raise SystemExit(Exit.USAGE if broken() else Exit.OK)


def history(
    table: Annotated[str, typer.Argument(help="as in {table}")],
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="most commits")] = 20,
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List a table's commits: when, what, how many rows, and which Kafka ends or bronze version.

    Examples: lakehouse history bronze.{product} --root var/demo
    """
    from lakehouse.explorer.catalogue import Catalogue

    settings = settings_of(config, root, logs=False, is_made=True)
    with in_bounds(settings):
        rows = Catalogue(settings.lake.root).history(table, limit)
    if sys.stdout.isatty() and not as_json:
        rows = [{**row, "note": _told(row["note"])} for row in rows]
    show({table: rows}, as_json)


def _told(note: str) -> str:
    """What a commit's note says of Kafka's ends, or of bronze's version; any other as it is."""
    try:
        said = json.loads(note)
        if "ends" in said:
            ends = said["ends"]["next"].items()
            return f"ends {', '.join(f'{part}: {offset:,}' for part, offset in ends)}"
        return f"{said['source']['table']} version {said['source']['version']}"
    except (ValueError, LookupError, TypeError, AttributeError):  # it may be a stranger's
        return note


def maintain(
    tables: Annotated[
        list[str] | None, typer.Argument(help="as in bronze.{product}; all without one")
    ] = None,
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Compact tables and apply retention now; refused while a flow writes them.

    A running flow does this by itself, as [maintenance] says. Exit 6 names who holds a table.

    Examples: lakehouse maintain   |   lakehouse maintain bronze.{product} --json
    """
    from lakehouse.operations import maintain as upkeep

    settings = settings_of(config, root, is_made=True)
    with progress(quiet=as_json):
        done = [asdict(u) for u in upkeep.maintain(tables or [], settings, datetime.now(UTC))]
    show({"maintained": done}, as_json)


def show(sections: dict[str, list[dict[str, Any]]], as_json: bool) -> None:
    """Print sections of rows, as tables or as JSON."""
    from lakehouse.explorer.format import Format
    from lakehouse.explorer.show import Wide, printed

    form = Format.json if as_json else Format.table
    write(printed(sections, form, Wide.FEWER))


def jars() -> None:
    """Print the paths of the pinned jars, comma-separated, for spark-submit --jars.

    Example: spark-submit --jars "$(lakehouse jars)" jobs/{product}_bronze.py
    """
    from lakehouse.cli.start import engine

    write(",".join(str(jar) for jar in engine().jars) + "\n")


def schema(product: OfProduct) -> None:
    """Print a product's contract as JSON Schema.

    Example: lakehouse schema {product}
    """
    from lakehouse.products.registry import contract

    write(json.dumps(contract(product).json_schema(), indent=2) + "\n")


def docs(
    check: Annotated[
        bool, typer.Option("--check", help="only say whether they are current")
    ] = False,
) -> None:
    """Write docs/tables.md, settings.md, metrics.md and config.ini from the code.

    Examples: lakehouse docs   |   lakehouse docs --check
    """
    from lakehouse.explorer.reference import write_docs

    stale = write_docs(Path(), check=check)
    for path in stale:
        say(f"{path}: {'is not what the code says: run `lakehouse docs`' if check else 'written'}")
    raise SystemExit(Exit.FAULT if check and stale else Exit.OK)
