"""``lakehouse quarantine``: look at bad records, and bring back those that are good now."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from lakehouse.audit.check import Say
from lakehouse.audit.show import printable, table
from lakehouse.core.errors import Exit, TableMissing, UsageError
from lakehouse.core.paths import Lake
from lakehouse.operations.keep import as_json
from lakehouse.operations.quarantine import Choice, opened
from lakehouse.operations.replay import Replayed, dry_run, replay
from lakehouse.products.registry import contracts, load_settings
from lakehouse.settings.settings import Settings

ADDRESS = "topic/partition/offset, or partition/offset"
Product = Annotated[str | None, typer.Option(help="one product; else every one of the lake")]
Verdict = Annotated[str, typer.Option(help="only verdicts that hold this text")]
AsJson = Annotated[bool, typer.Option("--json", help="for machines, on stdout")]
Root = Annotated[Path | None, typer.Option(help="the lake's root")]
Config = Annotated[Path | None, typer.Option(help="config.ini to read")]


def quarantine_app(say: Say) -> typer.Typer:
    """The verbs, given where narration goes."""
    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Records that broke the contract: list, show, count, and replay those that keep "
        "today's. Examples: lakehouse quarantine stats   |   lakehouse quarantine replay --dry-run",
    )
    app.command("list")(list_)
    app.command("show")(show)
    app.command("stats")(stats)
    app.command("replay")(_replay_verb(say))
    return app


def list_(
    verdict: Verdict = "",
    limit: Annotated[int, typer.Option(min=1, help="most records a product")] = 20,
    replayed: Annotated[
        bool, typer.Option("--replayed", help="those that were replayed, too")
    ] = False,
    product: Product = None,
    root: Root = None,
    config: Config = None,
    as_json_: AsJson = False,
) -> None:
    """Quarantined records, the oldest first: address, Kafka time, verdict, the bytes' beginning.

    Examples: lakehouse quarantine list   |
    lakehouse quarantine list --verdict "in the future" --limit 5 --json
    """
    settings = _settings(config, root)
    choice = Choice(verdict=verdict, replayed=replayed)
    found: dict[str, list[dict[str, Any]]] = {}
    for name in _products(product, settings):
        with opened(name, settings) as quarantine:
            total = quarantine.count(choice)
            found[name] = [_listed(row) for row in quarantine.rows(choice, limit)]
        if not as_json_:
            title = f"quarantine.{name}: {len(found[name]):,} of {total:,}"
            _draw(title, [_line(row) for row in found[name]])
    if as_json_:
        _write_json(found)


def show(
    address: Annotated[str, typer.Argument(help=ADDRESS)],
    product: Product = None,
    root: Root = None,
    config: Config = None,
    as_json_: AsJson = False,
) -> None:
    """One record whole: its bytes as text or hex, key, headers, verdict then and now.

    Examples: lakehouse quarantine show sales/0/1742   |   lakehouse quarantine show 0/1742 --json
    """
    settings = _settings(config, root)
    name, choice = _meant([address], product, settings)
    with opened(name, settings) as quarantine:
        whole = Choice(choice.addresses, replayed=True)
        rows = quarantine.rows(whole, 1)
        if not rows:
            raise _unknown(address, name)
        judged = quarantine.judge(whole)
    found = _listed(rows[0]) | {
        "passes_now": judged["passes"][0].as_py(),
        "verdict_now": judged["now"][0].as_py(),
        "key": _bytes(rows[0]["key"]),
        "headers": [
            {"key": h["key"], "value": _bytes(h["value"])} for h in rows[0]["headers"] or []
        ],
        "value": _bytes(rows[0]["value"]),
    }
    if as_json_:
        _write_json(found)
    else:
        sys.stdout.write(_shown(found))


def stats(
    verdict: Verdict = "",
    product: Product = None,
    root: Root = None,
    config: Config = None,
    as_json_: AsJson = False,
) -> None:
    """How many by kind of verdict, how many pass today's contract, how many were replayed.

    Examples: lakehouse quarantine stats   |   lakehouse quarantine stats --root var/demo --json
    """
    settings = _settings(config, root)
    found = {}
    for name in _products(product, settings):
        with opened(name, settings) as quarantine:
            found[name] = quarantine.stats(Choice(verdict=verdict))
        if not as_json_:
            _draw(f"quarantine.{name}, by verdict", found[name])
    if as_json_:
        _write_json(found)


def _replay_verb(say: Say) -> Any:
    def replay_verb(
        addresses: Annotated[list[str] | None, typer.Argument(help=ADDRESS)] = None,
        verdict: Verdict = "",
        look: Annotated[
            bool, typer.Option("--dry-run", help="only say what a replay would do")
        ] = False,
        product: Product = None,
        root: Root = None,
        config: Config = None,
        as_json_: AsJson = False,
    ) -> None:
        """Bring records that keep today's contract and settings into bronze, once, by address.

        Silver corrects itself at its next run; quarantine keeps the records, marked. A
        flow that writes the product must be stopped first. Exit 1 where a record named
        by its address breaks today's contract too.

        Examples: lakehouse quarantine replay --dry-run   |
        lakehouse quarantine replay --verdict "in the future"   |
        lakehouse quarantine replay sales/0/1742
        """
        settings = _settings(config, root)
        if addresses:
            name, choice = _meant(addresses, product, settings)
            names, choice = [name], Choice(choice.addresses, verdict)
            _check_known(addresses, choice, name, settings)
        else:
            names, choice = _products(product, settings), Choice(verdict=verdict)
        found = []
        for name in names:
            if look:
                found.append(dry_run(name, settings, choice))
            else:
                found.append(replay(name, settings, choice, datetime.now(UTC)))
        if as_json_:
            _write_json({done.product: asdict(done) for done in found})
        else:
            for done in found:
                _draw(f"{done.product}: what would change" if look else done.product, done.changes)
                say(_told(done))
        refused = bool(addresses) and any(done.refused for done in found)
        raise SystemExit(Exit.FAULT if refused else Exit.OK)

    return replay_verb


def _told(done: Replayed) -> str:
    verb = "would enter" if done.dry_run else "entered"
    said = [f"{done.entered:,} of {done.asked:,} records {verb} bronze.{done.product}"]
    if done.refused:
        said.append(f"{done.refused:,} break today's contract too")
    if done.waiting:
        said.append(f"{done.waiting:,} wait: the flow has not taken in their batch yet")
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


def _settings(config: Path | None, root: Path | None) -> Settings:
    settings = load_settings(config)
    return settings.with_root(root) if root else settings


def _products(product: str | None, settings: Settings) -> list[str]:
    """The product named, or all that have a quarantine."""
    if product is not None:
        settings.product(product)
        return [product]
    lake = Lake(settings.lake.root)
    found = [n for n in contracts() if Path(lake.table(f"quarantine.{n}"), "_delta_log").is_dir()]
    if not found:
        raise TableMissing(
            f"lake {settings.lake.root}",
            "has no quarantine",
            "run `lakehouse demo` or `lakehouse run`, or name the lake by --root",
        )
    return found


def _meant(addresses: Sequence[str], product: str | None, settings: Settings) -> tuple[str, Choice]:
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
    names = _products(product, settings)
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


def _check_known(addresses: Sequence[str], choice: Choice, name: str, settings: Settings) -> None:
    with opened(name, settings) as quarantine:
        for address, place in zip(addresses, choice.addresses, strict=True):
            if not quarantine.count(Choice((place,), replayed=True)):
                raise _unknown(address, name)


def _unknown(address: str, product: str) -> UsageError:
    return UsageError(
        f"address {address!r}",
        f"is not in quarantine.{product}",
        "look at `lakehouse quarantine list`",
    )


def _listed(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without its bytes but their beginning."""
    plain = {k: v for k, v in row.items() if k not in {"key", "value", "headers"}}
    address = f"{row['topic']}/{row['partition']}/{row['offset']}"
    value = row["value"]
    return {
        "address": address,
        **plain,
        "bytes": None if value is None else len(value),
        "beginning": None if value is None else _text(value[:60]),
    }


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a terminal has room for."""
    names = ("address", "kafka_time", "verdict", "bytes", "beginning", "replayed_version")
    return {n: row[n] for n in names if n != "replayed_version" or row[n] is not None}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _bytes(value: bytes | None) -> dict[str, Any] | None:
    """Bytes as text where they are text, else as hexadecimal."""
    if value is None:
        return None
    try:
        return {"text": value.decode("utf-8"), "bytes": len(value)}
    except UnicodeDecodeError:
        return {"hex": value.hex(), "bytes": len(value)}


def _shown(found: Mapping[str, Any]) -> str:
    now = "passes" if found["passes_now"] else found["verdict_now"]
    mark = found["replayed_version"]
    replayed = "no"
    if mark is not None:
        replayed = f"into bronze version {mark}, at {found['replayed_at'].isoformat()}"
    elif found["passes_now"]:
        replayed = f"no; it can be: lakehouse quarantine replay {found['address']}"
    lines = [
        found["address"],
        f"  kafka time    {found['kafka_time'].isoformat()}",
        f"  quarantined   {found['quarantined_at'].isoformat()} by {found['flow']}, "
        f"contract version {found['contract_version']}",
        f"  verdict then  {printable(found['verdict'])}",
        f"  verdict now   {printable(now)}",
        f"  replayed      {replayed}",
        f"  key           {_one_line(found['key'])}",
    ]
    lines += [
        f"  header        {printable(h['key'] or '')} = {_one_line(h['value'])}"
        for h in found["headers"]
    ]
    value = found["value"]
    if value is None:
        lines.append("  value         null")
    elif "text" in value:
        lines += [f"  value         {value['bytes']:,} bytes of text", _paragraph(value["text"])]
    else:
        lines += [f"  value         {value['bytes']:,} bytes", *_dump(bytes.fromhex(value["hex"]))]
    return "\n".join(lines) + "\n"


def _one_line(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return "null"
    return printable(value["text"]) if "text" in value else f"0x{value['hex']}"


def _paragraph(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))


def _dump(value: bytes) -> list[str]:
    """Sixteen bytes a line: offset, hexadecimal, and what of them is ASCII."""
    return [
        f"{at:08x}  {part.hex(' '):<47}  " + "".join(chr(b) if 32 <= b < 127 else "." for b in part)
        for at in range(0, len(value), 16)
        for part in [value[at : at + 16]]
    ]


def _draw(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        sys.stdout.write(f"{title}: none\n")
        return
    width = max(shutil.get_terminal_size().columns, 132)
    console = Console(file=sys.stdout, width=width, highlight=False)
    console.print(table(title, rows))


def _write_json(value: Any) -> None:
    sys.stdout.write(as_json(value, indent=2) + "\n")
