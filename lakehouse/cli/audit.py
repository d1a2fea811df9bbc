"""``lakehouse audit``: the proof, as text or JSON, and as an exit code."""

from __future__ import annotations

import shutil
import sys
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse.audit.extent import Content
from lakehouse.cli.edge import settings_of, write_json
from lakehouse.cli.start import database, kept_broker, kept_database
from lakehouse.core.errors import Exit, TableDamaged, TableMissing, UsageError
from lakehouse.core.options import AsJson, Config, Root
from lakehouse.core.paths import Lake
from lakehouse.core.progress import progress
from lakehouse.core.text import say

if TYPE_CHECKING:
    from lakehouse.audit.proof import Proof
    from lakehouse.settings.settings import Settings

HowMuch = Annotated[
    Content, typer.Option(help="how many records are compared with Kafka's own bytes")
]
CaughtUp = Annotated[
    bool,
    typer.Option("--caught-up", help="exit 1 where tables are behind, 3 where Kafka cannot say it"),
]
WithSource = Annotated[
    bool, typer.Option("--source", help="compare with the database too that events came from")
]
Kept = Annotated[bool, typer.Option("--keep", help="add the result to the table audit.<product>")]


def audit(
    product: Annotated[str | None, typer.Argument(help="one product; all without it")] = None,
    as_json: AsJson = False,
    content: HowMuch = Content.SAMPLE,
    caught_up: CaughtUp = False,
    source: WithSource = False,
    kept: Kept = False,
    root: Root = None,
    config: Config = None,
) -> None:
    """Prove that nothing was lost, doubled or invented, from outside Spark.

    Compares Kafka's offsets and bytes with bronze and quarantine, and silver with a recompute
    from bronze. It may run while flows run. Exit 0 proven, 1 not, 3 cannot tell.

    Examples: lakehouse audit   |   lakehouse audit {product} --content all --caught-up --json
    """
    from lakehouse.audit.run import audit as prove
    from lakehouse.audit.run import broker_of
    from lakehouse.audit.show import render
    from lakehouse.cli.products import writes_postgres
    from lakehouse.products.registry import owner

    settings = settings_of(config, root, is_made=True)
    products = _products(product, settings)
    beside: AbstractContextManager[Settings] = nullcontext(settings)
    if source:
        beside = _database(settings, product, products)
    elif any(writes_postgres(owner(name).flows) for name in products):
        beside = kept_database(settings)
    with beside as settings, kept_broker(settings) as settings, progress(quiet=as_json):
        proofs = [
            prove(
                name, settings, broker_of(settings, name), datetime.now(UTC), say, content,
                with_source=source,
            )
            for name in products
        ]  # fmt: skip
    if kept:
        _keep(proofs, settings)
    if as_json:
        write_json({p.product: p.as_dict() for p in proofs})
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 132
        for proof in proofs:
            sys.stdout.write(render(proof, width, color=sys.stdout.isatty()))
    code = _exit_code(proofs, caught_up=caught_up)
    if code is Exit.OK and product is None and _is_left_out(settings):
        code = Exit.NO_TABLE
    raise SystemExit(code)


def _database(
    settings: Settings, product: str | None, products: list[str]
) -> AbstractContextManager[Settings]:
    """Settings that name the database; UsageError where no product here has one."""
    from lakehouse.audit.asked import has_source

    if not any(map(has_source, products)):
        raise UsageError(
            "--source", f"{product or 'no product of this lake'} has no source to compare with",
            "leave it out",
        )  # fmt: skip
    return database(settings)


def _keep(proofs: list[Proof], settings: Settings) -> None:
    """Add the proofs to their tables; one that cannot be kept is as good all the same."""
    from lakehouse.operations.keep import keep

    for proof in proofs:
        try:
            say(f"kept as version {keep(proof, settings)} of audit.{proof.product}")
        except TableDamaged as error:  # its exit code would say that something differs
            say(f"not kept: {error}")


def _exit_code(proofs: list[Proof], *, caught_up: bool) -> Exit:
    """That of the worst verdict; tables that may not be behind count too, as 1, or 3: unknown."""
    from lakehouse.audit.proof import Verdict

    verdicts = {proof.verdict for proof in proofs}
    behind = {False: Verdict.NOT_PROVEN, None: Verdict.CANNOT_TELL, True: Verdict.PROVEN}
    if caught_up:
        verdicts |= {behind[proof.reach.is_caught_up] for proof in proofs}
    worst_first = (Verdict.NOT_PROVEN, Verdict.CANNOT_TELL, Verdict.PROVEN)
    return next(v for v in worst_first if v in verdicts).exit_code


def _is_left_out(settings: Settings) -> bool:
    """Whether a product that is broken, and so was not audited, has landed anything here."""
    from lakehouse.products.registry import broken

    names = {name for one in broken() for name in one.names}
    return any(Path(Lake(settings.lake.root).table(f"bronze.{name}")).is_dir() for name in names)


def _products(product: str | None, settings: Settings) -> list[str]:
    """The products to audit: the one named, or all that have landed anything."""
    from lakehouse.products.registry import contracts, contracts_of, load_parts, to_make

    if product is None:
        load_parts("audit", "recompute")
    wanted = list(contracts()) if product is None else contracts_of(product)
    lake = Lake(settings.lake.root)
    landed = [n for n in wanted if Path(lake.table(f"bronze.{n}"), "_delta_log").is_dir()]
    if not landed:
        raise TableMissing(
            f"lake {settings.lake.root}",
            f"has no table bronze.{wanted[0]}",
            to_make(f"bronze.{wanted[0]}"),
        )
    return landed
