"""``lakehouse quarantine``: look at bad records, and bring back those that are good now."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from lakehouse.cli.edge import settings_of, write, write_json
from lakehouse.cli.examples import Verb
from lakehouse.core.errors import Exit
from lakehouse.core.options import AsJson, Config, Root, group
from lakehouse.core.progress import progress
from lakehouse.core.text import say

Product = Annotated[str | None, typer.Option(help="one product; else every one of the lake")]
Verdict = Annotated[str, typer.Option(help="only verdicts that contain this text")]
ADDRESS = "topic/partition/offset, or partition/offset"

app = group(
    "Records that broke the contract: list, show, count, and replay those that keep "
    "today's.\n\nExamples: lakehouse quarantine stats   |   lakehouse quarantine replay --dry-run"
)


@app.command("list", cls=Verb)
def list_(
    verdict: Verdict = "",
    limit: Annotated[int, typer.Option(min=1, help="most records a product")] = 20,
    replayed: Annotated[
        bool, typer.Option("--replayed", help="those that were replayed, too")
    ] = False,
    product: Product = None,
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List quarantined records, the oldest first: address, Kafka time, verdict, first bytes.

    Examples: lakehouse quarantine list   |
    lakehouse quarantine list --verdict "in the future" --limit 5 --json
    """
    from lakehouse.cli import quarantined as shown
    from lakehouse.operations.quarantine import Choice, opened

    settings = settings_of(config, root, is_made=True)
    choice = Choice(verdict=verdict, replayed=replayed)
    found: dict[str, list[dict[str, Any]]] = {}
    for name in shown.products(product, settings):
        with opened(name, settings) as quarantine:
            total = quarantine.count(choice)
            every = quarantine.count(Choice(replayed=replayed))
            found[name] = [shown.listed(row) for row in quarantine.rows(choice, limit)]
        if not as_json:
            title = f"quarantine.{name}"
            title += f": {len(found[name]):,} of {total:,}" if total else ""
            shown.draw(title, [shown.short(row) for row in found[name]], (verdict, every))
    if as_json:
        write_json(found)


@app.command("show", cls=Verb)
def show(
    address: Annotated[str, typer.Argument(help=ADDRESS)],
    product: Product = None,
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show one record: all its bytes as text or hex, key, headers, verdict then and now.

    Examples: lakehouse quarantine show {product}/0/1742   |
    lakehouse quarantine show 0/1742 --json
    """
    from lakehouse.cli import quarantined as shown
    from lakehouse.operations.quarantine import Choice, opened

    settings = settings_of(config, root, is_made=True)
    name, choice = shown.meant([address], product, settings)
    with opened(name, settings) as quarantine:
        whole = Choice(choice.addresses, replayed=True)
        rows = quarantine.rows(whole, 1)
        if not rows:
            raise shown.unknown(address, name)
        judged = quarantine.judge(whole).to_pylist()
    now = judged[0] if judged else {"passes": None, "now": None}  # its topic was recreated
    found = shown.listed(rows[0]) | {
        "passes_now": now["passes"],
        "verdict_now": now["now"],
        "key": shown.readable(rows[0]["key"]),
        "headers": [
            {"key": h["key"], "value": shown.readable(h["value"])} for h in rows[0]["headers"] or []
        ],
        "value": shown.readable(rows[0]["value"]),
    }
    if as_json:
        write_json(found)
    else:
        write(shown.whole(found))


@app.command("stats", cls=Verb)
def stats(
    verdict: Verdict = "",
    product: Product = None,
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Count records by kind of verdict: how many, how many pass today, how many were replayed.

    Examples: lakehouse quarantine stats   |   lakehouse quarantine stats --root var/demo --json
    """
    from lakehouse.cli import quarantined as shown
    from lakehouse.operations.quarantine import Choice, opened

    settings = settings_of(config, root, is_made=True)
    found = {}
    for name in shown.products(product, settings):
        with progress(quiet=as_json), opened(name, settings) as quarantine:
            found[name] = quarantine.stats(Choice(verdict=verdict))
            every = quarantine.count(Choice(replayed=True))
        if not as_json:
            shown.draw(f"quarantine.{name}, by verdict", found[name], (verdict, every))
    if as_json:
        write_json(found)


@app.command("replay", cls=Verb)
def replay(
    addresses: Annotated[list[str] | None, typer.Argument(help=ADDRESS)] = None,
    verdict: Verdict = "",
    look: Annotated[
        bool, typer.Option("--dry-run", help="only say what a replay would do")
    ] = False,
    product: Product = None,
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Move records that keep today's contract and settings into bronze, each exactly once.

    Silver follows at its next run; quarantine keeps the records, marked as replayed. Stop the
    flow that writes the product first. Exit 1 if a record that is named by its address
    breaks today's contract too.

    Examples: lakehouse quarantine replay --dry-run   |
    lakehouse quarantine replay --verdict "in the future"   |
    lakehouse quarantine replay {product}/0/1742
    """
    from lakehouse.cli import quarantined as shown
    from lakehouse.operations import replay_quarantine as replaying
    from lakehouse.operations.quarantine import Choice

    settings = settings_of(config, root, is_made=True)
    if addresses:
        name, choice = shown.meant(addresses, product, settings)
        names, choice = [name], Choice(choice.addresses, verdict)
        shown.check_known(addresses, choice, name, settings)
    else:
        names, choice = shown.products(product, settings), Choice(verdict=verdict)
    found = []
    with progress(quiet=as_json):
        for name in names:
            if look:
                found.append(replaying.dry_run(name, settings, choice))
            else:
                found.append(replaying.replay(name, settings, choice, datetime.now(UTC)))
    if as_json:
        write_json({done.product: asdict(done) for done in found})
    else:
        for done in found:
            shown.draw(f"{done.product}: what would change" if look else done.product, done.changes)
            say(shown.told(done))
    refused = bool(addresses) and any(done.refused for done in found)
    raise SystemExit(Exit.FAULT if refused else Exit.OK)
