"""The options that many commands have, declared once; what a group of commands is, and a script."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand, TyperGroup

from lakehouse.core.errors import Exit, LakehouseError
from lakehouse.core.text import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from typer._click import Command as AnyCommand
    from typer._click import Context, HelpFormatter
    from typer.core import TyperOption

Config = Annotated[Path | None, typer.Option(help="config.ini to read")]
Root = Annotated[Path | None, typer.Option(help="the lake's root")]
AsJson = Annotated[bool, typer.Option("--json", help="as JSON on stdout, for programs")]
AvailableNow = Annotated[
    bool, typer.Option("--available-now", help="process what is there, then end")
]
MetricsPort = Annotated[
    int | None, typer.Option(min=0, max=65_535, help="serve /metrics there; [metrics] port")
]
OfProduct = Annotated[str, typer.Argument(help="as in {product}")]
MOST = 2**62
"""More rows or versions than there can be; a number that every engine holds."""


class Command(TyperCommand):
    """A verb whose help has its examples line by line, each to be typed as it stands."""

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the help; the bound that only engines have is no part of it."""
        self.help = a_line_each(self.help or "", ctx.command_path)
        bound = [p for p in self.params if getattr(p, "max", None) == MOST]
        for parameter in bound:
            parameter.max = None  # type: ignore[attr-defined]  # it has one
        super().format_help(ctx, formatter)
        for parameter in bound:
            parameter.max = MOST  # type: ignore[attr-defined]  # likewise


class Group(TyperGroup):
    """A group of commands whose help loads nothing."""

    def get_help_option(self, ctx: Context) -> TyperOption | None:
        """``--help``, False where it is not given: to read a None typer would load pydantic."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option

    def get_command(self, ctx: Context, cmd_name: str) -> AnyCommand | None:
        """A verb, whose help has its examples line by line."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            command.help = a_line_each(command.help or "", f"{ctx.command_path} {cmd_name}")
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


def script(verb: Callable[..., None], kind: type[TyperCommand] = Command) -> None:
    """A file's own command line; a user's mistake is one message, not a traceback."""
    own = typer.Typer(add_completion=False, rich_markup_mode=None)
    own.command(cls=kind)(verb)
    try:
        own(prog_name=f"python {sys.argv[0]}")
    except LakehouseError as error:
        say(str(error))
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:  # a producer's second Ctrl-C
        raise SystemExit(Exit.INTERRUPTED) from None


def a_line_each(text: str, command: str = "") -> str:
    """Help with each of its examples in a line of its own, which is not wrapped.

    One that has options alone begins with the ``command``: ``--batch`` is an example of many.
    """
    return "\n\n".join(_lines(paragraph, command) for paragraph in text.split("\n\n"))


def _lines(paragraph: str, command: str) -> str:
    head, _, examples = " ".join(paragraph.split()).partition("Examples: ")
    if head or not examples:
        return paragraph
    typed = [one.strip() for one in examples.split(" | ")]
    typed = [f"{command} {one}" if one.startswith("-") else one for one in typed]
    return "\n".join(["\b", "Examples:", *(f"  {one}" for one in typed)])


def _sentence(command: AnyCommand) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split()).split(". ")[0].rstrip(".") + "."
