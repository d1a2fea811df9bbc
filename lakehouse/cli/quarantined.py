"""Quarantined records as ``lakehouse quarantine`` chooses and shows them."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from lakehouse.audit.show import table
from lakehouse.cli.quarantine import ADDRESS
from lakehouse.core.errors import TableMissing, UsageError
from lakehouse.core.paths import Lake
from lakehouse.core.text import printable
from lakehouse.operations.quarantine import Choice, opened
from lakehouse.operations.replay_quarantine import Replayed
from lakehouse.products.registry import contracts, contracts_of, to_make
from lakehouse.settings.settings import Settings


def told(done: Replayed) -> str:
    """What a replay did, or would do, in one line."""
    verb = "would enter" if done.dry_run else "entered"
    said = [f"{done.entered:,} of {done.asked:,} records {verb} bronze.{done.product}"]
    if done.refused:
        said.append(f"{done.refused:,} break today's contract too")
    if done.waiting:
        said.append(f"{done.waiting:,} wait: the flow has not landed their batch yet")
    if done.held:
        said.append(f"{done.held:,} were in bronze already and are marked")
    if done.completed:
        said.append(f"{done.completed:,} of an earlier replay that was cut are completed")
    if not done.dry_run and (done.entered or done.completed):
        said.append(
            f"bronze is at version {done.bronze_version}, "
            f"{done.late:,} late, {done.duplicates:,} copies; "
            f"silver follows: lakehouse run {done.product}.silver --available-now"
        )
    return "; ".join(said)


def products(product: str | None, settings: Settings) -> list[str]:
    """The contracts of the product named, or of all, that have a quarantine."""
    wanted = list(contracts()) if product is None else contracts_of(product)
    if product is not None and len(wanted) == 1:
        return wanted
    lake = Lake(settings.lake.root)
    found = [n for n in wanted if Path(lake.table(f"quarantine.{n}"), "_delta_log").is_dir()]
    if not found:
        raise TableMissing(
            f"lake {settings.lake.root}",
            "has no quarantine",
            to_make(f"bronze.{wanted[0]}"),
        )
    return found


def meant(addresses: Sequence[str], product: str | None, settings: Settings) -> tuple[str, Choice]:
    """The one product that the addresses are of, and they."""
    found: dict[str, list[tuple[int, int]]] = {}
    for address in addresses:
        match = re.fullmatch(r"(?:([A-Za-z0-9._-]+)/)?(\d{1,9})/(\d{1,18})", address)
        if match is None:
            raise UsageError(f"address {address!r}", "is not understood", f"write {ADDRESS}")
        topic, partition, offset = match.groups()
        name = _product_of(topic, product, settings)
        found.setdefault(name, []).append((int(partition), int(offset)))
    if len(found) > 1:
        raise UsageError(
            "addresses", f"are of several products: {', '.join(found)}", "name one product's"
        )
    [(name, listed)] = found.items()
    return name, Choice(tuple(listed))


def _product_of(topic: str | None, product: str | None, settings: Settings) -> str:
    names = products(product, settings)
    if topic is None:
        if len(names) > 1:
            raise UsageError(
                "an address without a topic",
                f"could be of {', '.join(names)}",
                "write topic/partition/offset, or give --product",
            )
        return names[0]
    for name in names:
        if settings.product(name).topic == topic:
            return name
    topics = ", ".join(settings.product(name).topic for name in names)
    raise UsageError(f"topic {topic!r}", "is no product's topic here", f"use one of {topics}")


def check_known(addresses: Sequence[str], choice: Choice, name: str, settings: Settings) -> None:
    """Raise UsageError where an address is not in quarantine."""
    with opened(name, settings) as quarantine:
        for address, place in zip(addresses, choice.addresses, strict=True):
            if not quarantine.count(Choice((place,), replayed=True)):
                raise unknown(address, name)


def unknown(address: str, product: str) -> UsageError:
    """The error of an address that is not there."""
    return UsageError(
        f"address {address!r}",
        f"is not in quarantine.{product}",
        "look at `lakehouse quarantine list`",
    )


def listed(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without its bytes but their beginning."""
    plain = {k: v for k, v in row.items() if k not in {"key", "value", "headers"}}
    address = f"{row['topic']}/{row['partition']}/{row['offset']}"
    value = row["value"]
    return {
        "address": address,
        **plain,
        "bytes": row["left_out_bytes"] if value is None else len(value),
        "beginning": None if value is None else _text(value[:60]),
    }


def short(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a terminal has room for."""
    names = ("address", "kafka_time", "verdict", "bytes", "beginning", "replayed_version")
    return {n: row[n] for n in names if n != "replayed_version" or row[n] is not None}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def readable(value: bytes | None) -> dict[str, Any] | None:
    """Bytes as text where they are text, else as hexadecimal."""
    if value is None:
        return None
    try:
        return {"text": value.decode("utf-8"), "bytes": len(value)}
    except UnicodeDecodeError:
        return {"hex": value.hex(), "bytes": len(value)}


def whole(found: Mapping[str, Any]) -> str:
    """One record in full, for a person."""
    now = "passes" if found["passes_now"] else found["verdict_now"]
    if found["passes_now"] is None:
        now = "none: its topic was recreated since, and cannot give it again"
    mark = found["replayed_version"]
    replayed = "no"
    if mark is not None:
        replayed = f"into bronze version {mark}, at {found['replayed_at'].isoformat()}"
    elif found["passes_now"]:
        replayed = f"no; it can be: lakehouse quarantine replay {printable(found['address'])}"
    lines = [
        printable(found["address"]),
        f"  kafka time    {found['kafka_time'].isoformat()}",
        f"  quarantined   {found['quarantined_at'].isoformat()} by {printable(found['flow'])}, "
        f"contract version {found['contract_version']}",
        f"  verdict then  {printable(found['verdict'])}",
        f"  verdict now   {printable(now)}",
        f"  replayed      {replayed}",
    ]
    return (
        "\n".join(lines + (_kept(found) if found["left_out_bytes"] is None else _left_out(found)))
        + "\n"
    )


def _left_out(found: Mapping[str, Any]) -> list[str]:
    why = [
        f"  not kept      {found['left_out_bytes']:,} bytes of key, value and headers: larger than",
        "                [bronze] max_record_mb was. Kafka has them until they expire there.",
    ]
    if not found["left_out_bytes"]:
        why = [
            "  not kept      what its batch holds, which cannot be unpacked; of the batch's bytes:"
        ]
    return [
        *why,
        f"  SHA-256       {printable(found['left_out_sha256'])}",
    ]


def _kept(found: Mapping[str, Any]) -> list[str]:
    lines = [f"  key           {_one_line(found['key'])}"]
    lines += [
        f"  header        {printable(h['key'] or '')} = {_one_line(h['value'])}"
        for h in found["headers"]
    ]
    value = found["value"]
    if value is None:
        lines.append("  value         null")
    elif "text" in value:
        lines += [f"  value         {value['bytes']:,} bytes of text"]
        lines += [f"  | {printable(line)}" for line in value["text"].split("\n")]
    else:
        lines += [f"  value         {value['bytes']:,} bytes", *_dump(bytes.fromhex(value["hex"]))]
    return lines


def _one_line(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return "null"
    return printable(value["text"]) if "text" in value else f"0x{value['hex']}"


def _dump(value: bytes) -> list[str]:
    """Sixteen bytes a line: offset, hexadecimal, and what of them is ASCII."""
    return [
        f"{at:08x}  {part.hex(' '):<47}  " + "".join(chr(b) if 32 <= b < 127 else "." for b in part)
        for at in range(0, len(value), 16)
        for part in [value[at : at + 16]]
    ]


def draw(title: str, rows: Sequence[Mapping[str, Any]], like: tuple[str, int] = ("", 0)) -> None:
    """Rows as a table on stdout, or that there are none: ``like`` this verdict, of so many."""
    verdict, every = like
    if not rows:
        none = f"0 of {every:,} have a verdict like {verdict!r}" if verdict and every else "none"
        sys.stdout.write(f"{title}: {none}\n")
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 132
    console = Console(file=sys.stdout, width=width, highlight=False)
    console.print(table(title, rows))
