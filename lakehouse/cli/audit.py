"""``lakehouse audit``: the proof, as text or JSON, and as an exit code."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from lakehouse.audit.check import Content, Say
from lakehouse.audit.proof import Proof, Verdict
from lakehouse.audit.run import audit, broker_of
from lakehouse.audit.show import render
from lakehouse.core.errors import Exit, TableDamaged, TableMissing
from lakehouse.core.paths import Lake
from lakehouse.operations.keep import as_json, keep
from lakehouse.products.registry import contract, contracts, load_settings
from lakehouse.settings.settings import Settings

WORST = (Verdict.NOT_PROVEN, Verdict.CANNOT_TELL, Verdict.PROVEN)
"""Of several products the worst verdict is the exit code."""


def audit_command(
    broker: Callable[[Settings], AbstractContextManager[Settings]], say: Say
) -> Callable[..., None]:
    """The verb, given how a broker is found or started and where narration goes."""

    def audit_verb(
        product: Annotated[str | None, typer.Argument(help="one product; all without it")] = None,
        as_json_: Annotated[bool, typer.Option("--json", help="for machines, on stdout")] = False,
        content: Annotated[
            Content, typer.Option(help="how many records are compared with Kafka's own bytes")
        ] = Content.SAMPLE,
        caught_up: Annotated[
            bool, typer.Option("--caught-up", help="exit 1 where tables are behind, too")
        ] = False,
        kept: Annotated[
            bool, typer.Option("--keep", help="add the result to the table audit.<product>")
        ] = False,
        root: Annotated[Path | None, typer.Option(help="the lake's root")] = None,
        config: Annotated[Path | None, typer.Option(help="config.ini to read")] = None,
    ) -> None:
        """Prove that nothing was lost, doubled or invented, from outside Spark.

        Kafka's offsets and bytes against bronze and quarantine, silver against a recompute
        from bronze. Runs while the streams run. Exit 0 proven, 1 not, 3 cannot tell.

        Examples: lakehouse audit   |   lakehouse audit sales --content all --caught-up --json
        """
        settings = load_settings(config)
        settings = settings.with_root(root) if root else settings
        products = _products(product, settings)
        with broker(settings) as settings:
            proofs = [
                audit(name, settings, broker_of(settings, name), datetime.now(UTC), say, content)
                for name in products
            ]
        if kept:
            _keep(proofs, settings, say)
        if as_json_:
            sys.stdout.write(as_json({p.product: p.as_dict() for p in proofs}, indent=2) + "\n")
        else:
            width = max(shutil.get_terminal_size().columns, 132)
            for proof in proofs:
                sys.stdout.write(render(proof, width, color=sys.stdout.isatty()))
        raise SystemExit(_exit_code(proofs, caught_up=caught_up))

    return audit_verb


def _keep(proofs: list[Proof], settings: Settings, say: Say) -> None:
    """Add the proofs to their tables; one that cannot be kept is as good all the same."""
    for proof in proofs:
        try:
            say(f"kept as version {keep(proof, settings)} of audit.{proof.product}")
        except TableDamaged as error:  # its exit code would say that something differs
            say(f"not kept: {error}")


def _exit_code(proofs: list[Proof], *, caught_up: bool) -> Exit:
    """That of the worst verdict; 1 also where tables are behind and may not be."""
    verdicts = {proof.verdict for proof in proofs}
    if caught_up and not all(proof.reach.is_caught_up for proof in proofs):
        verdicts.add(Verdict.NOT_PROVEN)
    return next(v for v in WORST if v in verdicts).exit_code


def _products(product: str | None, settings: Settings) -> list[str]:
    """The products to audit: the one named, or all that have landed anything."""
    wanted = [contract(product).name] if product else list(contracts())
    lake = Lake(settings.lake.root)
    landed = [n for n in wanted if Path(lake.table(f"bronze.{n}"), "_delta_log").is_dir()]
    if not landed:
        raise TableMissing(
            f"lake {settings.lake.root}",
            f"has no table bronze.{wanted[0]}",
            "run `lakehouse demo` or `lakehouse run`, or name the lake by --root",
        )
    return landed
