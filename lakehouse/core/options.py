"""The options that many commands have, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path | None, typer.Option(help="config.ini to read")]
Root = Annotated[Path | None, typer.Option(help="the lake's root")]
AsJson = Annotated[bool, typer.Option("--json", help="for machines, on stdout")]
AvailableNow = Annotated[
    bool, typer.Option("--available-now", help="process what is there, then end")
]
OfProduct = Annotated[str, typer.Argument(help="as in sales")]
MOST = 2**62
"""More rows or versions than there can be; a number that every engine holds."""
