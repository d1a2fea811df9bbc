"""``lakehouse erase``: one person leaves the lake, and what remains elsewhere is said."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakehouse.cli.edge import saying_where_it_is_cut, settings_of, write_json
from lakehouse.cli.start import broker
from lakehouse.core.errors import Exit, LakehouseError, TableMissing
from lakehouse.core.options import AsJson, Config, Root
from lakehouse.core.paths import Lake
from lakehouse.core.progress import progress
from lakehouse.core.text import say

if TYPE_CHECKING:
    import pyarrow as pa

    from lakehouse.operations.erase import Erased
    from lakehouse.operations.person import Found
    from lakehouse.settings.settings import Settings


_CUT = "the erasure was cut: some of it may be done; the same command does the rest"


def erase(
    person: Annotated[str, typer.Argument(help="whose: the {person}, exactly as it stands")],
    product: Annotated[
        str | None, typer.Option(help="one product; else every one that knows persons")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    as_json: AsJson = False,
    root: Root = None,
    config: Config = None,
) -> None:
    """Erase one person from bronze, quarantine, what follows them, kept audits, older versions.

    Stop the flows first. Time travel ends at the erasure. A ledger of erased
    addresses stays, so that the audit holds; what Kafka still has is said at the
    end. Run it again if it was cut. Refused while _aside holds files: they may hold
    the person's records.

    Examples: lakehouse erase C-1042   |   lakehouse erase C-1042 --product {product} --yes
    """
    from lakehouse.operations import erase as erasure
    from lakehouse.operations.person import find

    settings = settings_of(config, root, is_made=True)
    erasure.refuse_set_aside(settings)
    meant = {}
    for name in _products(product, settings):
        found = find(person, name, settings)
        if len(found) or erasure.is_begun(name, settings):
            meant[name] = found
            say(_about(name, found))
        else:
            say(f"{name}: no record names this {_person(name)}")
    if meant and not yes:
        typer.confirm(
            "Erase them, and every older version of these tables? It cannot be undone",
            abort=True, err=True,
        )  # fmt: skip
    report = []
    for name in meant:
        with progress(quiet=as_json), saying_where_it_is_cut(_CUT):
            done = erasure.erase(person, name, settings, datetime.now(UTC))
        report.append(_report(done, _in_kafka(done, settings)))
        _tell(report[-1])
    if as_json:
        write_json({r["product"]: r for r in report})
    raise SystemExit(Exit.OK)


def _products(product: str | None, settings: Settings) -> list[str]:
    from lakehouse.products.registry import broken, contracts, contracts_of, to_make

    if product is None and (left_out := broken()):  # whose events may name the person too
        raise left_out[0].error
    known = contracts()
    wanted = list(known) if product is None else contracts_of(product)
    if product is not None and len(wanted) == 1:
        return wanted
    lake = Lake(settings.lake.root)
    found = [
        name
        for name in wanted
        if known[name].person and Path(lake.table(f"bronze.{name}"), "_delta_log").is_dir()
    ]
    if not found:
        raise TableMissing(
            f"lake {settings.lake.root}",
            "has no table of persons' events",
            to_make(f"bronze.{wanted[0]}"),
        )
    return found


def _person(product: str) -> str:
    """What the product's contract calls whom an event is of."""
    from lakehouse.products.registry import contract

    return contract(product).person or "person"


def _about(product: str, found: Found) -> str:
    copies = f" ({found.copies.num_rows:,} copies under another name)" * bool(found.copies.num_rows)
    rows = found.bronze.num_rows + found.copies.num_rows
    cut = "" if len(found) else "; an erasure that was cut is completed"
    return (
        f"{product}: {rows:,} rows of bronze{copies} and {found.quarantine.num_rows:,} "
        f"quarantined records name this {_person(product)}{cut}"
    )


def _in_kafka(done: Erased, settings: Settings) -> dict[str, Any]:
    """What the topic still has of the erased addresses, or why that is not known."""
    from lakehouse.audit.topic import read_topic, retention

    name = settings.product(done.product).topic
    spans = _spans(done.addresses)
    if not spans:
        return {"topic": name, "partitions": [], "kept": None, "unknown": None}
    try:
        with broker(settings) as found:
            topic = read_topic(found.kafka, name)
            if topic is None:
                return {"topic": name, "partitions": [], "kept": None, "unknown": None}
            kept = retention(found.kafka, name)
    except LakehouseError as error:
        parts = [
            {"partition": p, "first": o[0], "last": o[-1], "records": len(o)} for p, o in spans
        ]
        unknown = f"{error.place}: {error.fault}"
        return {"topic": name, "partitions": parts, "kept": None, "unknown": unknown}
    parts = []
    for partition, offsets in spans:
        begin, end = topic.ranges.get(partition, (0, 0))
        there = [o for o in offsets if begin <= o < end]
        if there:
            parts.append(
                {"partition": partition, "first": there[0], "last": there[-1],
                 "records": len(there)}
            )  # fmt: skip
    return {"topic": name, "partitions": parts, "kept": kept, "unknown": None}


def _spans(addresses: pa.Table) -> list[tuple[int, list[int]]]:
    found: dict[int, list[int]] = {}
    for row in addresses.to_pylist():
        found.setdefault(row["partition"], []).append(row["offset"])
    return [(partition, sorted(offsets)) for partition, offsets in sorted(found.items())]


def _report(done: Erased, kafka: dict[str, Any]) -> dict[str, Any]:
    return {
        "product": done.product,
        "bronze": done.bronze,
        "quarantine": done.quarantine,
        "audits": done.audits,
        "erased_addresses": done.addresses.num_rows,
        "kafka": kafka,
        "not_touched": ["backups", "copies made outside the lake", *_sent_on(done.product)],
    }


def _sent_on(product: str) -> list[str]:
    """What sinks of the product sent out of the lake, and when it goes from there."""
    from lakehouse.model.sink import PostgresSink, SinkFlow
    from lakehouse.products.registry import flows

    return [
        f"what {f.name} sent on, which goes "
        + (
            "when it runs next"
            if isinstance(f, PostgresSink)
            else "when its topic's retention ends"
        )
        for f in flows()
        if isinstance(f, SinkFlow) and f.product == product
    ]


def _tell(report: dict[str, Any]) -> None:
    name, kafka = report["product"], report["kafka"]
    say(
        f"{name}: erased {report['bronze']:,} rows of bronze and {report['quarantine']:,} "
        f"quarantined records; what follows bronze is recreated; older versions are gone; "
        f"the ledger erased.{name} has the addresses"
    )
    if kafka["unknown"]:
        say(f"what Kafka still has could not be asked: {kafka['unknown']}")
    for part in kafka["partitions"]:
        verb = "may still hold" if kafka["unknown"] else "still holds"
        say(
            f"Kafka {verb} {part['records']:,} of these records: topic {kafka['topic']}, "
            f"partition {part['partition']}, offsets {part['first']} to {part['last']}"
        )
    if kafka["kept"] and kafka["partitions"]:
        say(
            f"the topic keeps records {kafka['kept']}; sooner only by a shorter retention.ms "
            "or kafka-delete-records, which take other records too"
        )
    if not kafka["partitions"]:
        say(f"Kafka's topic {kafka['topic']} holds none of them any more")
    say(f"not touched: {'; '.join(report['not_touched'])}")
