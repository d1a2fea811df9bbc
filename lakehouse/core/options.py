"""The options that many commands have, declared once; and what a group of commands is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from typer._click import Context
    from typer.core import TyperOption

Config = Annotated[Path | None, typer.Option(help="config.ini to read")]
Root = Annotated[Path | None, typer.Option(help="the lake's root")]
AsJson = Annotated[bool, typer.Option("--json", help="for machines, on stdout")]
AvailableNow = Annotated[
    bool, typer.Option("--available-now", help="process what is there, then end")
]
MetricsPort = Annotated[
    int | None, typer.Option(min=0, max=65_535, help="serve /metrics there; [metrics] port")
]
OfProduct = Annotated[str, typer.Argument(help="as in {product}")]
MOST = 2**62
"""More rows or versions than there can be; a number that every engine holds."""


class Group(TyperGroup):
    """A group of commands whose help loads nothing."""

    def get_help_option(self, ctx: Context) -> TyperOption | None:
        """``--help``, False where it is not given: to read a None typer would load pydantic."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option
