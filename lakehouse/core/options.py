"""The options that many commands have, declared once; and what a group of commands is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typer._click import Command, Context, HelpFormatter
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

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """A verb, whose help has its examples line by line."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            command.help = a_line_each(command.help or "")
        return command

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the help, with its examples line by line."""
        self.help = a_line_each(self.help or "")
        super().format_help(ctx, formatter)

    def format_commands(self, _ctx: Context, formatter: HelpFormatter) -> None:
        """The verbs, each with the first sentence of its help."""
        for title, names in self.sections():
            with formatter.section(title):
                formatter.write_dl([(name, _sentence(self.commands[name])) for name in names])

    def sections(self) -> Iterable[tuple[str, Iterable[str]]]:
        """Title → names of verbs, as help lists them."""
        return [("Commands", self.commands)]


def group(text: str) -> typer.Typer:
    """A group of commands, whose help this is."""
    return typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode=None, help=text)


def a_line_each(text: str) -> str:
    """Help with each of its examples in a line of its own, which is not wrapped."""
    return "\n\n".join(map(_lines, text.split("\n\n")))


def _lines(paragraph: str) -> str:
    head, _, examples = " ".join(paragraph.split()).partition("Examples: ")
    if head or not examples:
        return paragraph
    return "\n".join(["\b", "Examples:", *(f"  {one.strip()}" for one in examples.split(" | "))])


def _sentence(command: Command) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split()).split(". ")[0].rstrip(".") + "."
