"""The interactive menu: one number or word per line; works from a pipe too."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from rich.console import Console
from rich.prompt import Prompt
from rich.table import Table

from lakehouse.core.errors import LakehouseError, UsageError
from lakehouse.core.sql import text
from lakehouse.core.text import printable, whole_number
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.format import Format
from lakehouse.explorer.report import LookUp, look_ups, sections, titles, views
from lakehouse.explorer.show import render, width
from lakehouse.explorer.times import time_of

Answer = Callable[[Catalogue, str, Format], str]
"""A lake, a SELECT and a format → text."""
WORDS = {
    "t": "tables: rows, version, last commit",
    "t TABLE": "history of a table",
    "SELECT …": "any read",
    "h, !N": "what was asked; ask number N again",
    "f FORMAT": "table, json, csv or md",
    "v N, at TIME": "read as of a version or time; v alone: now",
    "q": "leave (or Ctrl-D)",
}
_PARTS = ("t", "f", "v", "at")


@dataclass
class Menu:
    """One session: which version it reads, how it prints, what was asked before."""

    answer: Answer
    catalogue: Catalogue
    form: Format = Format.table
    asked: list[str] = field(default_factory=list)

    @cached_property
    def choices(self) -> dict[str, tuple[str, str]]:
        """Number → (title, SELECT): the report's sections of the products in this lake."""
        said = titles()
        found = sections(self.catalogue).items()
        return {str(n): (said[name], sql) for n, (name, sql) in enumerate(found, 1)}

    @cached_property
    def look_ups(self) -> dict[str, LookUp]:
        """Word → the look-up that a product declares for it."""
        return look_ups()

    @property
    def words(self) -> dict[str, str]:
        """The words that may be entered, and what each does."""
        named = {f"{word} ID": look_up.doc for word, look_up in self.look_ups.items()}
        derived = " and ".join(views())
        any_read = f"any read; {derived} are views" if derived else "any read"
        return {**named, **WORDS, "SELECT …": any_read}

    def take(self, line: str) -> str:
        """The answer to one line, as text for stdout."""
        if line.startswith("!"):
            line = self._again(line[1:])
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if line in self.choices:
            return self._ask(self.choices[line][1], keep=line)
        if word.lower() in self.look_ups and rest:
            return self._look_up(self.look_ups[word.lower()], rest, line)
        if word.lower() in _PARTS and (rest or word.lower() in {"t", "v"}):
            return self._word(word.lower(), rest)
        if line == "h":
            return "".join(f"{n:>4}  {printable(t)}\n" for n, t in enumerate(self.asked, 1))
        return self._ask(line, keep=line)

    def _again(self, number: str) -> str:
        if is_number(number) and 0 < int(number) <= len(self.asked):
            return self.asked[int(number) - 1]
        raise UsageError(f"!{number}", "was not asked", "write h to see the numbers")

    def _word(self, word: str, rest: str) -> str:
        if word == "t":
            return self._history(rest) if rest else render(
                {"tables": self.catalogue.tables()}, self.form, width()
            )  # fmt: skip
        if word == "f":
            if rest not in list(Format):
                raise UsageError(f"format {rest!r}", "is not known", f"use {', '.join(Format)}")
            self.form = Format(rest)
        elif word == "v":
            if rest and not is_number(rest):
                raise UsageError(f"version {rest!r}", "is not a number", "write v 3, or v for now")
            self.catalogue = self.catalogue.back_to(version=int(rest) if rest else None)
        else:
            self.catalogue = self.catalogue.back_to(at=time_of("at", rest))
        return ""

    def _look_up(self, found: LookUp, wanted: str, line: str) -> str:
        """The rows that it finds; as a table, one field per line."""
        self.asked.append(line)
        sql = found.sql.replace("'{0}'", "{0}").format(text(wanted))
        if self.form is Format.table:
            casts = "SELECT CAST(COLUMNS(*) AS VARCHAR) FROM"
            sql = f"WITH one AS ({casts} ({sql})) UNPIVOT one ON COLUMNS(* EXCLUDE {found.by})"
            sql = f"SELECT {found.by}, name AS field, value FROM ({sql} INTO NAME name VALUE value)"
        return self.answer(self.catalogue, sql, self.form)

    def _history(self, table: str) -> str:
        import pyarrow as pa  # noqa: PLC0415  # only here

        rows = pa.Table.from_pylist(self.catalogue.history(table, 20))
        return render({table: rows}, self.form, width())

    def _ask(self, sql: str, keep: str) -> str:
        self.asked.append(keep)
        return self.answer(self.catalogue, sql, self.form)

    def prompt(self) -> str:
        """The prompt of the next line, which shows the version or time that is read."""
        if self.catalogue.version is not None:
            return f"explore@v{self.catalogue.version}"
        if self.catalogue.at is not None:
            return f"explore@{self.catalogue.at:%Y-%m-%dT%H:%MZ}"
        return "explore"


def menu(answer: Answer, catalogue: Catalogue) -> None:
    """Ask, answer, until ``q``, Ctrl-D or the end of a pipe.

    Ctrl-C ends the running query; if none runs, it ends the menu.
    """
    talk = Console(stderr=True)
    here = Menu(answer, catalogue)
    _help(talk, here)
    while True:
        try:
            line = Prompt.ask(f"[bold cyan]{here.prompt()}[/]", console=talk, default="",
                              show_default=False).strip()  # fmt: skip
        except (EOFError, KeyboardInterrupt):
            talk.print()
            return
        if line.lower() in {"q", "quit", "exit"}:
            return
        if line in {"", "?", "help"}:
            _help(talk, here)
            continue
        try:
            sys.stdout.write(here.take(line))
            sys.stdout.flush()
        except LakehouseError as error:
            talk.print(str(error), markup=False, highlight=False)
        except KeyboardInterrupt:
            talk.print("interrupted", style="yellow")


def _help(talk: Console, here: Menu) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", style="bold cyan", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(style="bold cyan", no_wrap=True)
    grid.add_column(style="dim")
    choices = [(number, title) for number, (title, _) in here.choices.items()]
    both = itertools.zip_longest(choices, here.words.items(), fillvalue=("", ""))
    for (number, title), (word, meaning) in both:
        grid.add_row(number, title, word, meaning)
    talk.print(grid)


def is_number(text: str) -> bool:
    """Whether the text is a whole number small enough for a version."""
    return whole_number(text) is not None
